/** Precision and recall as curves, and the areas under them that the protocols disagree about. */

/** How many confidences, and how many recalls, a drawn curve has: 0 to 1. */
export const POINTS = 1000;
const TINY = 1e-16;

/** The k-th of POINTS numbers from 0 to 1. */
export const pointAt = (k: number): number => (k === POINTS - 1 ? 1 : k * (1 / (POINTS - 1)));

/** Detections of one class, sorted by falling score, become how precise and how complete they are down to each of them. */
export interface PrecisionRecall {
  readonly precision: Float64Array;
  readonly recall: Float64Array;
}

/** F1 at each point of two curves of equal length. */
export const f1Curve = ({ precision, recall }: PrecisionRecall): Float64Array => precision.map((p, k) => 2 * p * recall[k] / (p + recall[k] + TINY));

/** Precision and recall after each detection. `hit` says which of `n` sorted detections are right; `truths` is how many there are to find. */
export function precisionRecall(n: number, hit: (k: number) => number, truths: number): PrecisionRecall {
  const precision = new Float64Array(n), recall = new Float64Array(n);
  let hits = 0;
  for (let k = 0; k < n; k++) {
    hits += hit(k);
    precision[k] = hits / (k + 1);
    recall[k] = hits / (truths + TINY);
  }
  return { precision, recall };
}

/** In place: each value becomes the largest from it on. */
export function fallingEnvelope(values: Float64Array, length = values.length): void {
  for (let i = length - 2; i >= 0; i--) if (values[i + 1] > values[i]) values[i] = values[i + 1];
}

/** The falling envelope of precision over recall between the points (0, first) and (1, 0). */
export function closedEnvelope({ precision, recall }: PrecisionRecall, first: number): { x: Float64Array; y: Float64Array } {
  const n = recall.length, x = new Float64Array(n + 2), y = new Float64Array(n + 2);
  x.set(recall, 1);
  y.set(precision, 1);
  y[0] = first;
  x[n + 1] = 1;
  fallingEnvelope(y);
  return { x, y };
}

/** ultralytics: the area under the envelope, closed by (0, 1) and (1, 0), by the trapezoid rule on 101 recalls. */
export function trapezoidArea(curve: PrecisionRecall): number {
  const { x, y } = closedEnvelope(curve, 1);
  let area = 0, before = interpolate(0, x, y, 1);
  for (let k = 1; k <= 100; k++) {
    const now = interpolate(k * 0.01, x, y, 1);
    area += 0.01 * (before + now) / 2;
    before = now;
  }
  return area;
}

/** VOC from 2010 on: the area under the envelope itself. */
export function exactArea(curve: PrecisionRecall): number {
  const { x, y } = closedEnvelope(curve, 0);
  let area = 0;
  for (let i = 1; i < x.length; i++) area += (x[i] - x[i - 1]) * y[i];
  return area;
}

/** VOC 2007: the mean, over the recalls in `at`, of the largest precision from there on. */
export function pointsArea({ precision, recall }: PrecisionRecall, at: readonly number[]): number {
  let sum = 0;
  for (const least of at) {
    let best = 0;
    for (let i = 0; i < recall.length; i++) if (recall[i] >= least && precision[i] > best) best = precision[i];
    sum += best / at.length;
  }
  return sum;
}

/** y at `at`, linear between the rising x (of equal x the last counts), `left` before the first x, the last y after the last x. */
export function interpolate(at: number, x: Float64Array, y: Float64Array, left: number): number {
  let low = 0, high = x.length; // how many x are <= at
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (x[middle] <= at) low = middle + 1; else high = middle;
  }
  const i = low - 1;
  if (i < 0) return left;
  if (i === x.length - 1 || x[i] === at) return y[i];
  return y[i] + (y[i + 1] - y[i]) / (x[i + 1] - x[i]) * (at - x[i]);
}

/** Moving average over a share of the curve, the ends held. */
export function smooth(y: Float64Array, share: number): Float64Array {
  const width = Math.floor(Math.round(y.length * share * 2) / 2) + 1, half = width >> 1;
  return y.map((_, k) => {
    let sum = 0;
    for (let i = k - half; i <= k + half; i++) sum += y[Math.min(Math.max(i, 0), y.length - 1)] * (1 / width);
    return sum;
  });
}

export function firstMaximum(values: Float64Array): number {
  let best = 0;
  for (let k = 1; k < values.length; k++) if (values[k] > values[best]) best = k;
  return best;
}
