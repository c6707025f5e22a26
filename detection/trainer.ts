/**
 * Trains a detector. Knows no platform: it takes batches, a model, a recipe and a place to keep checkpoints, and says what happens as events.
 * A command line turns the events into a progress line and a run folder, a page into a chart.
 */
import { backward, host, scope, Spikes } from "../engine/index.ts";
import { loadCheckpoint, restore, saveCheckpoint, tensorsOf } from "../nn/checkpoint.ts";
import { EMA, type EMAOptions } from "../nn/ema.ts";
import { observeConvolutions } from "../nn/layers.ts";
import { SGD } from "../nn/optimizers.ts";
import { schedule, type Recipe, type Settings } from "../nn/schedules.ts";
import { xywhToXyxy } from "./boxes.ts";
import { detectionLoss, lossGains, type BoxTargets, type LossGains } from "./loss.ts";
import { DetectionMetrics, fitness, type DetectionScores, type Truth } from "./metrics.ts";
import { validationNms } from "./nms.ts";
import { predict } from "./predictor.ts";
import type { DetectorInput, SpikeYOLO } from "./spikeyolo.ts";

export interface TrainingBatch { readonly images: DetectorInput; readonly boxes: BoxTargets }

/** Where batches come from. The batches of an epoch depend on its number alone, so that a run can go on where it stopped. */
export interface TrainingData {
  readonly batchesPerEpoch: number;
  /** The batches of an epoch, from the one with number `from` on. */
  train(epoch: number, from: number): AsyncIterable<TrainingBatch>;
  validation(): AsyncIterable<TrainingBatch>;
}

export interface TrainRecipe extends Recipe {
  /** Largest norm of all gradients together. */
  readonly clip: number;
  readonly ema: EMAOptions;
  readonly gains?: LossGains;
}

/** Where checkpoints go. A write replaces the whole file or nothing. */
export interface Store { write(name: "last" | "best", bytes: Uint8Array): Promise<void> }

/** The three parts of the loss with their gains, per image. */
export interface LossParts { readonly box: number; readonly classes: number; readonly dfl: number }

export interface StepEvent extends LossParts {
  readonly kind: "step";
  readonly epoch: number;
  readonly batch: number;
  readonly batches: number;
  readonly images: number;
  readonly settings: Settings;
  /** Norm of all gradients before clipping, where the optimiser stepped. */
  readonly gradientNorm: number | undefined;
  /** Mean integer that a neuron emitted, over the input spikes of all convolutions, 0..D. */
  readonly firingRate: number;
  /** The most bytes that the engine has held so far. */
  readonly peakBytes: number;
}

/** An epoch and its validation. The parts of the loss are means over its batches. */
export interface EpochEvent extends LossParts {
  readonly kind: "epoch";
  readonly epoch: number;
  readonly firingRate: number;
  readonly settings: Settings;
  readonly validation: DetectionScores;
  /** 0.1 mAP@50 + 0.9 mAP@50:95 */
  readonly fitness: number;
  readonly best: boolean;
}

export interface EndEvent { readonly kind: "end"; readonly reason: "finished" | "stopped"; readonly epochs: number; readonly bestEpoch: number; readonly bestFitness: number }
export type TrainEvent = StepEvent | EpochEvent | EndEvent;

export interface TrainOptions {
  readonly store?: Store;
  /** Ends the run after the step in hand, with a checkpoint. */
  readonly signal?: AbortSignal;
  /** A checkpoint to go on from. */
  readonly resume?: Uint8Array;
  /** Kept in every checkpoint: the model's record, its classes, the image size. */
  readonly about?: Readonly<Record<string, unknown>>;
}

/** Where a run is: all of it that is not a tensor. */
interface Progress { epoch: number; batch: number; emaUpdates: number; bestFitness: number; bestEpoch: number; sums: Sums }
interface Sums { box: number; classes: number; dfl: number; firingRate: number; batches: number }
const noSums = (): Sums => ({ box: 0, classes: 0, dfl: 0, firingRate: 0, batches: 0 });

/** A loss that is not a number: the run ends before any weight takes it in. The last checkpoint is good. */
export class NonFiniteLoss extends Error {
  override readonly name = "NonFiniteLoss";
}

/**
 * Trains for the epochs of the recipe. Validation and `best` use the averaged weights. Leaves those of the best epoch nowhere but in the store:
 * the model ends as the last step left it.
 */
