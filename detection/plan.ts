/** How much memory training will take, known before anything runs. */
import { backward, empty, OutOfMemoryError, rehearse, scope } from "../engine/index.ts";
import { tensorsOf } from "../nn/checkpoint.ts";
import type { BoxTargets } from "./loss.ts";
import { newDetector, type DetectorRecord } from "./families.ts";

/** Bytes of the linear memory after a training step. */
export interface MemoryPlan {
  /** Weights and running statistics. */
  readonly parameters: number;
  /** Gradients, momentum, averaged weights, and tables of the convolutions. */
  readonly optimizer: number;
  /** What stands at the end of the forward pass. */
  readonly activations: number;
  /** What operations need while they run, gradients on their way, and holes between blocks. */
  readonly workspace: number;
  readonly total: number;
}

export interface PlannedTraining { readonly model: DetectorRecord; readonly batch: number; readonly imgsz: number }

/** Larger than what one linear memory can be. */
const ENDLESS: MemoryPlan = { parameters: NaN, optimizer: NaN, activations: NaN, workspace: NaN, total: Infinity };

/** The plan of `train` on batches of so many pictures: from shapes alone, with spikes as dense as they usually are. */
export function planTraining(training: PlannedTraining): MemoryPlan {
  try {
    return rehearseStep(training);
  } catch (error) {
    if (error instanceof OutOfMemoryError) return ENDLESS;
    throw error;
  }
}

function rehearseStep({ model: config, batch, imgsz }: PlannedTraining): MemoryPlan {
  return rehearse((memory) => {
    const model = newDetector(config), parameters = memory.persistentBytes;
    for (const { size } of tensorsOf(model).values()) memory.persistent(4 * size); // averages
    const objects: BoxTargets = { image: Int32Array.from({ length: batch }, (_, b) => b), class: new Int32Array(batch), xywh: Float32Array.from({ length: 4 * batch }, (_, i) => (i & 2 ? 0.4 : 0.5)) };
    const activations = scope(() => {
      const prediction = model.forward(empty([batch, imgsz, imgsz, 3])), held = memory.inUse - memory.persistentBytes;
      backward(model.loss(prediction, objects).total);
      return held;
    });
    for (const { size } of model.parameters()) memory.persistent(4 * size); // momentum
    const total = memory.reserved, optimizer = memory.persistentBytes - parameters;
    return { parameters, optimizer, activations, workspace: total - parameters - optimizer - activations, total };
  });
}

/** The largest batch below the planned one that stays within so many bytes; 0 if there is none. */
export function largestBatch(training: PlannedTraining, limit: number): number {
  let fits = 0, fails = training.batch;
  while (fails - fits > 1) {
    const batch = (fits + fails) >> 1;
    if (planTraining({ ...training, batch }).total <= limit) fits = batch; else fails = batch;
  }
  return fits;
}

const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;

/** The plan in one line. */
export const showPlan = ({ parameters, optimizer, activations, workspace, total }: MemoryPlan): string =>
  `memory: parameters ${megabytes(parameters)} + optimizer ${megabytes(optimizer)} + activations ${megabytes(activations)} + workspace ${megabytes(workspace)} = ${megabytes(total)}`;

/** A plan that is over the limit, with what would fit. */
export class OverLimitError extends Error {
  override readonly name = "OverLimitError";
}

/** The plan, if it stays within so many bytes; otherwise OverLimitError, before anything was computed. */
export function expectRoom(training: PlannedTraining, limit: number): MemoryPlan {
  const plan = planTraining(training);
  if (plan.total <= limit) return plan;
  const { batch, imgsz, model } = training, fits = largestBatch(training, limit);
  const needed = Number.isFinite(plan.total) ? megabytes(plan.total) : "more than the 4295 MB of one linear memory";
  const remedy = fits > 0 ? `batch=${fits} fits` : `not even batch=1 fits; take a smaller model or imgsz`;
  throw new OverLimitError(`memory: batch ${batch} at ${imgsz} x ${imgsz} needs ${needed}, the limit is ${megabytes(limit)}; ${remedy}${model.checkpointing ? "" : ", and checkpointing=true takes less"}`);
}
