/**
 * What turns stage outputs into objects: pooling over several scales at once, and the decoupled head that predicts each side of a box as a
 * distribution (Li et al., arXiv:2006.04388).
 */
import { concat, concatRows, expectation, lean, maxPool2d, meanOverTime, noGrad, Parameter, reshape, sigmoid, tensor, type Tensor } from "../engine/index.ts";
import { log } from "../kernels/elementary.ts";
import { activating, type Activating } from "../nn/activations.ts";
import { SpikingConv, type BlockOptions } from "../nn/blocks.ts";
import { Conv2d, perTimestep } from "../nn/layers.ts";
import { Module } from "../nn/module.ts";
import { dist2bbox, makeAnchors } from "./boxes.ts";

/** Spatial pyramid pooling, fast: three 5x5 max pools in a row, joined. The pools see membranes, which may be negative. */
export class SpikeSPPF extends Module {
  readonly reduce: SpikingConv;
  readonly join: SpikingConv;
  constructor(inChannels: number, outChannels: number, readonly kernel: number, options: BlockOptions) {
    super();
    const half = inChannels >> 1;
    this.reduce = new SpikingConv(inChannels, half, 1, 1, options);
    this.join = new SpikingConv(4 * half, outChannels, 1, 1, options);
  }
  forward(x: Tensor): Tensor {
    const pool = (y: Tensor) => perTimestep(y, (frames) => maxPool2d(frames, { kernel: this.kernel, stride: 1, padding: this.kernel >> 1 }));
    return lean(() => {
      const y0 = this.reduce.forward(x), y1 = pool(y0), y2 = pool(y1), y3 = pool(y2);
      return this.join.forward(concat(concat(y0, y1), concat(y2, y3)));
    });
  }
}

/** Two spiking 3x3 convolutions, then fire and a 1x1 with bias. */
export class Branch extends Module {
  readonly conv1: SpikingConv;
  readonly conv2: SpikingConv;
  readonly neurons: Activating;
  readonly predict: Conv2d;
  constructor(inChannels: number, hidden: number, out: number, options: BlockOptions) {
    super();
    this.conv1 = new SpikingConv(inChannels, hidden, 3, 1, options);
    this.conv2 = new SpikingConv(hidden, hidden, 3, 1, options);
    this.neurons = activating(options.neuron);
    this.predict = new Conv2d(hidden, out, 1, { bias: true });
  }
  forward(x: Tensor): Tensor {
    return lean(() => {
      const s = this.neurons.forward(this.conv2.forward(this.conv1.forward(x)));
      return perTimestep(s, (frames) => this.predict.forward(frames));
    });
  }
}

/** What the head says of one batch: for each anchor (row-major, fine level first) box logits and class logits, averaged over time. */
export interface Prediction {
  /** [B, A, 4 * bins], side-major: left, top, right, bottom */
  readonly box: Tensor;
  /** [B, A, classes] */
  readonly classes: Tensor;
  /** [height, width] of each level */
  readonly levels: readonly (readonly [number, number])[];
  readonly strides: readonly number[];
}

/** Bins of the distribution of one side of a box: 0..15 strides. */
export const BINS = 16;

export class DetectHead extends Module {
  readonly box: Branch[];
  readonly class: Branch[];
  /** What the bins stand for, 0..15. Not trained; the published parameter counts include it. */
  readonly bins: Parameter;

  constructor(readonly classes: number, inChannels: readonly number[], readonly strides: readonly number[], options: BlockOptions) {
    super();
    const hiddenBox = Math.max(16, inChannels[0] >> 2, 4 * BINS), hiddenClass = Math.max(inChannels[0], Math.min(classes, 100));
    this.box = inChannels.map((channels) => new Branch(channels, hiddenBox, 4 * BINS, options));
    this.class = inChannels.map((channels) => new Branch(channels, hiddenClass, classes, options));
    this.bins = new Parameter([BINS], "weight", Float32Array.from({ length: BINS }, (_, i) => i));
    this.bins.requiresGrad = false;
  }

  /** Called after the layers' own. Prior of the class scores: 5 objects of a 640-pixel image over all its cells; box sides start near 1. */
  initializeBiases(): void {
    this.strides.forEach((stride, level) => {
      const side = 640 / stride;
      this.box[level].predict.bias!.data.fill(1);
      this.class[level].predict.bias!.data.fill(log(5 / this.classes / (side * side)));
    });
  }

  /** Stage outputs [T, B, h, w, C] of the three levels -> predictions, averaged over the T real timesteps. */
  forward(stages: readonly Tensor[]): Prediction {
    const flat = (y: Tensor): Tensor => { const mean = meanOverTime(y), [B, h, w, C] = mean.shape; return reshape(mean, [B, h * w, C]); };
    return {
      box: stages.map((stage, level) => flat(this.box[level].forward(stage))).reduce((a, b) => concatRows(a, b)),
      classes: stages.map((stage, level) => flat(this.class[level].forward(stage))).reduce((a, b) => concatRows(a, b)),
      levels: stages.map(({ shape }) => [shape[2], shape[3]] as const),
      strides: this.strides,
    };
  }

  /** [B, A, 4 + classes]: centre x, centre y, width, height in pixels, then class scores 0..1. No gradients. */
  decode(prediction: Prediction): Tensor {
    return noGrad(() => {
      const [B, A] = prediction.classes.shape, { points, strides } = makeAnchors(prediction.levels, prediction.strides);
      const boxes = dist2bbox(sideDistances(prediction.box).data, points, "xywh");
      for (let k = 0; k < boxes.length; k++) boxes[k] *= strides[(k >> 2) % A];
      return concat(tensor(boxes, [B, A, 4]), sigmoid(prediction.classes));
    });
  }
}

/** Expected distance of each side in cells: [..., 4 * bins] -> [..., 4]. */
export function sideDistances(box: Tensor): Tensor {
  const sides = box.size / BINS;
  return reshape(expectation(reshape(box, [sides, BINS])), [...box.shape.slice(0, -1), 4]);
}
