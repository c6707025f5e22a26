/** Layers on frames [N, H, W, C]. Sequences [T, B, H, W, C] pass through them with time folded into the batch. */
import {
  batchNorm, batchStatistics, conv2d, isRecomputing, isRecording, linear, normedPointwise, Parameter, padWith, reshape, sumsExactly, tensor, updateRunning, valuesOf, Spikes, Tensor, type ConvAttributes, type NormedAttributes, type Random, type RealArray, type Statistics, type Value,
} from "../engine/index.ts";
import { Buffer, Module } from "./module.ts";

/** Runs a layer on frames [T*B, ...] and gives back [T, B, ...]. Time is folded here and nowhere else. */
export function perTimestep<V extends Value>(x: V, layer: (frames: V) => Tensor): Tensor {
  const [T, B, ...rest] = x.shape;
  const y = layer(reshape(x, [T * B, ...rest]));
  return reshape(y, [T, B, ...y.shape.slice(1)]);
}

/** One convolution as it ran: what went in, what came out, and how to run it again on such an input. */
export type ConvolutionObserver = (layer: Conv2d, x: Value, y: Tensor, again: (x: Value) => Tensor) => void;
let observer: ConvolutionObserver | undefined;

/** Calls `see` after each convolution that runs inside: for firing rates, operation counts and profiles. */
export function observeConvolutions<R>(see: ConvolutionObserver, run: () => R): R {
  const before = observer;
  observer = see;
  try { return run(); } finally { observer = before; }
}

/** PyTorch's default: weight [out, ...] and bias from U(-1/sqrt(fanIn), 1/sqrt(fanIn)). */
function resetByFanIn(random: Random, weight: Parameter, bias?: Parameter): void {
  const bound = 1 / Math.sqrt(weight.size / weight.shape[0]);
  for (const parameter of [weight, bias]) {
    const values = parameter?.data ?? [];
    for (let i = 0; i < values.length; i++) values[i] = random.uniform(-bound, bound);
  }
}

export interface Conv2dOptions extends Partial<ConvAttributes> { bias?: boolean }

/** Convolution [N, H, W, in] -> [N, OH, OW, out]; weight [out, kernel, kernel, in / groups]. */
export class Conv2d extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;
  readonly attributes: ConvAttributes;

  constructor(readonly inChannels: number, readonly outChannels: number, readonly kernel: number, { bias = false, stride = 1, padding = 0, dilation = 1, groups = 1, algorithm = "direct" }: Conv2dOptions = {}) {
    super();
    this.attributes = { stride, padding, dilation, groups, algorithm };
    this.weight = new Parameter([outChannels, kernel, kernel, inChannels / groups]);
    this.bias = bias ? new Parameter([outChannels], "bias") : undefined;
  }

  override reset(random: Random): void { resetByFanIn(random, this.weight, this.bias); }

  forward(x: Value): Tensor { return this.observed(x, (x) => conv2d(x, this.weight, this.bias, this.attributes)); }

  /** The same layer with other values in place of its own, as when a norm before it is folded in. */
  forwardWith(x: Value, weight: Tensor, bias: Tensor, attributes: Partial<ConvAttributes>): Tensor {
    return this.observed(x, (x) => conv2d(x, weight, bias, { ...this.attributes, ...attributes }));
  }

  /** scale conv(x) + shift: a norm as it is in eval mode, for the price of the convolution alone. */
  forwardNormed(x: Value, { scale, shift }: Affine): Tensor {
    const own = this.bias?.data, bias = own ? shift.map((b, c) => b + scale[c] * own[c]) : shift;
    return this.forwardWith(x, this.weight, tensor(bias), { scale: tensor(scale) });
  }

  /** Multiply-accumulates for one output pixel. */
  get macsPerPixel(): number { return this.weight.size; }

  /** The same of what a norm makes of spikes, and of a border around that: [N, H, W, in] -> [N, H + 2 pad, W + 2 pad, out]. Of 1x1 without bias. */
  forwardBehind(s: Spikes, { weight, bias }: BatchNorm2d, attributes: NormedAttributes): Tensor {
    return this.observed(s, (x) => normedPointwise(x as Spikes, weight, bias, this.weight, attributes));
  }

  private observed(x: Value, run: (x: Value) => Tensor): Tensor {
    const y = run(x);
    observer?.(this, x, y, run);
    return y;
  }
}

/** y = x weight^T + bias on the last axis: [..., in] -> [..., out]; weight [out, in]. */
export class Linear extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | undefined;

  constructor(readonly inFeatures: number, readonly outFeatures: number, { bias = true }: { bias?: boolean } = {}) {
    super();
    this.weight = new Parameter([outFeatures, inFeatures]);
    this.bias = bias ? new Parameter([outFeatures], "bias") : undefined;
  }

  override reset(random: Random): void { resetByFanIn(random, this.weight, this.bias); }

  forward(x: Tensor): Tensor { return linear(x, this.weight, this.bias); }
}

