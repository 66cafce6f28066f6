/** The network that a language model is, its weights' places in it, and what is computed with it. */
import type { NativeControl } from './control';
import type { ByteRange, WeightSource } from './sources';

export interface NativeLanguageModelConfig {
  layers: number;
  hidden: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  intermediate: number;
  vocab: number;
  maxPositions: number;
  rmsEps: number;
  ropeTheta: number;
  rope: {
    type: 'default' | 'linear' | 'llama3' | 'dynamic' | 'yarn' | 'longrope';
    factor?: number;
    lowFreqFactor?: number;
    highFreqFactor?: number;
    originalMaxPositions?: number;
    attentionFactor?: number;
    betaFast?: number;
    betaSlow?: number;
    /** yarn: the range of pairs that is interpolated is not rounded to whole pairs. */
    exact?: boolean;
    /** longrope: what divides each frequency up to the original length, and beyond it. */
    shortFactors?: number[];
    longFactors?: number[];
  };
  slidingWindow: number;
  attentionBias: boolean;
  outputBias: boolean;
  qkNorm: boolean;
  tiedEmbeddings: boolean;
  mlpBias: boolean;

  // Parts beyond Llama's; absent is Llama.
  /** `layer`: the mean is subtracted, and there is a bias. Default `rms`. */
  norm?: 'rms' | 'layer';
  /** Added to the weights of RMS norms. */
  normOffset?: number;
  /** Layer norms have no bias; nor a weight. */
  normUnbiased?: boolean;
  normBare?: boolean;
  /**
   * Where norms stand: before each half of a block, after it (before its result is added), both, or after it was added, on
   * the stream itself. Default `before`.
   */
  normPlaces?: 'before' | 'after' | 'both' | 'sum';
  /** The first block's attention reads the stream as it is; the head does. */
  noFirstNorm?: boolean;
  noLastNorm?: boolean;
  /**
   * With qkNorm: RMS of each head (the default), of all together, LayerNorm of each head, that with weights of its own, RMS
   * of each head without weights where it is rotated, or RMS of each head once it is rotated.
   */
  headNorm?: 'each' | 'together' | 'layer' | 'layer_own' | 'bare' | 'rotated';
  /** Attention and MLP read the same, through the same norm or each through its own. */
  parallel?: boolean;
  sharedNorm?: boolean;
  /** Tokens attend to those after them too; a window is as wide to either side. */
  bothDirections?: boolean;
  /** Windows are chunks of the sequence, which tokens attend within. */
  chunked?: boolean;
  /** Queries are multiplied with 1 + rate log(1 + floor((position + offset) / length)), in all layers or those not rotated. */
  queryGrowth?: { rate: number; length: number; offset: number; unrotated: boolean };
  /** q, k and v are one tensor: one after another, or by key-value head with the queries of its group. */
  fusedQkv?: 'stacked' | 'grouped';
  /** gate and up are one tensor. */
  fusedGateUp?: 'stacked';
  /** Default `silu`. */
  activation?: NativeActivation;
  /** down(f(up(x))) instead of down(f(gate(x)) up(x)). */
  plainMlp?: boolean;
  /** Of scores; default 1 / sqrt(headDim). */
  attentionScale?: number;
  /** Scores, logits x become c tanh(x / c). */
  attentionSoftcap?: number;
  logitSoftcap?: number;
  /** q, k and v are cut to [-c, c]. */
  attentionClamp?: number;
  /** By head: slope * (position of the key - own one) is added to scores. */
  alibi?: number[];
  /** With alibi: slope * position of the key is rounded to bf16 and multiplied by this (Falcon). */
  alibiRounded?: boolean;
  alibiScale?: number;
  /** Each head has a further logit in its softmax, which attends to nothing. */
  sinks?: boolean;
  /** Multipliers of embeddings, of what each half adds, of logits. */
  embeddingScale?: number;
  residualScale?: number;
  logitScale?: number;
  /** Leading dimensions of a head that are rotated; default all. */
  rotaryDim?: number;
  /** Pairs are neighbours, not half a head apart. */
  rotaryInterleaved?: boolean;
  /** Base of the second rotary embedding, which is never scaled. */
  ropeLocalTheta?: number;
  /** By layer; default slidingWindow and `standard` everywhere. */
  layerTraits?: NativeLayerTraits[];
  /** Experts of the layers that are routed. */
  experts?: NativeExperts;
  /** What the embedding is beyond rows of a table as wide as the stream. */
  embedding?: {
    /** Of a row, which is projected to `hidden`: before positions are added, or after everything. */
    width?: number;
    projectFirst?: boolean;
    projectionBias?: boolean;
    /** Rows of a table of learned positions, and that of the first position. */
    positions?: number;
    positionOffset?: number;
    /** A token that has the row before the first position and is not counted. */
    padding?: number;
    /** Rows of a table of token types, of which the first is added. */
    types?: number;
    /** Whether the sum is normalised. */
    norm?: boolean;
  };
  /** Logits are made of norm(f(dense x)), as wide as the embedding. */
  headTransform?: { bias?: boolean; norm?: boolean; activation: NativeActivation };
  /** Logits have a bias. */
  headBias?: boolean;
  /**
   * Masked tokens are predicted, not the next ones: a token t < 0 is this one at a place where ~t is to be predicted. Every
   * sequence has as many, one at least.
   */
  maskToken?: number;
  /**
   * Of products on the CPU, default fp32: bf16 are operands as sums of two bf16 terms, with sums in fp32. CUDA has its own.
   */
  precision?: 'fp32' | 'bf16';
}

export type NativeActivation = 'silu' | 'gelu_tanh' | 'gelu' | 'relu' | 'relu_squared' | 'gelu_quick' | 'identity';

