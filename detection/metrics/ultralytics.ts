/**
 * Mean average precision as SpikeYOLO's trainer computes it while training (ultralytics). It is not pycocotools' and not VOC's:
 * the matching and the interpolation differ in the third digit.
 */
import { iou } from "../boxes.ts";
import type { Detection } from "../nms.ts";
import { closedEnvelope, f1Curve, firstMaximum, interpolate, pointAt, POINTS, precisionRecall, smooth, trapezoidArea, type PrecisionRecall } from "./curves.ts";

/** A true object: corners in the same pixels as the detections. */
export interface Truth {
  readonly class: number;
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
}

/** 0.50, 0.55 … 0.95, as float32 has them. */
export const iouThresholds: readonly number[] = Array.from({ length: 10 }, (_, i) => Math.fround((50 + 5 * i) / 100));

export interface ClassScores {
  readonly class: number;
  readonly truths: number;
  readonly detections: number;
  /** Average precision at each threshold. */
  readonly ap: readonly number[];
  readonly ap50: number;
  /** Mean over the thresholds. */
  readonly map: number;
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

/** Means over the classes that have truths. Precision, recall and F1 are at the first threshold and at `confidence`. */
export interface DetectionScores {
  /** Whose rules these numbers follow. */
  readonly protocol: string;
  readonly images: number;
  readonly truths: number;
  readonly detections: number;
  /** At the first threshold, 0.5. */
  readonly map50: number;
  readonly map: number;
  /** 0.1 mAP50 + 0.9 mAP: what the best checkpoint is best in. */
  readonly fitness: number;
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
  /** Where the smoothed mean F1 is largest. */
  readonly confidence: number;
  readonly perClass: readonly ClassScores[];
}

/** What the plots of a class are drawn from; the first IoU threshold throughout, POINTS numbers each. */
export interface ClassCurves extends PrecisionRecall {
  readonly class: number;
  /** Over confidence from 0 to 1, as precision and recall are. */
  readonly f1: Float64Array;
  /** The falling envelope of precision, over recall from 0 to 1. */
  readonly precisionOverRecall: Float64Array;
}

export interface DetectionCurves {
  /** Where the curves have their points, 0 to 1: confidences, or recalls. */
  readonly at: Float64Array;
  /** Classes that have truths, in the order of their numbers. */
  readonly perClass: readonly ClassCurves[];
}

export const ULTRALYTICS = "ultralytics (the trainer's own mAP)";

/** Collects an evaluation picture by picture; keeps a score and a few bits per detection, no boxes. */
export class DetectionMetrics {
  private readonly classes = new Map<number, ClassRecord>();
  private images = 0;
  constructor(readonly thresholds: readonly number[] = iouThresholds) {
    if (thresholds.length < 1 || thresholds.length > 32) throw new Error(`metrics: expected 1 to 32 IoU thresholds, got ${thresholds.length}`);
  }

  /** One picture: detections by descending score, as NMS gives them, and all truths. */
  add(detections: readonly Detection[], truths: readonly Truth[]): void {
    const correct = matchDetections(detections, truths, this.thresholds);
    for (const [d, { class: category, score }] of detections.entries()) {
      let bits = 0;
      for (let t = 0; t < this.thresholds.length; t++) bits |= correct[d * this.thresholds.length + t] << t;
      const record = this.record(category);
      record.scores.push(score);
      record.correct.push(bits);
    }
    for (const truth of truths) this.record(truth.class).truths++;
    this.images++;
  }

  /**
   * The scores of all pictures so far. Without truths, or without detections, every mean is 0; so are the scores of a class that has
   * truths but no detections. Detections of classes without truths count in no mean, as in the reference.
   */
  result(): DetectionScores {
    const curves = this.scored().map((one) => ({ ...one, f1: f1Curve(one.curve) }));
    const meanF1 = Float64Array.from({ length: POINTS }, (_, k) => mean(curves.map(({ f1 }) => f1[k])));
    const best = firstMaximum(smooth(meanF1, 0.1));

    const perClass = curves.map(({ category, record, ap, curve: { precision, recall }, f1 }): ClassScores => ({
      class: category, truths: record.truths, detections: record.scores.length,
      ap, ap50: ap[0], map: mean(ap), precision: precision[best], recall: recall[best], f1: f1[best],
    }));
    const map50 = mean(perClass.map((row) => row.ap50)), map = mean(perClass.map((row) => row.map));
    const records = [...this.classes.values()];
    return {
      protocol: ULTRALYTICS,
      images: this.images,
      truths: records.reduce((sum, record) => sum + record.truths, 0),
      detections: records.reduce((sum, record) => sum + record.scores.length, 0),
      map50, map, fitness: fitness({ map50, map }),
      precision: mean(perClass.map((row) => row.precision)), recall: mean(perClass.map((row) => row.recall)), f1: mean(perClass.map((row) => row.f1)),
      confidence: curves.length === 0 ? 0 : pointAt(best),
      perClass,
    };
  }