/** y = scale x + shift, per channel. */
export interface Affine { readonly scale: RealArray; readonly shift: RealArray }

/** Norms behind a convolution: the last one of conv(x). In eval mode, where no gradient is wanted, they are one with it. */
export function normed(conv: Conv2d, x: Value, ...norms: readonly BatchNorm2d[]): Tensor {
  if (!norms.length || isRecording() || sumsExactly() || norms.some(({ training }) => training)) return norms.reduce((y, norm) => norm.forward(y), conv.forward(x));
  return conv.forwardNormed(x, norms.map((norm) => norm.affineValues()).reduce(after));
}

/** One map after another, in place of the first. */
function after({ scale, shift }: Affine, second: Affine): Affine {
  for (let c = 0; c < scale.length; c++) {
    scale[c] *= second.scale[c];
    shift[c] = shift[c] * second.scale[c] + second.shift[c];
  }
  return { scale, shift };
}

export interface NormOptions {
  readonly eps: number;
  /** Share of the new statistics in the running ones. */
  readonly momentum: number;
}

/** Batch normalisation of [N, H, W, C] (arXiv:1502.03167). The running variance takes the unbiased estimate, as PyTorch does. */
export class BatchNorm2d extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly runningMean: Buffer;
  readonly runningVariance: Buffer;

  constructor(readonly channels: number, readonly options: NormOptions = { eps: 1e-5, momentum: 0.1 }) {
    super();
    this.weight = new Parameter([channels], "norm", new Float32Array(channels).fill(1));
    this.bias = new Parameter([channels], "bias");
    this.runningMean = new Buffer([channels]);
    this.runningVariance = new Buffer([channels], 1);
  }

  /** `copies` says how many times what stands in x is meant, as one image that is shown at each timestep: the unbiased variance counts them all. */
  forward(x: Tensor, copies = 1): Tensor {
    const { eps } = this.options;
    if (!this.training) return batchNorm(x, this.weight, this.bias, { mean: this.runningMean, variance: this.runningVariance, eps, ofBatch: false });
    return batchNorm(x, this.weight, this.bias, { ...this.statisticsOf(x, copies), eps, ofBatch: true });
  }

  /** The statistics of a batch in training, which move the running ones. */
  statisticsOf(x: Value, copies = 1): Statistics {
    const statistics = batchStatistics(x);
    if (!isRecomputing()) this.update(statistics, (copies * x.size) / this.channels);
    return statistics;
  }

  /** The affine map that this is in eval mode: y = scale x + shift, per channel. */
  affineValues(): Affine {
    const scale = this.weight.data.slice(), shift = this.bias.data.slice(), mean = this.runningMean.data, variance = this.runningVariance.data, { eps } = this.options;
    for (let c = 0; c < this.channels; c++) {
      scale[c] /= Math.sqrt(variance[c] + eps);
      shift[c] -= mean[c] * scale[c];
    }
    return { scale, shift };
  }

  /** The same as tensors of the scope. */
  affine(): { scale: Tensor; shift: Tensor } {
    const { scale, shift } = this.affineValues();
    return { scale: tensor(scale), shift: tensor(shift) };
  }

  private update(statistics: Statistics, rows: number): void {
    const { momentum } = this.options;
    updateRunning({ mean: this.runningMean, variance: this.runningVariance }, statistics, { share: momentum, factor: rows > 1 ? rows / (rows - 1) : 1 });
  }
}

/**
 * Batch norm, then a border of what the norm makes of zero: beta - runningMean gamma / sqrt(runningVariance + eps). In training the inside uses
 * the statistics of the batch and the border the running ones after this very forward; no gradient goes through the border.
 */
export class BatchNormPad extends Module {
  readonly norm: BatchNorm2d;
  constructor(channels: number, readonly pad: number, options?: NormOptions) {
    super();
    this.norm = new BatchNorm2d(channels, options);
  }

  /** [N, H, W, C] -> [N, H + 2 pad, W + 2 pad, C] */
  forward(x: Value): Tensor { return this.bordered(this.norm.forward(x instanceof Spikes ? valuesOf(x) : x)); }

  /** conv of that, 1x1 without bias. In training, where spikes are what is normed, spikes are what is convolved. */
  before(conv: Conv2d, x: Value): Tensor {
    const { norm, pad } = this;
    if (!(x instanceof Spikes) || !norm.training || sumsExactly()) return conv.forward(this.forward(x));
    const statistics = norm.statisticsOf(x); // before the border, which is of the running ones after it
    return conv.forwardBehind(x, norm, { ...statistics, eps: norm.options.eps, ofBatch: true, border: norm.affine().shift, pad });
  }

  /** The same of conv(x). */
  of(conv: Conv2d, x: Value): Tensor { return this.bordered(normed(conv, x, this.norm)); }

  private bordered(y: Tensor): Tensor { return padWith(y, { border: this.norm.affine().shift, pad: this.pad }); }
}
