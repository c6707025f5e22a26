/**
 * The meta SNN blocks of SpikeYOLO (Luo et al., arXiv:2407.20708, sec. 3.2). All shapes are [T, B, H, W, C].
 *
 * Residuals travel as membrane current, never as spikes: every block takes a current and returns one, and fires inside, before each
 * convolution. Convolutions have no bias unless said. Each block is lean: of what it makes, its result stays, and what gradients read.
 */
import { add, lean, type Tensor, type Value } from "../engine/index.ts";
import { activating, type Activating, type Activation } from "./activations.ts";
import { RepConv, SepRepConv, SpikingRepConv, SpikingSepRepConv } from "./chains.ts";
import { BatchNorm2d, Conv2d, normed, perTimestep, type NormOptions } from "./layers.ts";
import { Module } from "./module.ts";

/** What all blocks of one network share. */
export interface BlockOptions {
  /** What stands before each convolution; each place has parameters of its own where something is learned. */
  readonly neuron: Activation;
  readonly norm: NormOptions;
  /** "spiking": neurons between the factors of RepConvs and SepRepConvs too, which no longer fold. Default "linear". */
  readonly reparam?: "linear" | "spiking";
}

/** fire, convolve, normalise: [.., in] -> [.., out]; padding keeps the size at stride 1. */
export class SpikingConv extends Module {
  readonly neurons: Activating;
  readonly conv: Conv2d;
  readonly norm: BatchNorm2d;
  constructor(inChannels: number, outChannels: number, kernel: number, stride: number, options: BlockOptions) {
    super();
    this.neurons = activating(options.neuron);
    this.conv = new Conv2d(inChannels, outChannels, kernel, { stride, padding: kernel >> 1 });
    this.norm = new BatchNorm2d(outChannels, options.norm);
  }
  forward(x: Tensor): Tensor {
    return lean(() => perTimestep(this.neurons.forward(x), (frames) => normed(this.conv, frames, this.norm)));
  }
}

/**
 * Patch embedding: (fire,) convolve with bias, normalise. The first of a network has no neuron before it: it reads the real-valued image,
 * 7x7 at stride 4.
 */
export class DownSampling extends Module {
  readonly neurons: Activating | undefined;
  readonly conv: Conv2d;
  readonly norm: BatchNorm2d;
  constructor(inChannels: number, outChannels: number, first: boolean, options: BlockOptions) {
    super();
    if (!first) this.neurons = activating(options.neuron);
    const geometry = first ? { kernel: 7, stride: 4, padding: 2 } : { kernel: 3, stride: 2, padding: 1 };
    this.conv = new Conv2d(inChannels, outChannels, geometry.kernel, { ...geometry, bias: true });
    this.norm = new BatchNorm2d(outChannels, options.norm);
  }
  forward(x: Tensor): Tensor {
    const input = (): Value => this.neurons?.forward(x) ?? x;
    return lean(() => perTimestep(input(), (frames) => normed(this.conv, frames, this.norm)));
  }
}

/** Separable mixing in space and channels, C -> 2C -> C: 1x1, 7x7 depthwise, SepRepConv, each after firing and before a norm. */
export class SeparableConv extends Module {
  /** Before each of the three. */
  readonly neurons: readonly Activating[];
  readonly expand: Conv2d;
  readonly expandNorm: BatchNorm2d;
  readonly depthwise: Conv2d;
  readonly depthwiseNorm: BatchNorm2d;
  readonly project: SepRepConv | SpikingSepRepConv;
  readonly projectNorm: BatchNorm2d;
  constructor(channels: number, kernel: number, options: BlockOptions) {
    super();
    const wide = 2 * channels, { neuron, norm, reparam } = options;
    this.neurons = [1, 2, 3].map(() => activating(neuron));
    this.expand = new Conv2d(channels, wide, 1);
    this.expandNorm = new BatchNorm2d(wide, norm);
    this.depthwise = new Conv2d(wide, wide, kernel, { padding: kernel >> 1, groups: wide });
    this.depthwiseNorm = new BatchNorm2d(wide, norm);
    this.project = reparam === "spiking" ? new SpikingSepRepConv(wide, channels, norm, neuron) : new SepRepConv(wide, channels, norm);
    this.projectNorm = new BatchNorm2d(channels, norm);
  }
  forward(x: Tensor): Tensor {                                                                                  // [.., C]
    const [first, second, third] = this.neurons;
    const wide = lean(() => second.forward(perTimestep(first.forward(x), (s) => normed(this.expand, s, this.expandNorm))));    // [.., 2C]
    const near = lean(() => third.forward(perTimestep(wide, (s) => normed(this.depthwise, s, this.depthwiseNorm))));           // [.., 2C]
    return lean(() => this.project.overTime(near, this.projectNorm));                                                          // [.., C]
  }
}

/** SNN-Block-1 (early stages): x + SeparableConv(x), then two plain 3x3 convolutions C -> rC -> C around a second shortcut. */
export class AllConvBlock extends Module {
  readonly separable: SeparableConv;
  readonly conv1: SpikingConv;
  readonly conv2: SpikingConv;
  constructor(channels: number, ratio: number, kernel: number, options: BlockOptions) {
    super();
    this.separable = new SeparableConv(channels, kernel, options);
    this.conv1 = new SpikingConv(channels, channels * ratio, 3, 1, options);
    this.conv2 = new SpikingConv(channels * ratio, channels, 3, 1, options);
  }
  forward(x: Tensor): Tensor {
    return lean(() => {
      const mixed = add(this.separable.forward(x), x);
      return add(mixed, this.conv2.forward(this.conv1.forward(mixed)));
    });
  }
}

/** SNN-Block-2 (late stages): the same with RepConvs in place of the plain 3x3 convolutions. */
export class ConvBlock extends Module {
  readonly separable: SeparableConv;
  /** Before each of the two. */
  readonly neurons: readonly Activating[];
  readonly conv1: RepConv | SpikingRepConv;
  readonly norm1: BatchNorm2d;
  readonly conv2: RepConv | SpikingRepConv;
  readonly norm2: BatchNorm2d;
  constructor(channels: number, ratio: number, kernel: number, options: BlockOptions) {
    super();
    const wide = channels * ratio, { neuron, norm, reparam } = options;
    const chain = (from: number, to: number) => (reparam === "spiking" ? new SpikingRepConv(from, to, norm, neuron) : new RepConv(from, to, norm));
    this.separable = new SeparableConv(channels, kernel, options);
    this.neurons = [1, 2].map(() => activating(neuron));
    this.conv1 = chain(channels, wide);
    this.norm1 = new BatchNorm2d(wide, norm);
    this.conv2 = chain(wide, channels);
    this.norm2 = new BatchNorm2d(channels, norm);
  }
  forward(x: Tensor): Tensor {
    const [first, second] = this.neurons;
    return lean(() => {
      const mixed = add(this.separable.forward(x), x);
      const wide = lean(() => second.forward(this.conv1.overTime(first.forward(mixed), this.norm1))); // [.., rC]
      return add(mixed, lean(() => this.conv2.overTime(wide, this.norm2)));                           // [.., C]
    });
  }
}
