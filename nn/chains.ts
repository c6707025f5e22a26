/**
 * Chains of small convolutions that stand for one 3x3 convolution of spikes (Luo et al., arXiv:2407.20708, sec. 3.2): RepConv and SepRepConv, linear from end to end
 * so that they fold into that one, and the ablation of that, with neurons between their factors. Frames are [N, H, W, C], sequences [T, B, H, W, C].
 */
import { conv2d, isRecording, mulRow, reshape, type Shape, type Tensor, type Value } from "../engine/index.ts";
import { activating, type Activating, type Activation } from "./activations.ts";
import { BatchNorm2d, BatchNormPad, Conv2d, normed, perTimestep, type NormOptions } from "./layers.ts";
import { Module } from "./module.ts";

/** A piece of the work of a chain on its frames, and what it reads. */
export interface Part {
  /** 1x1, wider, or with a kernel for each channel; "rows" goes over values as they stand (norms, borders). */
  readonly kind: "pointwise" | "wider" | "depthwise" | "rows";
  readonly reads: "spikes" | "reals";
  /** Multiply-accumulates of the dense layer; of rows, values. */
  readonly macs: number;
  /** Weights that are packed before it runs. */
  readonly weights: number;
  /** Channels that an output sums over at each tap. */
  readonly channels: number;
}

/** What a chain of linear layers does, as one convolution. */
interface Linear { readonly weight: Float64Array; readonly bias: Float64Array }

/**
 * A chain of linear layers that in eval mode is one 3x3 convolution of its spikes, padding 1, borders included. Folded, all of it is
 * additions where something fired; in factors it has fewer weights and trains better. Both forms stay runnable.
 */
export abstract class Foldable extends Module {
  /** The one convolution, while the chain is folded. */
  folded: Conv2d | undefined;
  constructor(readonly inChannels: number, readonly outChannels: number) { super(); }

  /** Its layer that reads the spikes, as it runs now. */
  get reader(): Conv2d { return this.folded ?? this.first; }
  protected abstract readonly first: Conv2d;

  /** The work of frames [N, H, W, in]: as one convolution, or factor by factor. */
  work(form: "folded" | "factors", [N, H, W]: Shape): Part[] {
    if (form === "factors") return this.workInFactors(N * H * W, N * (H + 2) * (W + 2));
    const weights = 9 * this.inChannels * this.outChannels;
    return [{ kind: "wider", reads: "spikes", macs: N * H * W * weights, weights, channels: this.inChannels }];
  }
  protected abstract workInFactors(pixels: number, padded: number): Part[];

  /** Weight [out, 3, 3, in] and bias [out] of the eval-mode chain as it is now. */
  protected abstract linear(): Linear;
  /** Frames [N, H, W, in] -> [N, H, W, out], factor by factor, then the norm behind the chain. */
  protected abstract factors(s: Value, norm: readonly BatchNorm2d[]): Tensor;

  /** Runs as one convolution from now on, in eval mode. Weights that change later are not seen: fold again. */
  fold(): void {
    const { weight, bias } = this.linear();
    this.folded ??= new Conv2d(this.inChannels, this.outChannels, 3, { padding: 1, bias: true });
    this.folded.derived = true;
    this.folded.weight.data.set(weight);
    this.folded.bias!.data.set(bias);
  }

  /** Runs in factors again. */
  unfold(): void {
    for (const { home, ptr, size } of this.folded ? [this.folded.weight, this.folded.bias!] : []) home.memory.release(ptr, size * home.bytes);
    this.folded = undefined;
  }

  /** Frames [N, H, W, in] -> [N, H, W, out], through the norm behind the chain where one is given. */
  forward(s: Value, ...norm: readonly BatchNorm2d[]): Tensor {
    if (this.training) this.unfold(); // a step of training makes it stale
    return this.folded ? normed(this.folded, s, ...norm) : this.factors(s, norm);
  }

  /** The same of sequences [T, B, H, W, in]. */
  overTime(s: Value, ...norm: readonly BatchNorm2d[]): Tensor { return perTimestep(s, (frames) => this.forward(frames, ...norm)); }
}

/**
 * A 3x3 convolution in factors, linear from end to end:
 * 1x1 in -> in, norm with padding, 3x3 depthwise, 1x1 in -> out, norm. Takes spikes, fires nowhere inside.
 */
export class RepConv extends Foldable {
  readonly reduce: Conv2d;
  readonly reduceNorm: BatchNormPad;
  readonly depthwise: Conv2d;
  readonly expand: Conv2d;
  readonly expandNorm: BatchNorm2d;
  constructor(inChannels: number, outChannels: number, norm: NormOptions) {
    super(inChannels, outChannels);
    this.reduce = new Conv2d(inChannels, inChannels, 1);
    this.reduceNorm = new BatchNormPad(inChannels, 1, norm);
    this.depthwise = new Conv2d(inChannels, inChannels, 3, { groups: inChannels });
    this.expand = new Conv2d(inChannels, outChannels, 1);
    this.expandNorm = new BatchNorm2d(outChannels, norm);
  }

