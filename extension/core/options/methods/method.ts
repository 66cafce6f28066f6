/** What a method is: a set of options, the metrics it is chosen under, and where it comes from. */
import type { QuantConfig } from '../../native';
import type { MetricKind } from '../recipe';
import type { Option } from '../types';

/** What a request may say about a method's options. */
export interface MethodSettings {
  /** Ranks of the low-rank part to choose from. */
  readonly ranks?: readonly number[];
  /** Configurations of the paper's set, instead of its 243. */
  readonly grid?: readonly QuantConfig[];
  /** Bits of a trellis state: 12, 14 or 16. */
  readonly states?: number;
  /** Whether trellis sequences bite their tails. */
  readonly tailBiting?: boolean;
}

export interface Method {
  /** For people. */
  readonly label: string;
  /** Where it was published. */
  readonly source: string;
  /** What of it this is, one sentence. */
  readonly description: string;
  /** The metrics it can be chosen under, the one it is meant for first. */
  readonly metrics: readonly MetricKind[];
  /** Whether the second pass in layer order is part of it. */
  readonly secondPass: boolean;
  /** Its settings beside those of every method, to refuse the others by name. */
  readonly settings: readonly (keyof MethodSettings)[];
  options(settings: MethodSettings): Option[];
  /** Options that an embedding and a head can take beside those. */
  readonly tokenOptions?: readonly Option[];
}
