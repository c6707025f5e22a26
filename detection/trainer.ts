/**
 * Trains a detector. Knows no platform: it takes batches, a model, a recipe and a place to keep checkpoints, and says what happens as events.
 * A command line turns the events into a progress line and a run folder, a page into a chart.
 */
import { backward, host, retrying, scale, scope, Spikes, type Role } from "../engine/index.ts";
import { expectKnown, loadCheckpoint, restore, saveCheckpoint, tensorsOf, type Checkpoint } from "../nn/checkpoint.ts";
import { EMA, type EMAOptions } from "../nn/ema.ts";
import { observeConvolutions } from "../nn/layers.ts";
import { SGD } from "../nn/optimizers.ts";
import { FormatError } from "../nn/safetensors.ts";
import { schedule, type Recipe, type Settings } from "../nn/schedules.ts";
import { Snapshot } from "../nn/snapshot.ts";
import { xywhToXyxy } from "./boxes.ts";
import type { BoxTargets, LossGains } from "./loss.ts";
import { DetectionMetrics, fitness, type DetectionScores, type Truth } from "./metrics.ts";
import { validationNms } from "./nms.ts";
import { predict } from "./predictor.ts";
import type { Detector } from "./detector.ts";
import type { DetectorInput } from "./spikeyolo.ts";

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
  /** Weights of the parts of the loss; as published for the network unless said otherwise. */
  readonly gains?: LossGains;
  /** Which parameters decay; weights alone unless said otherwise. */
  readonly decaying?: readonly Role[];
}

/** Where checkpoints go. A write replaces the whole file or nothing. */
export interface Store { write(name: "last" | "best", bytes: Uint8Array): Promise<void> }

/** The three parts of the loss with their gains, per image; a network that predicts objectness has that in place of dfl. */
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
  /** The store has no best: the first epoch to come is the best so far, whatever the checkpoint remembers. */
  readonly forgetBest?: boolean;
  /** Kept in every checkpoint: the model's record, its classes, the image size. */
  readonly about?: Readonly<Record<string, unknown>>;
}

/** Where a run is: all of it that is not a tensor. */
interface Progress { epoch: number; batch: number; batchesPerEpoch: number; emaUpdates: number; bestFitness: number; bestEpoch: number; sums: Sums }
interface Sums { box: number; classes: number; dfl: number; firingRate: number; batches: number }
export type SavedProgress = Readonly<Omit<Progress, "sums">> & { readonly sums: Readonly<Sums> };
const noSums = (): Sums => ({ box: 0, classes: 0, dfl: 0, firingRate: 0, batches: 0 });

/** A loss that is not a number: the run ends before any weight takes it in. */
export class NonFiniteLoss extends Error {
  override readonly name = "NonFiniteLoss";
}

/**
 * Trains for the epochs of the recipe. Validation and `best` use the averaged weights. Leaves those of the best epoch nowhere but in the store:
 * the model ends as the last step left it.
 */
