/**
 * SNN-YOLOv3 ("Enabling energy-efficient object detection with surrogate gradient descent in spiking neural networks"): YOLOv3 (arXiv:1804.02767) with an
 * integrate-and-fire neuron behind each normalised convolution. What the paper states and what its published code does are two records of one class.
 */
import { checkpoint, host, keepingAs, lean, noGrad, Random, repeatOverTime, show, tensor, Tensor, type BinaryNeuron, type Kept, type Value } from "../engine/index.ts";
import { log } from "../kernels/elementary.ts";
import { ConvCell, DarknetStage, doubled, join, pooled, type CellOptions, type Running } from "../nn/darknet.ts";
import { decodeCurrents, type Decoding } from "../nn/decoding.ts";
import { Conv2d, perTimestep, type NormOptions } from "../nn/layers.ts";
import { Module } from "../nn/module.ts";
import { integrateAndFire } from "../nn/neurons.ts";
import { atan } from "../nn/surrogates.ts";
import { cocoAnchors, decodeAnchors, scoredBoxes, type AnchorBox, type AnchorPrediction } from "./anchor-head.ts";
import { anchorGains, anchorLoss } from "./anchor-loss.ts";
import type { BoxTargets, DetectionLoss, LossGains } from "./loss.ts";
import type { DetectorInput } from "./spikeyolo.ts";

export interface SNNYOLOv3Config {
  readonly classes: number;
  /** Timesteps. An image is shown T times; a sequence [T, B, H, W, 3] brings its own. */
  readonly T: number;
  /** What the channels 32, 64, 128 .. 1024 are multiplied by. */
  readonly width: number;
  /** Blocks of the five stages. */
  readonly depth: readonly number[];
  /** Spatial pyramid pooling (5, 9, 13) in the coarsest head. */
  readonly spp: boolean;
  /** Spikes, or the leaky ReLU of an ordinary YOLOv3 on the same graph. */
  readonly activation: "spike" | "leaky";
  /** What firing does to the membrane: "subtract" the threshold (soft), or to "zero" (hard). */
  readonly reset: "subtract" | "zero";
  /** Whether gradients pass by the reset. */
  readonly detachReset: boolean;
  readonly threshold: number;
  /** Sharpness of the arctangent surrogate. */
  readonly alpha: number;
  readonly decode: Decoding;
  /** "squared": objectness and class terms are squared before they are added, as in the published code. */
  readonly loss: "plain" | "squared";
  /** Width and height in pixels, three for each of the strides 32, 16, 8. */
  readonly anchors: readonly (readonly AnchorBox[])[];
  /** Whether the current of the first convolution is computed once where an image is shown T times: the same result, at a T-th of the cost. */
  readonly encodeOnce: boolean;
  readonly norm: NormOptions;
  /** Whether cells and blocks are run again in the backward pass, so that only their spikes are kept: less memory, about a third more time, the same gradients. */
  readonly checkpointing: boolean;
  /** How outputs of convolutions are kept for the backward pass: "f16" takes half the memory, its gradients have errors of some 1e-3. */
  readonly activations: Kept;
  /** Seed of the initial weights. */
  readonly seed: number;
}

/** Full size. The text gives no alpha, and does not say whether gradients pass by the reset: alpha is that of the library that its code uses, and they do there. */
const paper = { width: 1, depth: [1, 2, 8, 8, 4], spp: false, reset: "subtract", detachReset: false, alpha: 2, decode: "mean", loss: "plain" } as const;

export const snnYOLOv3 = {
  /** What the text says: YOLOv3, soft reset, mean of the current. */
  paper,
  /** What the published code does: YOLOv3-SPP, hard reset, sum of the current, squared terms. */
  released: { ...paper, spp: true, reset: "zero", decode: "sum", loss: "squared" },
  /** The paper's, for a CPU and one's own pictures. */
  small: { ...paper, width: 0.25, depth: [1, 1, 2, 2, 1] },
  /** The same with the fewest blocks, for the run of a few minutes: those of the first stages, whose few channels they halve, cost most and slow learning down. */
  tiny: { ...paper, width: 0.25, depth: [0, 0, 0, 1, 1] },
} as const satisfies Record<string, Partial<SNNYOLOv3Config>>;

const defaults: SNNYOLOv3Config = {
  ...paper, classes: 20, T: 4, activation: "spike", threshold: 1, anchors: cocoAnchors, encodeOnce: true, norm: { eps: 1e-5, momentum: 0.1 }, checkpointing: false, activations: "f32", seed: 0,
};

