/** From images to detections, in each of the forms in which one trained network runs. */
import { noGrad, scope, withSpikePath, type SpikePath } from "../engine/index.ts";
import { nonMaxSuppression, predictionNms, type Detection, type NmsOptions } from "./nms.ts";
import type { DetectorInput, SpikeYOLO } from "./spikeyolo.ts";

/**
 * How spikes are convolved at inference:
 *
 *   real      as in validation: float32 sums, dense or sparse
 *   integer   exact int32 sums, the integers of the neurons as multipliers
 *   binary    exact int32 sums over T x D timesteps of 0/1 spikes: sparse additions only
 *
 * `integer` and `binary` give the same bits: both are sums of the same weights on a power-of-two grid.
 */
export type InferenceForm = "real" | "integer" | "binary";
const PATHS: Record<InferenceForm, SpikePath> = { real: "auto", integer: "integer", binary: "binary" };

export interface PredictOptions { readonly form?: InferenceForm; readonly nms?: NmsOptions }

/** Detections of each image of the batch, in pixels of the network's image, most confident first. The model is used in eval mode. */
export function predict(model: SpikeYOLO, images: DetectorInput, { form = "real", nms = predictionNms }: PredictOptions = {}): Detection[][] {
  const { training } = model;
  model.eval();
  try {
    return scope(() => noGrad(() => withSpikePath(PATHS[form], () => {
      const decoded = model.detect(images);
      return nonMaxSuppression(decoded.data, decoded.shape as [number, number, number], nms);
    })));
  } finally {
    model.train(training);
  }
}

/** How many detections of either list have no equal in the other: class, score and corners, to the last bit. */
export function countDifferences(a: readonly Detection[], b: readonly Detection[]): number {
  const keys = ({ x1, y1, x2, y2, score, class: c }: Detection): string => [x1, y1, x2, y2, score, c].join();
  const left = new Map<string, number>();
  for (const detection of a) left.set(keys(detection), (left.get(keys(detection)) ?? 0) + 1);
  let unmatched = 0;
  for (const detection of b) {
    const n = left.get(keys(detection)) ?? 0;
    if (n === 0) unmatched++;
    else left.set(keys(detection), n - 1);
  }
  for (const n of left.values()) unmatched += n;
  return unmatched;
}