export async function* train(model: Detector, data: TrainingData, recipe: TrainRecipe, { store, signal, resume, forgetBest = false, about = {} }: TrainOptions = {}): AsyncGenerator<TrainEvent, void, undefined> {
  const plan = schedule(recipe, data.batchesPerEpoch);
  const optimizer = new SGD(model.namedParameters(), { lr: recipe.lr0, momentum: recipe.momentum, nesterov: true, weightDecay: plan.weightDecay, decaying: recipe.decaying });
  const ema = new EMA(model, recipe.ema), before = new Snapshot(model);
  const progress: Progress = { epoch: 0, batch: 0, batchesPerEpoch: data.batchesPerEpoch, emaUpdates: 0, bestFitness: -1, bestEpoch: -1, sums: noSums() };
  if (resume) goOn(resume, model, optimizer, ema, progress);
  if (forgetBest) Object.assign(progress, { bestFitness: -1, bestEpoch: -1 });
  let kept = resume !== undefined; // whether there is a checkpoint to go on from

  const save = async (name: "last" | "best"): Promise<void> => {
    const { updates, tensors } = ema.state();
    await store?.write(name, saveCheckpoint({ model: tensorsOf(model), ema: tensors, momentum: optimizer.state(), state: { ...about, recipe, progress: { ...progress, emaUpdates: updates } } }));
    kept ||= store !== undefined;
  };

  while (progress.epoch < recipe.epochs) {
    let settings = plan.at(progress.epoch, Math.min(progress.batch, data.batchesPerEpoch - 1));
    for await (const batch of data.train(progress.epoch, progress.batch)) {
      if (progress.batch >= data.batchesPerEpoch) break;
      settings = plan.at(progress.epoch, progress.batch);
      model.train();
      if (host().pool) before.take();
      const step = await retrying(() => trainStep(model, batch, optimizer, settings, recipe, kept), () => before.restore());
      if (settings.step) ema.update();
      addTo(progress.sums, step);
      yield { kind: "step", epoch: progress.epoch, batch: progress.batch, batches: data.batchesPerEpoch, images: batch.images.shape.at(-4)!, settings, peakBytes: host().memory.peak, ...step };
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

/**
 * Forward, loss, backward, and where the schedule says so an optimiser step. All memory of it is free again afterwards. Workers can be lost
 * up to the end of backward, and then nothing has changed but what a Snapshot holds: the optimiser runs on this thread alone.
 */
function trainStep(model: Detector, { images, boxes }: TrainingBatch, optimizer: SGD, { rates, momentum, accumulate, step }: Settings, { clip, gains, gather }: TrainRecipe, kept: boolean): StepResult {
  const spikes = new FiringRate();
  const { box, classes, dfl } = scope(() => {
    const loss = model.loss(spikes.watch(() => model.forward(images)), boxes, gains);
    const { box, classes, dfl } = loss;
    if (!Number.isFinite(loss.total.item())) {
      throw new NonFiniteLoss(`train: the loss is not finite (box ${box}, class ${classes}, dfl ${dfl}); lower lr0 or the clip${kept ? "; the last checkpoint is good" : ""}`);
    }
    backward(gather === "mean" && accumulate > 1 ? scale(loss.total, { by: 1 / accumulate }) : loss.total);
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
export async function validate(model: Detector, batches: AsyncIterable<TrainingBatch>): Promise<DetectionScores> {
  const metrics = new DetectionMetrics();
  for await (const { images, boxes } of batches) {
    const [B, H, W] = images.shape.slice(-4);
    const found = await retrying(() => predict(model, images, { nms: validationNms }));
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

function goOn(bytes: Uint8Array, model: Detector, optimizer: SGD, ema: EMA, progress: Progress): void {
  const checkpoint = loadCheckpoint(bytes), saved = expectResumable(checkpoint, model, progress.batchesPerEpoch);
  ema.load({ updates: saved.emaUpdates, tensors: checkpoint.ema });
  optimizer.load(checkpoint.momentum);
  Object.assign(progress, saved);
}

/**
 * Refuses a checkpoint that cannot go on with this model and data: FormatError, or WrongModelError. Writes nothing but
 * the weights of the checkpoint into the model, so a caller can ask ahead of everything else.
 */
export function expectResumable({ state, model: weights, ema, momentum }: Checkpoint, model: Detector, batchesPerEpoch: number): SavedProgress {
  const saved = savedProgress(state);
  if (saved.batchesPerEpoch !== batchesPerEpoch) {
    throw new FormatError(`resume: the run had ${saved.batchesPerEpoch} batches per epoch, the data now gives ${batchesPerEpoch}, which would shift its schedule; give it as many pictures as it had`, 8);
  }
  expectKnown("resume", new Map(model.namedParameters()), momentum);
  restore(model, ema); // averages have the names and shapes of the weights
  restore(model, weights);
  return saved;
}

/** How far the run of a checkpoint was. The file is not believed: FormatError names the first field that no run would have left so. */
export function savedProgress(state: unknown): SavedProgress {
  const record = (value: unknown): Readonly<Record<string, unknown>> => (typeof value === "object" && value !== null ? { ...value } : {});
  const { progress } = record(state), saved = record(progress), sums = record(saved["sums"]);
  const field = (of: typeof saved, name: string, expected: string, holds: (x: number) => boolean): number => {
    const x = of[name];
    if (typeof x !== "number" || !Number.isFinite(x) || !holds(x)) throw new FormatError(`checkpoint: progress.${of === sums ? "sums." : ""}${name} is ${JSON.stringify(x) ?? "missing"}, expected ${expected}`, 8);
    return x;
  };
  const count = (of: typeof saved, name: string, least = 0, most = Number.MAX_SAFE_INTEGER): number =>
    field(of, name, `a whole number from ${least}${most < Number.MAX_SAFE_INTEGER ? ` to ${most}` : " up"}`, (x) => Number.isSafeInteger(x) && x >= least && x <= most);
  const real = (name: string): number => field(sums, name, "a number", () => true);

  const epoch = count(saved, "epoch"), batchesPerEpoch = count(saved, "batchesPerEpoch", 1), batch = count(saved, "batch", 0, batchesPerEpoch);
  const bestEpoch = count(saved, "bestEpoch", -1, epoch - 1);
  const bestFitness = field(saved, "bestFitness", bestEpoch < 0 ? "-1, as there was no best epoch" : "a number from 0 to 1", (x) => (bestEpoch < 0 ? x === -1 : x >= 0 && x <= 1));
  return {
    epoch, batch, batchesPerEpoch, emaUpdates: count(saved, "emaUpdates"), bestFitness, bestEpoch,
    sums: {
      box: real("box"), classes: real("classes"), dfl: real("dfl"), batches: count(sums, "batches", batch, batch),
      firingRate: field(sums, "firingRate", "a number from 0 up", (x) => x >= 0),
    },
  };
}