/** Pixels per cell of the three heads, in the order in which they run. */
export const HEAD_STRIDES = [32, 16, 8] as const;

/** Convolutions in turn 1x1 and 3x3; what stands before the last two is the tip, from which the next finer head goes on. */
export class AnchorHead extends Module {
  readonly before: ConvCell[];
  readonly after: ConvCell[];
  readonly out: ConvCell;
  readonly predict: Conv2d;
  constructor(inChannels: number, readonly hidden: number, out: number, readonly spp: boolean, options: CellOptions) {
    super();
    const narrow = (from: number) => new ConvCell(from, hidden, 1, 1, options), wide = () => new ConvCell(hidden, 2 * hidden, 3, 1, options);
    this.before = [narrow(inChannels), wide(), narrow(2 * hidden)];
    this.after = spp ? [narrow(4 * hidden), wide(), narrow(2 * hidden)] : [wide(), narrow(2 * hidden)];
    this.out = wide();
    this.predict = new Conv2d(2 * hidden, out, 1, { bias: true });
  }

  /** The tip [T, B, h, w, hidden], and currents [T, B, h, w, out]. */
  forward(x: Value, running: Running): { tip: Value; current: Tensor } {
    const through = (cells: readonly ConvCell[], from: Value): Value => lean(() => cells.reduce((y, cell) => running(() => cell.forward(y)), from));
    const y = through(this.before, x), tip = through(this.after, this.spp ? lean(() => pyramid(y)) : y);
    return { tip, current: lean(() => perTimestep(through([this.out], tip), (frames) => this.predict.forward(frames))) };
  }
}

/** Three windows, the widest first, then what they looked at: [.., C] -> [.., 4 C]. */
const pyramid = (x: Value): Value => join(join(pooled(x, 13), pooled(x, 9)), join(pooled(x, 5), x));

export class SNNYOLOv3 extends Module {
  readonly config: SNNYOLOv3Config;
  // in darknet's order, which its weight files rely on
  readonly stem: ConvCell;
  readonly stage2: DarknetStage;
  readonly stage4: DarknetStage;
  readonly stage8: DarknetStage;
  readonly stage16: DarknetStage;
  readonly stage32: DarknetStage;
  readonly head32: AnchorHead;
  readonly lateral16: ConvCell;
  readonly head16: AnchorHead;
  readonly lateral8: ConvCell;
  readonly head8: AnchorHead;
  /** The neuron of every layer; also the one of rate decoding. */
  readonly neuron: BinaryNeuron;

  constructor(config: Partial<SNNYOLOv3Config> = {}) {
    super();
    this.config = { ...defaults, ...config };
    const { classes, width, depth, spp, activation, reset, detachReset, threshold, alpha, anchors, norm, T } = this.config;
    if (depth.length !== 5) throw new Error(`SNNYOLOv3: depth expects the blocks of five stages, got ${show(depth)}`);
    if (anchors.length !== 3) throw new Error(`SNNYOLOv3: anchors expects a list for each of the strides ${HEAD_STRIDES.join(", ")}, got ${anchors.length}`);
    if (!(Number.isInteger(T) && T >= 1)) throw new Error(`SNNYOLOv3: T must be a whole number from 1, got ${T}`);
    const channels = [32, 64, 128, 256, 512, 1024].map((full) => full * width);
    if (!channels.every((c) => Number.isInteger(c / 2) && c >= 2)) throw new Error(`SNNYOLOv3: width ${width} gives ${channels[0]} channels in the stem, expected an even number of at least 2`);
    this.neuron = integrateAndFire({ threshold, reset, detachReset, surrogate: atan(alpha) });
    const options: CellOptions = { activation: activation === "leaky" ? "leaky" : this.neuron, norm };
    const out = (head: number): number => anchors[head].length * (5 + classes), [, , , c8, c16, c32] = channels;

    this.stem = new ConvCell(3, channels[0], 3, 1, options);
    [this.stage2, this.stage4, this.stage8, this.stage16, this.stage32] = depth.map((blocks, i) => new DarknetStage(channels[i], channels[i + 1], channels[i], blocks, options));
    this.head32 = new AnchorHead(c32, c32 / 2, out(0), spp, options);
    this.lateral16 = new ConvCell(c32 / 2, c16 / 2, 1, 1, options);
    this.head16 = new AnchorHead(c16 / 2 + c16, c16 / 2, out(1), false, options);
    this.lateral8 = new ConvCell(c16 / 2, c8 / 2, 1, 1, options);
    this.head8 = new AnchorHead(c8 / 2 + c8, c8 / 2, out(2), false, options);
    if (!host().rehearsal) this.initialize(new Random(this.config.seed));
    this.initializeBiases();
  }