  /** The curves behind the result, of the pictures so far. */
  curves(): DetectionCurves {
    return {
      at: Float64Array.from({ length: POINTS }, (_, k) => pointAt(k)),
      perClass: this.scored().map(({ category, curve, precisionOverRecall }) => ({ class: category, ...curve, f1: f1Curve(curve), precisionOverRecall })),
    };
  }

  /** Classes that have truths, in the order of their numbers. */
  private scored() {
    return [...this.classes.entries()].filter(([, record]) => record.truths > 0).sort(([a], [b]) => a - b)
      .map(([category, record]) => ({ category, record, ...scoresOf(record, this.thresholds.length) }));
  }

  private record(category: number): ClassRecord {
    let record = this.classes.get(category);
    if (!record) this.classes.set(category, record = { truths: 0, scores: [], correct: [] });
    return record;
  }
}

export const fitness = ({ map50, map }: { readonly map50: number; readonly map: number }): number => 0.1 * map50 + 0.9 * map;

interface ClassRecord {
  truths: number;
  /** Of each detection, in the order they came. */
  readonly scores: number[];
  /** Bit t: correct at threshold t. */
  readonly correct: number[];
}

/**
 * Which detections of one picture are correct at which threshold: [detections, thresholds], 0 or 1.
 *
 * Each detection stands for the one truth of its class that it overlaps most (the later one of equals); each truth takes the most
 * confident of the detections that stand for it and reach the threshold. A detection whose favourite is taken gets no second choice.
 */
export function matchDetections(detections: readonly Detection[], truths: readonly Truth[], thresholds: readonly number[]): Uint8Array {
  const found = corners(detections), wanted = corners(truths);
  const correct = new Uint8Array(detections.length * thresholds.length);
  const taken = new Uint8Array(truths.length * thresholds.length);
  for (const [d, detection] of detections.entries()) {
    if (Number.isNaN(detection.score)) throw new Error(`metrics: detection ${d} of class ${detection.class} has score ${detection.score}, expected a number; predictions that are not numbers come from weights that are not`);
    if (d > 0 && detection.score > detections[d - 1].score) {
      throw new Error(`metrics: expected detections by descending score, got ${detection.score} after ${detections[d - 1].score}`);
    }
    let favourite = -1, most = 0;
    for (const [g, truth] of truths.entries()) {
      if (truth.class !== detection.class) continue;
      const shared = iou(wanted, g, found, d);
      if (shared >= most) { most = shared; favourite = g; }
    }
    if (favourite < 0) continue;
    for (const [t, threshold] of thresholds.entries()) {
      const claim = favourite * thresholds.length + t;
      if (!(most >= threshold) || taken[claim]) continue;
      taken[claim] = 1;
      correct[d * thresholds.length + t] = 1;
    }
  }
  return correct;
}

const mean = (values: readonly number[]): number => (values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length);

function corners(boxes: readonly Omit<Truth, "class">[]): Float64Array {
  const out = new Float64Array(4 * boxes.length);
  for (const [i, { x1, y1, x2, y2 }] of boxes.entries()) out.set([x1, y1, x2, y2], 4 * i);
  return out;
}

/** Average precision at each threshold; at the first one, precision and recall over confidence, and the envelope of precision over recall. */
function scoresOf({ truths, scores, correct }: ClassRecord, thresholds: number): { ap: number[]; curve: PrecisionRecall; precisionOverRecall: Float64Array } {
  const n = scores.length, curve = { precision: new Float64Array(POINTS), recall: new Float64Array(POINTS) }, precisionOverRecall = new Float64Array(POINTS);
  if (n === 0) return { ap: new Array<number>(thresholds).fill(0), curve, precisionOverRecall };

  const order = Array.from(scores, (_, i) => i).sort((i, j) => scores[j] - scores[i] || i - j);
  const falling = Float64Array.from(order, (i) => -scores[i]); // negated, because interpolation wants to rise
  const ap: number[] = [];
  for (let t = 0; t < thresholds; t++) {
    const along = precisionRecall(n, (k) => (correct[order[k]] >>> t) & 1, truths);
    ap.push(trapezoidArea(along));
    if (t > 0) continue;
    const { x, y } = closedEnvelope(along, 1);
    for (let k = 0; k < POINTS; k++) {
      curve.precision[k] = interpolate(-pointAt(k), falling, along.precision, 1);
      curve.recall[k] = interpolate(-pointAt(k), falling, along.recall, 0);
      precisionOverRecall[k] = interpolate(pointAt(k), x, y, 1);
    }
  }
  return { ap, curve, precisionOverRecall };
}
