/**
 * What is taken for what: a matrix [classes + 1, classes + 1], detections down, truths across, the last of either being background, as
 * ultralytics draws it.
 *
 * Detections above the confidence and truths are paired by IoU whatever their class, best pairs first, each once. What stays alone is a
 * false alarm (last column) or missed (last row). Versions around 8.0 forget the false alarms of images in which nothing is paired; here,
 * as in later ones, they count.
 */
import { iou } from "../boxes.ts";
import type { Detection } from "../nms.ts";
import type { Truth } from "./ultralytics.ts";

export interface ConfusionOptions {
  /** Scores must be above it. Default 0.25. */
  readonly confidence?: number;
  /** Pairs must overlap more than this. Default 0.45. */
  readonly iou?: number;
}

export class ConfusionMatrix {
  readonly protocol: string;
  /** Row by row: counts[predicted * (classes + 1) + true] */
  readonly counts: Float64Array;
  readonly confidence: number;
  readonly iou: number;
  constructor(readonly classes: number, { confidence = 0.25, iou: overlap = 0.45 }: ConfusionOptions = {}) {
    if (!Number.isSafeInteger(classes) || classes < 1) throw new Error(`confusion: expected at least one class, got ${classes}`);
    this.counts = new Float64Array((classes + 1) * (classes + 1));
    [this.confidence, this.iou] = [confidence, overlap];
    this.protocol = `ultralytics confusion matrix (confidence > ${confidence}, IoU > ${overlap})`;
  }

  /** One picture. */
  add(detections: readonly Detection[], truths: readonly Truth[]): void {
    for (const [what, boxes] of [["detection", detections], ["truth", truths]] as const) {
      for (const [i, { class: category }] of boxes.entries()) {
        if (!(Number.isInteger(category) && category >= 0 && category < this.classes)) throw new Error(`confusion: ${what} ${i} is of class ${category}, expected 0 to ${this.classes - 1}`);
      }
    }
    const found = detections.filter(({ score }) => score > this.confidence);
    const partner = this.pair(found, truths), alone = new Uint8Array(truths.length).fill(1);
    for (const [d, { class: predicted }] of found.entries()) {
      if (partner[d] >= 0) alone[partner[d]] = 0;
      this.count(predicted, partner[d] >= 0 ? truths[partner[d]].class : this.classes);
    }
    for (const [g, truth] of truths.entries()) if (alone[g]) this.count(this.classes, truth.class);
  }

  /** How often class `predicted` was said where class `truth` was. */
  at(predicted: number, truth: number): number { return this.counts[predicted * (this.classes + 1) + truth]; }

  /** Each column divided by its sum: of all objects of a class, the share taken for each. */
  shares(): Float64Array {
    const side = this.classes + 1, sums = new Float64Array(side);
    for (let i = 0; i < this.counts.length; i++) sums[i % side] += this.counts[i];
    return this.counts.map((count, i) => (count === 0 ? 0 : count / sums[i % side]));
  }

  private count(predicted: number, truth: number): void { this.counts[predicted * (this.classes + 1) + truth]++; }

  /**
   * The truth of each detection, or -1. A detection proposes itself to the truth that it overlaps most, and a truth takes the proposal that
   * overlaps it most; who is refused does not try again, as in the reference.
   */
  private pair(found: readonly Detection[], truths: readonly Truth[]): Int32Array {
    const a = corners(truths), b = corners(found), partner = new Int32Array(found.length).fill(-1);
    const best = new Float64Array(truths.length), holder = new Int32Array(truths.length).fill(-1);
    for (let d = 0; d < found.length; d++) {
      let most = this.iou, nearest = -1;
      for (let g = 0; g < truths.length; g++) {
        const shared = iou(a, g, b, d);
        if (shared > most) { most = shared; nearest = g; }
      }
      if (nearest >= 0 && most > best[nearest]) { best[nearest] = most; holder[nearest] = d; }
    }
    for (let g = 0; g < truths.length; g++) if (holder[g] >= 0) partner[holder[g]] = g;
    return partner;
  }
}

function corners(boxes: readonly { readonly x1: number; readonly y1: number; readonly x2: number; readonly y2: number }[]): Float64Array {
  const out = new Float64Array(4 * boxes.length);
  for (const [i, { x1, y1, x2, y2 }] of boxes.entries()) out.set([x1, y1, x2, y2], 4 * i);
  return out;
}
