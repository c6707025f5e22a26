/** What training, validation and prediction ask of a network that finds objects. */
import type { Neuron, Tensor } from "../engine/index.ts";
import type { Module } from "../nn/module.ts";
import type { BoxTargets, DetectionLoss, LossGains } from "./loss.ts";
import type { DetectorInput } from "./spikeyolo.ts";

export interface Detector<Prediction = any> extends Module {
  readonly config: { readonly classes: number; readonly T: number; readonly checkpointing: boolean };
  /** The neuron of its layers. */
  readonly neuron: Neuron;
  /** Raw predictions of a batch. */
  forward(input: DetectorInput): Prediction;
  /** Their loss against the objects of the batch. Without gains, those as published for it. */
  loss(prediction: Prediction, boxes: BoxTargets, gains?: LossGains): DetectionLoss;
  /** The tensors that the loss reads: where gradients come in. */
  outputs(prediction: Prediction): readonly Tensor[];
  /** [B, A, 4 + classes]: centre, width and height in pixels, then scores 0..1. */
  detect(input: DetectorInput): Tensor;
}