  protected override get first(): Conv2d { return this.reduce; }

  protected override workInFactors(pixels: number, padded: number): Part[] {
    const { inChannels: I, outChannels: O } = this;
    return [
      { kind: "pointwise", reads: "spikes", macs: pixels * I * I, weights: I * I, channels: I },
      { kind: "rows", reads: "reals", macs: pixels * I, weights: 0, channels: 1 },
      { kind: "rows", reads: "reals", macs: padded * I, weights: 0, channels: 1 },
      { kind: "depthwise", reads: "reals", macs: pixels * 9 * I, weights: 9 * I, channels: 1 },
      { kind: "pointwise", reads: "reals", macs: pixels * I * O, weights: I * O, channels: I },
      { kind: "rows", reads: "reals", macs: pixels * O, weights: 0, channels: 1 },
    ];
  }

  protected override factors(s: Value, norm: readonly BatchNorm2d[]): Tensor {
    const mixed = this.reduceNorm.of(this.reduce, s); // [N, H + 2, W + 2, in]
    return normed(this.expand, this.depthwise.forward(mixed), this.expandNorm, ...norm);
  }

  /**
   * With norms y = a x + b (reduceNorm: a, b; expandNorm: c, d):
   *
   *   W[o, k, i] = c[o] sum_m expand[o, m] depthwise[m, k] a[m] reduce[m, i]
   *   bias[o]    = c[o] sum_m expand[o, m] (sum_k depthwise[m, k]) b[m] + d[o]
   */
  protected override linear(): Linear {
    const { inChannels: I, outChannels: O } = this;
    const [depthwise, expand] = [this.depthwise, this.expand].map(({ weight }) => Float64Array.from(weight.data)), reduce = new Float64Array((I + 3) * I);
    reduce.set(this.reduce.weight.data);
    const { scale: a, shift: b } = this.reduceNorm.norm.affineValues(), { scale: c, shift: d } = this.expandNorm.affineValues();
    const weight = new Float64Array(O * 9 * I), bias = Float64Array.from(d);
    const wide = I + 3, taps = new Float64Array(9 * wide); // c expand depthwise a of one output: [9][m], and zeros up to a multiple of four
    for (let o = 0; o < O; o++) {
      for (let m = 0; m < I; m++) for (let k = 0; k < 9; k++) {
        const tap = c[o] * expand[o * I + m] * depthwise[m * 9 + k];
        bias[o] += tap * b[m];
        taps[k * wide + m] = tap * a[m];
      }
      const rows = Array.from({ length: 9 }, (_, k) => weight.subarray((o * 9 + k) * I, (o * 9 + k + 1) * I));
      for (let m = 0; m < I; m += 4) rows.forEach((row, k) => { // four rows of `reduce` stay near while all nine taps take them
        const t = k * wide + m;
        addRows(row, reduce, m * I, taps[t], taps[t + 1], taps[t + 2], taps[t + 3]);
      });
    }
    return { weight, bias };
  }
}

/** y += a x0 + b x1 + c x2 + d x3, four rows of x from `at` on: a big network has billions of these to add. */
function addRows(y: Float64Array, x: Float64Array, at: number, a: number, b: number, c: number, d: number): void {
  const n = y.length, at1 = at + n, at2 = at1 + n, at3 = at2 + n;
  for (let i = 0; i < n; i++) y[i] += a * x[at + i] + b * x[at1 + i] + (c * x[at2 + i] + d * x[at3 + i]);
}

/** The same for separable convolutions: norm with padding directly on spikes, 1x1 in -> out, 3x3 depthwise. No norm at the end. */
export class SepRepConv extends Foldable {
  readonly norm: BatchNormPad;
  readonly pointwise: Conv2d;
  readonly depthwise: Conv2d;
  constructor(inChannels: number, outChannels: number, norm: NormOptions) {
    super(inChannels, outChannels);
    this.norm = new BatchNormPad(inChannels, 1, norm);
    this.pointwise = new Conv2d(inChannels, outChannels, 1);
    this.depthwise = new Conv2d(outChannels, outChannels, 3, { groups: outChannels });
  }

  protected override get first(): Conv2d { return this.pointwise; }

  protected override workInFactors(pixels: number, padded: number): Part[] {
    const { inChannels: I, outChannels: O } = this;
    return [
      { kind: "pointwise", reads: "spikes", macs: padded * I * O, weights: I * O, channels: I },
      { kind: "depthwise", reads: "reals", macs: pixels * 9 * O, weights: 9 * O, channels: 1 },
    ];
  }