export async function* train(model: SpikeYOLO, data: TrainingData, recipe: TrainRecipe, { store, signal, resume, about = {} }: TrainOptions = {}): AsyncGenerator<TrainEvent, void, undefined> {
  const plan = schedule(recipe, data.batchesPerEpoch);
  const optimizer = new SGD(model.namedParameters(), { lr: recipe.lr0, momentum: recipe.momentum, nesterov: true, weightDecay: plan.weightDecay });
  const ema = new EMA(model, recipe.ema);
  const progress: Progress = { epoch: 0, batch: 0, emaUpdates: 0, bestFitness: -1, bestEpoch: -1, sums: noSums() };
  if (resume) goOn(resume, model, optimizer, ema, progress);

  const save = async (name: "last" | "best"): Promise<void> => {
    const { updates, tensors } = ema.state();
    await store?.write(name, saveCheckpoint({ model: tensorsOf(model), ema: tensors, momentum: optimizer.state(), state: { ...about, recipe, progress: { ...progress, emaUpdates: updates } } }));
  };

  while (progress.epoch < recipe.epochs) {
    let settings = plan.at(progress.epoch, Math.min(progress.batch, data.batchesPerEpoch - 1));
    for await (const batch of data.train(progress.epoch, progress.batch)) {
      if (progress.batch >= data.batchesPerEpoch) break;
      settings = plan.at(progress.epoch, progress.batch);
      model.train();
      const step = trainStep(model, batch, optimizer, settings, recipe);
      if (settings.step) ema.update();
      addTo(progress.sums, step);
      yield { kind: "step", epoch: progress.epoch, batch: progress.batch, batches: data.batchesPerEpoch, images: batch.images.shape[0], settings, peakBytes: host().memory.peak, ...step };
      progress.batch++;
      if (signal?.aborted && settings.step) {
        await save("last");
        yield end("stopped", progress);
        return;
      }
    }
    optimizer.clearGradients(); // what gathered without a step at the end of an epoch is dropped, as by the reference
    const validation = await ema.within(() => validate(model, data.validation()));
    const fit = fitness(validation), best = fit > progress.bestFitness;
    if (best) Object.assign(progress, { bestFitness: fit, bestEpoch: progress.epoch });
    yield { kind: "epoch", epoch: progress.epoch, settings, validation, fitness: fit, best, ...meansOf(progress.sums) };
    Object.assign(progress, { epoch: progress.epoch + 1, batch: 0, sums: noSums() });
    if (best) await save("best");
    await save("last");
    if (signal?.aborted) { yield end("stopped", progress); return; }
  }
  yield end("finished", progress);
}

const end = (reason: EndEvent["reason"], { epoch, bestEpoch, bestFitness }: Progress): EndEvent => ({ kind: "end", reason, epochs: epoch, bestEpoch, bestFitness });

type StepResult = LossParts & { firingRate: number; gradientNorm: number | undefined };

/** Forward, loss, backward, and where the schedule says so an optimiser step. All memory of it is free again afterwards. */
function trainStep(model: SpikeYOLO, { images, boxes }: TrainingBatch, optimizer: SGD, { rates, momentum, step }: Settings, { clip, gains = lossGains }: TrainRecipe): StepResult {
  const spikes = new FiringRate();
  const { box, classes, dfl } = scope(() => {
    const loss = detectionLoss(spikes.watch(() => model.forward(images)), boxes, gains);
    const { box, classes, dfl } = loss;
    if (!Number.isFinite(loss.total.item())) {
      throw new NonFiniteLoss(`train: the loss is not finite (box ${box}, class ${classes}, dfl ${dfl}); lower lr0 or the clip; the last checkpoint is good`);
    }
    backward(loss.total);
    return { box, classes, dfl };
  });
  optimizer.rates = rates;
  optimizer.momentum = momentum;
  const gradientNorm = step ? optimizer.step({ clip }).gradientNorm : undefined;
  return { box, classes, dfl, gradientNorm, firingRate: spikes.mean };
}

/** Mean integer over all input spikes of the convolutions that run while watching. */
export class FiringRate {
  private sum = 0;
  private elements = 0;
  watch<R>(run: () => R): R {
    return observeConvolutions((_, x) => {
      if (!(x instanceof Spikes)) return;
      this.sum += x.statistics().rate * x.size;
      this.elements += x.size;
    }, run);
  }
  get mean(): number { return this.elements ? this.sum / this.elements : 0; }
}

function addTo(sums: Sums, step: StepResult): void {
  for (const key of ["box", "classes", "dfl", "firingRate"] as const) sums[key] += step[key];
  sums.batches++;
}

function meansOf({ batches, ...sums }: Sums): LossParts & { firingRate: number } {
  const n = batches || 1;
  return { box: sums.box / n, classes: sums.classes / n, dfl: sums.dfl / n, firingRate: sums.firingRate / n };
}

/** Metrics of the model as it is now. Boxes are compared in pixels of the network's image. */
export async function validate(model: SpikeYOLO, batches: AsyncIterable<TrainingBatch>): Promise<DetectionScores> {
  const metrics = new DetectionMetrics();
  for await (const { images, boxes } of batches) {
    const [B, H, W] = images.shape.slice(-4);
    const found = predict(model, images, { nms: validationNms });
    const truths = truthsOf(boxes, B, H, W);
    found.forEach((detections, i) => metrics.add(detections, truths[i]));
  }
  return metrics.result();
}

/** The objects of each image of a batch, as corners in pixels. */
export function truthsOf({ image, class: classes, xywh }: BoxTargets, B: number, H: number, W: number): Truth[][] {
  const corners = xywhToXyxy(Float64Array.from(xywh, (value, k) => value * (k & 1 ? H : W)));
  const truths: Truth[][] = Array.from({ length: B }, () => []);
  image.forEach((b, i) => {
    const [x1, y1, x2, y2] = corners.subarray(4 * i, 4 * i + 4);
    truths[b].push({ class: classes[i], x1, y1, x2, y2 });
  });
  return truths;
}

function goOn(bytes: Uint8Array, model: SpikeYOLO, optimizer: SGD, ema: EMA, progress: Progress): void {
  const checkpoint = loadCheckpoint(bytes);
  const saved = (checkpoint.state as { progress?: Progress } | null)?.progress;
  if (!saved || !Number.isSafeInteger(saved.epoch) || !Number.isSafeInteger(saved.batch) || !Number.isSafeInteger(saved.emaUpdates)) {
    throw new Error("resume: the checkpoint holds weights but not how far the run was; start anew from its weights instead");
  }
  restore(model, checkpoint.model);
  ema.load({ updates: saved.emaUpdates, tensors: checkpoint.ema });
  optimizer.load(checkpoint.momentum);
  Object.assign(progress, saved);
}
