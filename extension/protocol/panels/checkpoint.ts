/** Checkpoint: the custom editor. */
import type { CheckpointProblem } from '../../core/checkpoint/types';
import type { PreviewReport, SpectrumReport, TensorStatistics, WeightRow } from '../../core/analysis/types';
import type { CommonEvents, CommonRequests, ModelHeader } from '../panelCommon';

export interface TensorRow extends WeightRow {
  /** Index into CheckpointView.files. */
  file: number;
  /** Stored parts of a logical weight that is more than one tensor. */
  parts?: { name: string; dtype: string; shape: number[]; bytes: number }[];
}

/** All rows travel at once (10,000 are about 2 MB): searching and sorting then never wait. */
export interface CheckpointView {
  header: ModelHeader;
  /** False in Restricted Mode: values are then not computed. */
  canCompute: boolean;
  files: { path: string; name: string; bytes: number; tensors: number; missing: boolean }[];
  metadata: { file: string; key: string; value: string }[];
  problems: CheckpointProblem[];
  rows: TensorRow[];
  /** The tensor to select, when the panel was opened for one. */
  select?: string;
  /** Statistics already in the cache. */
  statistics: TensorStatistics[];
  /** The original of this one, or the compressed checkpoints made from it, newest first: the tensors' twins are in one. */
  twins: ModelHeader[];
}

/** One of several compressions of a checkpoint. */
export interface CompressionChoice {
  path: string;
  label: string;
  effectiveBits: number;
  /** The files of the original or of the result have changed since. */
  older: boolean;
}

/** The same matrix in the other checkpoint. */
export interface TensorTwin {
  model: string;
  name: string;
  /** The option for people. */
  option?: string;
  bits?: number;
  effectiveBits?: number;
  errorQuantized?: number;
  errorLq?: number;
  errorStored?: number;
  /** Mean of (this - twin) a cell, row-major. */
  difference: { rows: number; cols: number; mean: number[]; relativeError: number; maxAbsolute: number };
  preview: PreviewReport;
  /** Of the tensor there, for a histogram over this one's. */
  statistics: TensorStatistics;
}

export interface CheckpointRequests extends CommonRequests {
  load: [null, CheckpointView];
  /** Statistics of one tensor, which arrive as an event. */
  statistics: [{ tensor: string }, { computed: number }];
  /** Statistics of all tensors that have none: a job, absent when all are known; each arrives as an event as it comes. */
  allStatistics: [null, { job?: string }];
  spectrum: [{ tensor: string; count?: number }, SpectrumReport];
  preview: [{ tensor: string; rows: number; cols: number }, PreviewReport];
  /** The tensor in the checkpoint `model`; null where that keeps it as it is. */
  twin: [{ model: string; tensor: string; rows: number; cols: number }, TensorTwin | null];
}
export interface CheckpointEvents extends CommonEvents {
  statistics: TensorStatistics[];
  /** Select a tensor (clicked in the tree or another panel). */
  select: { tensor: string };
  /** The files changed on disk. */
  changed: CheckpointView;
}
