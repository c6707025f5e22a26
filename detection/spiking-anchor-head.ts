/**
 * The head of SpikeYOLO's anchor ablation: at each stride the neurons of the stage and one 1x1 convolution with bias, which says of three anchors how far a box is
 * from them, whether there is an object, and of which class. The paper gives no more than its parameters, 21.2 M with it at size s, which this reaches exactly. Its
 * boxes and its loss are those of YOLOv3 (anchor-head.ts, anchor-loss.ts).
 */
import { lean, meanOverTime, type Tensor } from "../engine/index.ts";
import { log } from "../kernels/elementary.ts";
import { activating, type Activating } from "../nn/activations.ts";
import type { BlockOptions } from "../nn/blocks.ts";
import { Conv2d, perTimestep } from "../nn/layers.ts";
import { Module } from "../nn/module.ts";
import { decodeAnchors, scoredBoxes, type AnchorBox, type AnchorPrediction } from "./anchor-head.ts";
import { anchorGains, anchorLoss } from "./anchor-loss.ts";
import type { BoxTargets, DetectionLoss } from "./loss.ts";

export class SpikingAnchorHead extends Module {
  readonly neurons: readonly Activating[];
  /** One for each stride, [.., C] -> [.., anchors * (5 + classes)]. */
  readonly predict: readonly Conv2d[];

  constructor(readonly classes: number, inChannels: readonly number[], readonly strides: readonly number[], readonly anchors: readonly (readonly AnchorBox[])[], options: BlockOptions) {
    super();
    if (anchors.length !== strides.length) throw new Error(`SpikingAnchorHead: anchors expects a list for each of the strides ${strides.join(", ")}, got ${anchors.length}`);
    this.neurons = inChannels.map(() => activating(options.neuron));
    this.predict = inChannels.map((channels, level) => new Conv2d(channels, anchors[level].length * (5 + classes), 1, { bias: true }));
  }

  /** Called after the layers' own. Priors: few cells hold an object, and each class has its share. */
  initializeBiases(): void {
    for (const { bias } of this.predict) {
      const row = 5 + this.classes, values = bias!.data;
      for (let i = 0; i < values.length; i++) {
        if (i % row === 4) values[i] -= 4.5;
        else if (i % row > 4) values[i] += log(0.6 / (this.classes - 0.99));
      }
    }
  }

  /** Stage outputs [T, B, h, w, C] -> predictions, averaged over the T real timesteps. */
  forward(stages: readonly Tensor[]): AnchorPrediction {
    const heads = stages.map((stage, level) => lean(() => meanOverTime(perTimestep(this.neurons[level].forward(stage), (frames) => this.predict[level].forward(frames)))));
    return { heads, strides: this.strides, anchors: this.anchors, classes: this.classes };
  }

  /** The gains are those of anchor-loss.ts; objectness stands in `dfl`. */
  loss(prediction: AnchorPrediction, boxes: BoxTargets): DetectionLoss {
    const { heads: [fine], strides: [stride], classes } = prediction, [, h, w] = fine.shape;
    const { objectness, ...parts } = anchorLoss(prediction, boxes, anchorGains(classes, Math.max(h, w) * stride));
    return { ...parts, dfl: objectness };
  }

  /** [B, A, 4 + classes]: centre, width and height in pixels, then objectness times class 0..1. No gradients. */
  decode(prediction: AnchorPrediction): Tensor { return scoredBoxes(decodeAnchors(prediction)); }
}