  /** Called after the layers' own. Priors: few cells hold an object, and each class has its share. */
  private initializeBiases(): void {
    const { classes } = this.config;
    for (const { predict } of [this.head32, this.head16, this.head8]) {
      const bias = predict.bias!.data;
      for (let i = 0; i < bias.length; i++) {
        const k = i % (5 + classes);
        if (k === 4) bias[i] -= 4.5;
        else if (k > 4) bias[i] += log(0.6 / (classes - 0.99));
      }
    }
  }

  /** Raw predictions of the three heads. */
  forward(input: DetectorInput): AnchorPrediction { return keepingAs(this.config.activations, () => lean(() => this.layers(input))); }

  /** The published loss, with the published gains unless others are given. The third part stands in `dfl`: objectness. */
  loss(prediction: AnchorPrediction, boxes: BoxTargets, gains?: LossGains): DetectionLoss {
    const { heads: [coarse], strides: [stride], classes: of } = prediction, [, h, w] = coarse.shape;
    const { objectness, ...parts } = anchorLoss(prediction, boxes, { ...(gains ? { ...gains, objectness: gains.dfl } : anchorGains(of, Math.max(h, w) * stride)), squared: this.config.loss === "squared" });
    return { ...parts, dfl: objectness };
  }

  outputs({ heads }: AnchorPrediction): readonly Tensor[] { return heads; }

  private layers(input: DetectorInput): AnchorPrediction {
    const running: Running = this.config.checkpointing ? checkpoint : (part) => part();
    const cell = (one: ConvCell, x: Value): Value => running(() => one.forward(x));
    const s1 = running(() => this.encoded(input));                    // [T, B, H,    W,      32]     shapes at width 1
    const s2 = this.stage2.forward(s1, running);                      // [T, B, H/2,  W/2,    64]
    const s4 = this.stage4.forward(s2, running);                      // [T, B, H/4,  W/4,   128]
    const s8 = this.stage8.forward(s4, running);                      // [T, B, H/8,  W/8,   256]
    const s16 = this.stage16.forward(s8, running);                    // [T, B, H/16, W/16,  512]
    const s32 = this.stage32.forward(s16, running);                   // [T, B, H/32, W/32, 1024]

    const coarse = this.head32.forward(s32, running);                 // tip [T, B, H/32, W/32, 512]
    const middle = this.head16.forward(join(doubled(cell(this.lateral16, coarse.tip)), s16), running); // tip [T, B, H/16, W/16, 256]
    const fine = this.head8.forward(join(doubled(cell(this.lateral8, middle.tip)), s8), running);      // tip [T, B, H/8,  W/8,  128]
    const { decode, anchors, classes } = this.config;
    return { heads: [coarse, middle, fine].map(({ current }) => decodeCurrents(current, decode, this.neuron)), strides: HEAD_STRIDES, anchors, classes };
  }

  /** What the first convolution makes of images [B, H, W, 3], or of a sequence. */
  private encoded(input: DetectorInput): Value {
    const [H, W, C] = input.shape.slice(-3), largest = HEAD_STRIDES[0], { T, encodeOnce } = this.config;
    if (input.shape.length < 4 || input.shape.length > 5 || C !== 3 || H % largest || W % largest) {
      throw new Error(`SNNYOLOv3: expected images [B, H, W, 3] or a sequence [T, B, H, W, 3] with sides that are multiples of ${largest}, got ${show(input.shape)}`);
    }
    const x = input instanceof Tensor ? input : tensor(input.data, input.shape);
    if (x.shape.length === 5) return this.stem.forward(x);
    return encodeOnce ? this.stem.encode(x, T) : this.stem.forward(repeatOverTime(x, { T }));
  }

  /** Decoded boxes and class scores, without gradients: [B, A, 4 + classes], centre x, centre y, width, height in pixels, then objectness times class 0..1. */
  detect(input: DetectorInput): Tensor { return noGrad(() => scoredBoxes(decodeAnchors(this.forward(input)))); }
}
