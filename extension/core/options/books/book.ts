export interface CodeBookKind {
  /** Short name before the bit width, as in `NF4`. */
  readonly label: string;
  /** The 2^bits levels in ascending order, in [-1, 1]. */
  levels(bits: number): Float64Array;
  /** Bytes a packed matrix spends on its own levels; 0 when kind and width imply them. */
  storedBytes(bits: number): number;
}
