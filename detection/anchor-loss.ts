/**
 * The loss of SNN-YOLOv3's published code. Every anchor whose shape fits an object answers for it, in the cell that holds its centre; all other
 * places are background. With sums over heads k and means over rows, places and classes:
 *
 *   box         g_box sum_k mean(1 - GIoU)
 *   objectness  g_obj sum_k mean BCE(o, t)       t = (1 - gr) + gr max(GIoU, 0) where an anchor answers, 0 elsewhere; no gradient through t
 *   classes     g_cls sum_k mean BCE(c, one-hot)
 *
 * "squared" takes the square of the two last sums, as that code does.
 */
import {
  add, bceWithLogits, channels, concat, exp, gatherRows, giou, mul, reshape, scale, sigmoid, sub, sum, tensor, type Tensor,
} from "../engine/index.ts";
import type { AnchorPrediction } from "./anchor-head.ts";
import type { BoxTargets } from "./loss.ts";

/** Objects and the anchors that answer for them, in one head. Rows are anchor-major, then in the order of objects. */
export interface AnchorAssignment {
  readonly image: Int32Array;
  readonly anchor: Int32Array;
  readonly row: Int32Array;
  readonly column: Int32Array;
  readonly class: Int32Array;
  /** Centre from the corner of the cell, width and height, in cells: [n, 4] */
  readonly box: Float64Array;
  /** Width and height of the anchor in cells: [n, 2] */
  readonly size: Float64Array;
}

/** Anchors of which intersection over union with an object, both laid into one corner, is above `least`. A centre on the far edge counts to the last cell. */
export function assignAnchors({ heads, strides, anchors }: AnchorPrediction, { image, class: classOf, xywh }: BoxTargets, least = 0.2): AnchorAssignment[] {
  return heads.map((head, k) => {
    const [, h, w] = head.shape, rows: number[][] = [];
    anchors[k].forEach(([width, height], a) => image.forEach((b, i) => {
      const aw = width / strides[k], ah = height / strides[k];
      const [x, y, bw, bh] = [xywh[4 * i] * w, xywh[4 * i + 1] * h, xywh[4 * i + 2] * w, xywh[4 * i + 3] * h];
      const shared = Math.min(aw, bw) * Math.min(ah, bh);
      if (!(shared / (aw * ah + bw * bh - shared) > least)) return;
      const column = Math.min(Math.max(Math.trunc(x), 0), w - 1), row = Math.min(Math.max(Math.trunc(y), 0), h - 1);
      rows.push([b, a, row, column, classOf[i], x - column, y - row, bw, bh, aw, ah]);
    }));
    const whole = (i: number): Int32Array => Int32Array.from(rows, (r) => r[i]), reals = (from: number, to: number): Float64Array => Float64Array.from(rows.flatMap((r) => r.slice(from, to)));
    return { image: whole(0), anchor: whole(1), row: whole(2), column: whole(3), class: whole(4), box: reals(5, 9), size: reals(9, 11) };
  });
}

export interface AnchorLossOptions {
  readonly box: number;
  readonly objectness: number;
  readonly classes: number;
  /** Share of GIoU in the target of objectness; the rest is 1. */
  readonly gr?: number;
  readonly squared?: boolean;
  readonly leastIoU?: number;
}

/** The published gains for pictures of this side. */
export const anchorGains = (classes: number, side: number): AnchorLossOptions => ({ box: 3.54, objectness: (64.3 * side) / 320, classes: (37.4 * classes) / 80 });

export interface AnchorLoss {
  /** Scalar to go backward from: the sum of the parts. */
  readonly total: Tensor;
  /** The parts with their gains. */
  readonly box: number;
  readonly objectness: number;
  readonly classes: number;
  /** How many anchors answer for an object. */
  readonly positives: number;
  /** Target of each place of each head: [B, h, w, anchors] */
  readonly targets: readonly Float64Array[];
}

const mean = (x: Tensor): Tensor => scale(sum(x), { by: 1 / x.size });
const total = (parts: readonly Tensor[]): Tensor => (parts.length ? parts.reduce((a, b) => add(a, b)) : tensor([0], []));

