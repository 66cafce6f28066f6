/** Options and their costs: what the allocation program chooses from. */
import type { Precision } from '../context';
import type { DenseSource } from '../native';
import type { Role } from '../checkpoint/types';
import type { Coverage } from '../logical/targets';
import type { SweepRecipe } from '../options/recipe';
import type { Option } from '../options/types';

/** Costs of one matrix, in the order of SweepTable.options. */
export interface SweepRow {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly role: Role;
  readonly layer: number;
  /** Hash of the stored bytes. */
  readonly hash: string;
  /** Squared errors under the metric; null for an option the matrix cannot take: its rank is above the smaller side, or what it stores does not reach the
   * matrix's values. */
  readonly costs: readonly (number | null)[];
  /** Squared unweighted errors of the same encodings; null, too, where that was not measured. */
  readonly squaredErrors: readonly (number | null)[];
  /** Bytes in the output under each option, null for one it has no form for; absent: those of the packed format. */
  readonly bytes?: readonly (number | null)[];
  /** Rows with one tie take one option together; absent: alone. */
  readonly tie?: string;
  /** Indices of the costs that were predicted and not measured. */
  readonly predicted: readonly number[];
  /** Squared norm of W, plain and under the metric. */
  readonly norm: number;
  readonly weightedNorm: number;
}

/** The result of a sweep: the whole input of planning. */
export interface SweepTable {
  readonly version: 2;
  readonly model: {
    readonly path: string;
    readonly label: string;
    readonly parameters: number;
    readonly bytes: number;
    /** Bytes of the output that no option decides: tensors that are no targets, headers of files. */
    readonly keptBytes: number;
  };
  /** What share of the network the matrices are; absent in tables of other origin. */
  readonly coverage?: Coverage;
  readonly recipe: SweepRecipe;
  readonly options: readonly Option[];
  readonly matrices: readonly SweepRow[];
  readonly seconds: number;
  /** Where costs were measured: 'cpu', 'cuda:0', 'cuda:0 + cuda:1'. */
  readonly device: string;
}

/** A Fisher file opened for use: where each matrix's elementwise weights are, fp32, and the hash of them all. */
export interface FisherSource {
  readonly file: string;
  readonly hash: string;
  readonly matrices: ReadonlyMap<string, DenseSource>;
  /** Hash of each matrix's weights. */
  readonly hashes: ReadonlyMap<string, string>;
}

export interface FisherReport {
  out: string;
  hash: string;
  samples: number;
  context: number;
  losses: number[];
  matrices: { name: string; sum: number; max: number }[];
  seconds: number;
  precision: Precision['used'];
  /** As in an evaluation's report. */
  warnings: string[];
}

/** What a statistics file knows of one matrix. */
export interface MatrixStatistics {
  /** Means over columns of its Fisher information, F32 [1, rows]. */
  readonly rowMean: DenseSource;
  /** F elementwise, F32 [rows, cols], when the file has it. */
  readonly fisher?: DenseSource;
  /** A = E[x x^T] of its input, F32 [cols, cols], or its diagonal, F32 [1, cols]. */
  readonly secondMoment: DenseSource;
  /** mean(diag A); 0 where no token reached the matrix. */
  readonly meanSquare: number;
  /** Mean of its Fisher information. */
  readonly fisherMean: number;
  /** Name of the input: of the first matrix that reads it. */
  readonly input: string;
  /** Of row means and second moment. */
  readonly hash: string;
}

/** A statistics file opened for use. */
export interface CalibrationSource {
  readonly file: string;
  readonly hash: string;
  readonly samples: number;
  readonly context: number;
  readonly tokens: number;
  readonly matrices: ReadonlyMap<string, MatrixStatistics>;
  /** Whether of second moments the diagonals alone are known, and nothing of outputs: an importance matrix. */
  readonly diagonal: boolean;
}

export interface CalibrationReport {
  out: string;
  samples: number;
  /** Tokens a sequence. */
  context: number;
  tokens: number;
  /** Mean cross entropy of each sequence; empty for files that were added up. */
  losses: number[];
  /** By matrix: the mean of its Fisher information, its input's name and mean square. */
  matrices: { name: string; input: string; fisherMean: number; inputMeanSquare: number }[];
  seconds: number;
  /** What products were computed in; absent for files that were added up. */
  precision?: Precision['used'];
  /** What the figures rest on that a reader may not expect, one sentence each. */
  warnings: string[];
  /** The importance matrix that was written too. */
  imatrix?: string;
}

/** What one worker of a shared sweep did. */
export interface ShardReport {
  /** Such as `2/8`. */
  readonly shard: string;
  readonly host: string;
  readonly pid: number;
  readonly device: string;
  readonly matrices: number;
  /** Names of the matrices measured here. */
  readonly computed: readonly string[];
  /** Matrices that were measured before. */
  readonly found: number;
  /** Matrices that other workers were at. */
  readonly left: number;
  /** Of a compression: the same of the plan's encoding, or why one process does that. */
  readonly encoded?: { readonly computed: readonly string[]; readonly found: number; readonly left: number } | string;
  readonly seconds: number;
}