interface NativeLayerTraits {
  /** Tokens attended to; 0: all before. */
  window: number;
  rotary: 'standard' | 'local' | 'none';
  /** Of the MLP that every token goes through, 0: none; default `intermediate`, which is the widest. */
  width?: number;
  /** Whether there are experts besides. */
  routed?: boolean;
}

/** Each token goes through topK of `count` experts, chosen and weighed by scores that are made of a router's logits. */
export interface NativeExperts {
  count: number;
  topK: number;
  /** Width of one. */
  intermediate: number;
  /** `softmax_of_chosen`: the largest logits are chosen, and weighed by their softmax alone. */
  score: 'softmax' | 'sigmoid' | 'softmax_of_chosen';
  /** Logits have a bias. */
  routerBias?: boolean;
  /** There is a bias of scores where experts are chosen, not where they are weighed. */
  correctionBias?: boolean;
  /** Experts are chosen within the topGroups of so many groups whose two best scores add up highest. */
  groups?: number;
  topGroups?: number;
  /** Weights are divided by their sum. */
  renormalise?: boolean;
  /** Multiplies weights. */
  scale?: number;
  /** Weights multiply what experts read, not what they give. */
  scaleInput?: boolean;
  /** What the shared expert gives is multiplied with the sigmoid of a gate. */
  sharedGate?: boolean;
  /** gate, up and down have biases. */
  bias?: boolean;
  /** gate and up of an expert, and their biases, are one tensor: one after the other, or row by row in turn. */
  fusedGateUp?: 'stacked' | 'interleaved';
  /** Experts compute (up + 1) gate sigmoid(clampAlpha gate), gate at most clampLimit and up within it. */
  clampLimit?: number;
  clampAlpha?: number;
}

/** Where a weight is in the network: kinds as in native/include/lq/language_model.h, layer -1 for what is in none. */
export interface WeightPlace {
  layer: number;
  kind: string;
  /** For matrices and biases of an expert. */
  expert?: number;
}

/** An input of a layer; an expert's mlp and down are its own. */
export interface InputPlace {
  layer: number;
  input: BlockInput;
  expert?: number;
}

export interface ModelWeight extends WeightPlace {
  /** The tensor's name, for errors: a rejection carries it as `tensor`, with `file`. */
  name: string;
  source: WeightSource;
  /** The source is [cols, rows] of a matrix [rows, cols]. */
  transposed?: true;
}

/** The inputs of a block's matrices: of q, k, v; of o; of gate, up; of down. */
export type BlockInput = 'attention' | 'output' | 'mlp' | 'down';

/** Squared gradients of a matrix [rows, cols], one sequence a sample. */
export interface WantedGradient extends WeightPlace {
  /** [rows, cols]: mean over sequences, F. */
  fisher?: ByteRange;
  /** [rows]: mean over F's columns. */
  rowMean?: ByteRange;
}

/** Second moment of an input of `n` features. */
export interface WantedInput extends InputPlace {
  /** [n, n]: mean over tokens of x x^T; of an expert over all tokens too, those that are not routed to it being 0. */
  secondMoment: ByteRange;
  /** [n]: its diagonal. */
  meanSquare: ByteRange;
}

/** How a model's predictions differ from another's, token by token. */
export interface NativeDivergence {
  /** Mean cross entropy of each sequence, of this model and of the other. */
  losses: Float64Array;
  otherLosses: Float64Array;
  /** KL(this || other) in nats, of each prediction. */
  kl: Float32Array;
  /** Predictions where both find the same token likeliest. */
  sameTop: number;
}

/** An opened model. Weights stay in their stored type; `close` frees them. */
export interface NativeLanguageModel {
  /** Mean cross entropy of the predictions of each row of tokens [sequences, context]. */
  losses(tokens: Int32Array, context: number, control: NativeControl): Promise<Float64Array>;
  /** Logits [context, vocab] of one sequence; for tests. */
  logits(tokens: Int32Array, control: NativeControl): Promise<Float32Array>;
  /**
   * Calibration statistics in one pass: what is wanted is written as fp32 at its place. Files exist with their final size.
   * Without gradients nothing runs backwards. Returns the losses.
   */
  calibrate(
    tokens: Int32Array,
    context: number,
    wanted: { gradients: WantedGradient[]; inputs: WantedInput[] },
    control: NativeControl,
  ): Promise<Float64Array>;
  /** Runs both models over tokens [sequences, context] once. The other one is open on the same device and has its vocabulary. */
  divergence(
    other: NativeLanguageModel,
    tokens: Int32Array,
    context: number,
    control: NativeControl,
  ): Promise<NativeDivergence>;
  close(): void;
}

/**
 * Two streams of hidden states through one model in layer order: dense, x_f, and encoded, x_q, in which matrices are
 * replaced as they become known. Layers go from 0 on; within one q, k, v come before o, o before gate and up, those before
 * down. A call out of order rejects with 'invalid_argument'.
 */
export interface NativeLayerPass {
  /**
   * Moments of an input as the weights replaced so far make it: E[x_q x_q^T] and E[(x_f - x_q) x_q^T], means over
   * tokens, fp32 [n, n]. An expert's are of the tokens that the encoded stream routes to it, the others being 0. Files exist
   * with their final size. Progress counts sequences.
   */
  moments(
    place: InputPlace,
    destination: { secondMoment: ByteRange; cross?: ByteRange },
    control: NativeControl,
  ): Promise<void>;
  /** The encoded stream multiplies with this from now on. */
  replace(place: WeightPlace, source: WeightSource, control: NativeControl): Promise<void>;
  /** Takes both streams through the layer. Progress counts sequences. */
  advance(layer: number, control: NativeControl): Promise<void>;
  close(): void;
}
