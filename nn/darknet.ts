/**
 * The parts of Darknet-53 and of the heads of YOLOv3 (Redmon and Farhadi, arXiv:1804.02767), spiking or with the leaky ReLU of the original. Sequences are
 * [T, B, H, W, C]. What travels between parts is what was activated: spikes, or real numbers. Shortcuts add spikes to spikes and have no neuron behind them,
 * so the next convolution reads integers 0, 1, 2 ..., one more for each block of a stage.
 */
import {
  add, addSpikes, concat, concatSpikes, fire, leakyRelu, lean, maxPool2d, maxPoolSpikes, repeatOverTime, reshape, Spikes, upsampleNearest, upsampleSpikes,
  type Neuron, type Tensor, type Value,
} from "../engine/index.ts";
import { BatchNorm2d, Conv2d, perTimestep, type NormOptions } from "./layers.ts";
import { Module } from "./module.ts";

/** A neuron, or darknet's leaky ReLU of slope 0.1 below zero, which makes an ordinary network of the same graph. */
export type Activation = Neuron | "leaky";
export const LEAKY_SLOPE = 0.1;

export interface CellOptions { readonly activation: Activation; readonly norm: NormOptions }

/** Convolve, normalise, activate: [.., in] -> [.., out]; padding keeps the size at stride 1. */
export class ConvCell extends Module {
  readonly conv: Conv2d;
  readonly norm: BatchNorm2d;
  constructor(inChannels: number, outChannels: number, kernel: number, stride: number, readonly options: CellOptions) {
    super();
    this.conv = new Conv2d(inChannels, outChannels, kernel, { stride, padding: kernel >> 1 });
    this.norm = new BatchNorm2d(outChannels, options.norm);
  }

  forward(x: Value): Value {
    return lean(() => this.activate(perTimestep(x, (frames) => this.norm.forward(this.conv.forward(frames)))));
  }

  /** The same for a picture [B, H, W, in] that is shown at each of T timesteps: its current is computed once. */
  encode(picture: Tensor, T: number): Value {
    return lean(() => this.activate(repeatOverTime(this.norm.forward(this.conv.forward(picture), T), { T })));
  }

  private activate(x: Tensor): Value {
    const { activation } = this.options;
    return activation === "leaky" ? leakyRelu(x, { slope: LEAKY_SLOPE }) : fire(x, activation);
  }
}

/** x + f(x), f being 1x1 to `hidden` channels, then 3x3 back. */
export class DarknetBlock extends Module {
  readonly reduce: ConvCell;
  readonly expand: ConvCell;
  constructor(channels: number, hidden: number, options: CellOptions) {
    super();
    this.reduce = new ConvCell(channels, hidden, 1, 1, options);
    this.expand = new ConvCell(hidden, channels, 3, 1, options);
  }
  forward(x: Value): Value { return lean(() => plus(x, this.expand.forward(this.reduce.forward(x)))); }
}

/** Runs a part of the network: at once, or as a `checkpoint`. */
export type Running = (part: () => Value) => Value;
const atOnce: Running = (part) => part();

/** A 3x3 of stride 2, and blocks. */
export class DarknetStage extends Module {
  readonly down: ConvCell;
  readonly blocks: DarknetBlock[];
  constructor(inChannels: number, outChannels: number, hidden: number, blocks: number, options: CellOptions) {
    super();
    this.down = new ConvCell(inChannels, outChannels, 3, 2, options);
    this.blocks = Array.from({ length: blocks }, () => new DarknetBlock(outChannels, hidden, options));
  }
  forward(x: Value, running = atOnce): Value { return lean(() => [this.down, ...this.blocks].reduce((y, part) => running(() => part.forward(y)), x)); }
}

const mixed = (op: string): Error => new Error(`${op}: expected spikes and spikes, or reals and reals`);

/** Sum of two signals of one kind. */
export function plus(a: Value, b: Value): Value {
  if (a instanceof Spikes && b instanceof Spikes) return addSpikes(a, b);
  if (a instanceof Spikes || b instanceof Spikes) throw mixed("plus");
  return add(a, b);
}

/** Channels of `a`, then those of `b`. */
export function join(a: Value, b: Value): Value {
  if (a instanceof Spikes && b instanceof Spikes) return concatSpikes(a, b);
  if (a instanceof Spikes || b instanceof Spikes) throw mixed("join");
  return concat(a, b);
}

/** Runs frame by frame what gives a signal of its own kind. */
function eachFrame(x: Value, layer: (frames: Value) => Value): Value {
  const [T, B, ...rest] = x.shape, y = layer(reshape(x, [T * B, ...rest]));
  return reshape(y, [T, B, ...y.shape.slice(1)]);
}

/** Each pixel becomes 2 x 2. */
export const doubled = (x: Value): Value => eachFrame(x, (frames) => (frames instanceof Spikes ? upsampleSpikes(frames, { factor: 2 }) : upsampleNearest(frames, { factor: 2 })));

/** Max pooling that keeps the size. */
export const pooled = (x: Value, kernel: number): Value =>
  eachFrame(x, (frames) => { const window = { kernel, stride: 1, padding: kernel >> 1 }; return frames instanceof Spikes ? maxPoolSpikes(frames, window) : maxPool2d(frames, window); });