/** The largest exp(t), so that a wild prediction stays finite. */
const MOST = 1e3;

export function anchorLoss(prediction: AnchorPrediction, boxes: BoxTargets, { gr = 1, squared = false, leastIoU, ...gains }: AnchorLossOptions): AnchorLoss {
  expectObjects(prediction, boxes);
  const { heads, anchors, classes } = prediction, row = 5 + classes, assigned = assignAnchors(prediction, boxes, leastIoU);
  const box: Tensor[] = [], objectness: Tensor[] = [], classLoss: Tensor[] = [], targets: Float64Array[] = [];
  heads.forEach((head, k) => {
    const [B, h, w] = head.shape, A = anchors[k].length, places = B * h * w * A, all = reshape(head, [places, row]), found = assigned[k], n = found.class.length;
    const wanted = new Float64Array(places);
    if (n > 0) {
      const index = Int32Array.from(found.image, (b, i) => ((b * h + found.row[i]) * w + found.column[i]) * A + found.anchor[i]);
      const rows = gatherRows(all, { index });                                                                                           // [n, 5 + classes]
      const overlap = giou(corners(rows, found), tensor(cornersOf(found.box), [n, 4]));                                                  // [n]
      box.push(scale(sub(tensor([n], []), sum(overlap)), { by: 1 / n }));
      overlap.data.forEach((value, i) => { wanted[index[i]] = 1 - gr + gr * Math.max(value, 0); });                                      // of several the last
      const ones = new Float64Array(n * classes);
      found.class.forEach((c, i) => { ones[i * classes + c] = 1; });
      if (classes > 1) classLoss.push(mean(bceWithLogits(channels(rows, { from: 5, count: classes }), tensor(ones, [n, classes]))));
    }
    objectness.push(mean(bceWithLogits(channels(all, { from: 4, count: 1 }), tensor(wanted, [places, 1]))));
    targets.push(wanted);
  });
  const weighed = (sumOfHeads: Tensor, gain: number): Tensor => scale(squared ? mul(sumOfHeads, sumOfHeads) : sumOfHeads, { by: gain });
  const parts = [scale(total(box), { by: gains.box }), weighed(total(objectness), gains.objectness), weighed(total(classLoss), gains.classes)];
  const positives = assigned.reduce((n, { class: { length } }) => n + length, 0);
  return { total: total(parts), box: parts[0].item(), objectness: parts[1].item(), classes: parts[2].item(), positives, targets };
}

/** Raw rows as corners in cells, from the corner of their cell: [n, 4] */
function corners(rows: Tensor, { size }: AnchorAssignment): Tensor {
  const n = rows.shape[0], centre = sigmoid(channels(rows, { from: 0, count: 2 }));
  const half = scale(mul(exp(channels(rows, { from: 2, count: 2 }), { most: MOST }), tensor(size, [n, 2])), { by: 0.5 });
  return concat(sub(centre, half), add(centre, half));
}

function cornersOf(xywh: Float64Array): Float64Array {
  return xywh.map((_, k) => { const at = k - (k & 3), axis = k & 1, half = xywh[at + 2 + axis] / 2; return xywh[at + axis] + ((k & 3) < 2 ? -half : half); });
}

function expectObjects({ classes, heads }: AnchorPrediction, { image, class: classOf, xywh }: BoxTargets): void {
  const n = image.length, B = heads[0].shape[0];
  if (xywh.length !== 4 * n || classOf.length !== n) throw new Error(`anchorLoss: expected one class and one box per object, got ${n} objects, ${classOf.length} classes, boxes [${xywh.length / 4}, 4]`);
  const wrong = classOf.findIndex((c) => !(c >= 0 && c < classes)), astray = image.findIndex((b) => !(b >= 0 && b < B));
  if (wrong >= 0) throw new Error(`anchorLoss: object ${wrong} has class ${classOf[wrong]}, the model has ${classes} classes`);
  if (astray >= 0) throw new Error(`anchorLoss: object ${astray} is of image ${image[astray]}, the batch has ${B}`);
}
