/** What networks share that find objects in three stages of one pyramid: time in front of them, a head behind them, and blocks that may run again. */
import { checkpoint, keepingAs, lean, noGrad, repeatOverTime, show, tensor, Tensor, type Kept, type Neuron } from "../engine/index.ts";
import { type RealActivation } from "../nn/activations.ts";
import type { BlockOptions } from "../nn/blocks.ts";
import type { NormOptions } from "../nn/layers.ts";
import { Module } from "../nn/module.ts";
import { ilif } from "../nn/neurons.ts";
import { cocoAnchors, type AnchorBox, type AnchorPrediction } from "./anchor-head.ts";
import { DetectHead, type Prediction } from "./head.ts";
import { detectionLoss, type BoxTargets, type DetectionLoss, type LossGains } from "./loss.ts";
import { SpikingAnchorHead } from "./spiking-anchor-head.ts";
import type { DetectorInput } from "./spikeyolo.ts";

/** Strides of the three levels at which objects are found. */
export const STRIDES = [8, 16, 32] as const;

/** The heads: sides of boxes as distributions, without anchors (head.ts), or shifts from anchors (spiking-anchor-head.ts). */
interface Heads { readonly dfl: DetectHead; readonly anchor: SpikingAnchorHead }
interface Predictions { readonly dfl: Prediction; readonly anchor: AnchorPrediction }
export type HeadName = keyof Heads;

export interface PyramidConfig<H extends HeadName = HeadName> {
  readonly classes: number;
  /** Timesteps. An image is shown T times; a sequence [T, B, H, W, 3] brings its own. */
  readonly T: number;
  /** Largest integer that a neuron emits in one timestep, unless `neuron` says otherwise. */
  readonly D: number;
  readonly neuron: Neuron;
  /** "spike": the neuron. Otherwise this function stands in each neuron's place: an ordinary network with the same weights. */
  readonly activation: "spike" | RealActivation;
  /** "linear": RepConvs and SepRepConvs fold into one convolution. "spiking": neurons between their factors, which are trained as they run. */
  readonly reparam: "linear" | "spiking";
  readonly head: H;
  /** Of the anchor head: width and height in pixels, a list for each of the strides 8, 16, 32. */
  readonly anchors: readonly (readonly AnchorBox[])[];
  readonly norm: NormOptions;
  /** Whether blocks are run again in the backward pass, so that only what they were given is kept: less memory, about a third more time, the same gradients. */
  readonly checkpointing: boolean;
  /** How outputs of convolutions are kept for the backward pass: "f16" takes half the memory, its gradients have errors of some 1e-3. */
  readonly activations: Kept;
  /** Seed of the initial weights. */
  readonly seed: number;
}

const defaults = {
  classes: 80, T: 1, D: 4, activation: "spike", reparam: "linear", anchors: [...cocoAnchors].reverse(), norm: { eps: 1e-3, momentum: 0.03 }, checkpointing: false, activations: "f32", seed: 0,
} as const satisfies Partial<PyramidConfig>;

/** The record with every field that was left out. */
export function completed<H extends HeadName, C extends Partial<PyramidConfig<H>>>(config: C): C & PyramidConfig<H> {
  const full = { ...defaults, ...config };
  return { ...full, head: full.head ?? ("dfl" as H), neuron: full.neuron ?? ilif(full.D) };
}

export const blockOptions = ({ activation, neuron, norm, reparam }: PyramidConfig): BlockOptions => ({ neuron: activation === "spike" ? neuron : activation, norm, reparam });

/** How many blocks a stage of `n` has at this depth. The reference rounds half to even. */
export function repeats(n: number, depth: number): number {
  const exact = n * depth, floor = Math.floor(exact);
  const nearest = exact - floor === 0.5 ? floor + (floor % 2) : Math.round(exact);
  return Math.max(nearest, 1);
}

export const times = <M>(n: number, make: () => M): M[] => Array.from({ length: n }, make);

interface Block { readonly frozen: boolean; forward(x: Tensor): Tensor }

/** A block that stands still has nothing to remember: only such are before it. */
export const past = (block: Block, x: Tensor): Tensor => (block.frozen ? noGrad(() => block.forward(x)) : block.forward(x));

export abstract class PyramidDetector<H extends HeadName> extends Module {
  abstract readonly config: PyramidConfig<H>;
  abstract readonly head: Heads[H];

  /** The head that the record asks for, over stages of so many channels. */
  protected headOf({ head, classes, anchors }: PyramidConfig<H>, channels: readonly number[], options: BlockOptions): Heads[H] {
    const made = head === "anchor" ? new SpikingAnchorHead(classes, channels, STRIDES, anchors, options) : new DetectHead(classes, channels, STRIDES, options);
    return made as Heads[H];
  }

  /** What the head reads of a sequence [T, B, H, W, 3]: [T, B, h, w, C] at the three strides. */
  protected abstract stages(x: Tensor): Tensor[];

  /** Raw predictions of the three levels, averaged over time. */
  forward(input: DetectorInput): Predictions[H] {
    return keepingAs(this.config.activations, () => lean(() => this.head.forward(this.stages(this.sequence(input))))) as Predictions[H];
  }

  /** The loss of raw predictions against the objects of their batch. The anchor head has gains of its own. */
  loss(prediction: Predictions[H], boxes: BoxTargets, gains?: LossGains): DetectionLoss {
    return "heads" in prediction ? (this.head as SpikingAnchorHead).loss(prediction, boxes) : detectionLoss(prediction, boxes, gains);
  }

  /** The tensors that the loss reads: where gradients come in. */
  outputs(prediction: Predictions[H]): readonly Tensor[] { return "heads" in prediction ? prediction.heads : [prediction.box, prediction.classes]; }

  /** The neuron of its layers. */
  get neuron(): Neuron { return this.config.neuron; }

  /** Decoded boxes and class scores, without gradients: [B, A, 4 + classes], centre x, centre y, width, height in pixels, then scores 0..1. */
  detect(input: DetectorInput): Tensor {
    return noGrad(() => {
      const prediction = this.forward(input);
      return "heads" in prediction ? (this.head as SpikingAnchorHead).decode(prediction) : (this.head as DetectHead).decode(prediction);
    });
  }

  /** A stage: blocks one after the other. */
  protected through(blocks: readonly Block[], x: Tensor): Tensor {
    const { checkpointing } = this.config;
    return lean(() => blocks.reduce((y, block) => (checkpointing && !block.frozen ? checkpoint(() => block.forward(y)) : past(block, y)), x));
  }

  /** [T, B, H, W, 3]: images are shown T times; a sequence has its own T. */
  private sequence(input: DetectorInput): Tensor {
    const [H, W, C] = input.shape.slice(-3), largest = STRIDES[2];
    if (input.shape.length < 4 || input.shape.length > 5 || C !== 3 || H % largest || W % largest) {
      throw new Error(`${this.constructor.name}: expected images [B, H, W, 3] or a sequence [T, B, H, W, 3] with sides that are multiples of ${largest}, got ${show(input.shape)}`);
    }
    const x = input instanceof Tensor ? input : tensor(input.data, input.shape);
    return x.shape.length === 5 ? x : repeatOverTime(x, { T: this.config.T });
  }
}