  protected override factors(s: Value, norm: readonly BatchNorm2d[]): Tensor {
    return normed(this.depthwise, pointwiseBehind(this.norm, this.pointwise, s), ...norm);
  }

  /** With the norm y = a x + b:  W[o, k, i] = depthwise[o, k] pointwise[o, i] a[i],  bias[o] = (sum_k depthwise[o, k]) sum_i pointwise[o, i] b[i] */
  protected override linear(): Linear {
    const { inChannels: I, outChannels: O } = this;
    const [pointwise, depthwise] = [this.pointwise, this.depthwise].map(({ weight }) => Float64Array.from(weight.data));
    const { scale: a, shift: b } = this.norm.norm.affineValues();
    const weight = new Float64Array(O * 9 * I), bias = new Float64Array(O);
    for (let o = 0; o < O; o++) {
      for (let k = 0; k < 9; k++) {
        const tap = depthwise[o * 9 + k], row = (o * 9 + k) * I;
        for (let i = 0; i < I; i++) {
          weight[row + i] = tap * pointwise[o * I + i] * a[i];
          bias[o] += tap * pointwise[o * I + i] * b[i];
        }
      }
    }
    return { weight, bias };
  }
}

/**
 * conv(norm(s)), border included: [N, H, W, in] -> [N, H + 2, W + 2, out]. The norm goes into the weights of the 1x1, so that it stays a convolution of what s is:
 * W (scale s + shift) = (W scale) s + W shift. In eval mode its padding is zeros, since the border of the norm is what it makes of zero; in training the border is another one.
 */
function pointwiseBehind(norm: BatchNormPad, conv: Conv2d, s: Value): Tensor {
  if (norm.training || isRecording()) return norm.before(conv, s);
  const { scale, shift } = norm.norm.affine(), bias = conv2d(reshape(shift, [1, 1, 1, conv.inChannels]), conv.weight);
  return conv.forwardWith(s, mulRow(conv.weight, scale), reshape(bias, [conv.outChannels]), { padding: 1 });
}

/** RepConv as the ablation of re-parameterisation has it: the same factors, a neuron behind the padded norm and one behind the depthwise 3x3. It does not fold. */
export class SpikingRepConv extends Module {
  readonly reduce: Conv2d;
  readonly reduceNorm: BatchNormPad;
  readonly depthwise: Conv2d;
  readonly expand: Conv2d;
  readonly expandNorm: BatchNorm2d;
  readonly neurons: readonly Activating[];
  constructor(inChannels: number, outChannels: number, norm: NormOptions, neuron: Activation) {
    super();
    this.reduce = new Conv2d(inChannels, inChannels, 1);
    this.reduceNorm = new BatchNormPad(inChannels, 1, norm);
    this.depthwise = new Conv2d(inChannels, inChannels, 3, { groups: inChannels });
    this.expand = new Conv2d(inChannels, outChannels, 1);
    this.expandNorm = new BatchNorm2d(outChannels, norm);
    this.neurons = [1, 2].map(() => activating(neuron));
  }

  /** [T, B, H, W, in] -> [T, B, H, W, out], through the norm behind it where one is given. */
  overTime(s: Value, ...norm: readonly BatchNorm2d[]): Tensor {
    const [first, second] = this.neurons;
    const mixed = first.forward(perTimestep(s, (frames) => this.reduceNorm.of(this.reduce, frames)));       // [.., H + 2, W + 2, in]
    const near = second.forward(perTimestep(mixed, (frames) => this.depthwise.forward(frames)));            // [.., H, W, in]
    return perTimestep(near, (frames) => normed(this.expand, frames, this.expandNorm, ...norm));
  }
}

/** SepRepConv of the same ablation: a neuron between the 1x1 and the depthwise 3x3. */
export class SpikingSepRepConv extends Module {
  readonly norm: BatchNormPad;
  readonly pointwise: Conv2d;
  readonly depthwise: Conv2d;
  readonly neurons: Activating;
  constructor(inChannels: number, outChannels: number, norm: NormOptions, neuron: Activation) {
    super();
    this.norm = new BatchNormPad(inChannels, 1, norm);
    this.pointwise = new Conv2d(inChannels, outChannels, 1);
    this.depthwise = new Conv2d(outChannels, outChannels, 3, { groups: outChannels });
    this.neurons = activating(neuron);
  }

  /** [T, B, H, W, in] -> [T, B, H, W, out], through the norm behind it where one is given. */
  overTime(s: Value, ...norm: readonly BatchNorm2d[]): Tensor {
    const mixed = this.neurons.forward(perTimestep(s, (frames) => pointwiseBehind(this.norm, this.pointwise, frames))); // [.., H + 2, W + 2, out]
    return perTimestep(mixed, (frames) => normed(this.depthwise, frames, ...norm));
  }
}
