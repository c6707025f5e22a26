/**
 * Boxes as flat arrays [n, 4], and the anchor points that predictions are measured from. A box is its corners
 * (x1, y1, x2, y2: "xyxy") or its centre and size (x, y, w, h: "xywh"); x to the right, y down. Results are float64.
 *
 * No gradients here: these are the values that assignment, decoding and metrics need.
 */
import { atan } from "../kernels/elementary.ts";

export type Reals = Float32Array | Float64Array;

export function xywhToXyxy(boxes: Reals): Float64Array {
  const out = new Float64Array(boxes.length);
  for (let k = 0; k < out.length; k += 4) {
    const x = boxes[k], y = boxes[k + 1], halfWidth = boxes[k + 2] / 2, halfHeight = boxes[k + 3] / 2;
    out[k] = x - halfWidth; out[k + 1] = y - halfHeight;
    out[k + 2] = x + halfWidth; out[k + 3] = y + halfHeight;
  }
  return out;
}

export function xyxyToXywh(boxes: Reals): Float64Array {
  const out = new Float64Array(boxes.length);
  for (let k = 0; k < out.length; k += 4) {
    const x1 = boxes[k], y1 = boxes[k + 1], x2 = boxes[k + 2], y2 = boxes[k + 3];
    out[k] = (x1 + x2) / 2; out[k + 1] = (y1 + y2) / 2;
    out[k + 2] = x2 - x1; out[k + 3] = y2 - y1;
  }
  return out;
}

// ---- how much two boxes overlap ----

/** Intersection over (union + eps) of corner box i of `a` and corner box j of `b`. */
export function iou(a: Reals, i: number, b: Reals, j: number, eps = 1e-7): number {
  const p = 4 * i, q = 4 * j;
  const ax1 = a[p], ay1 = a[p + 1], ax2 = a[p + 2], ay2 = a[p + 3];
  const bx1 = b[q], by1 = b[q + 1], bx2 = b[q + 2], by2 = b[q + 3];
  const shared = Math.max(0, Math.min(ax2, bx2) - Math.max(ax1, bx1)) * Math.max(0, Math.min(ay2, by2) - Math.max(ay1, by1));
  return shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared + eps);
}

/** The IoU of every corner box of `a` [n, 4] with every one of `b` [m, 4]: [n, m] */
export function pairwiseIou(a: Reals, b: Reals, eps = 1e-7): Float64Array {
  const n = a.length / 4, m = b.length / 4;
  const out = new Float64Array(n * m);
  for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) out[i * m + j] = iou(a, i, b, j, eps);
  return out;
}

/** IoU less a penalty: GIoU (arXiv:1902.09630) for the empty part of the hull, DIoU and CIoU (arXiv:1911.08287) for distance and shape. */
export type OverlapKind = "iou" | "giou" | "diou" | "ciou";

/**
 * The overlap that training optimises, of corner box i of `a` with corner box j of `b`.
 *
 *   IoU  = I / U                                I: intersection, U: union + eps
 *   GIoU = IoU - (H - U) / H                    H: area of the hull + eps
 *   DIoU = IoU - d² / (c² + eps)                d: distance of the centres, c: diagonal of the hull
 *   CIoU = DIoU - v² / (v - IoU + 1 + eps)      v = 4/π² (atan(wb / hb) - atan(wa / ha))²
 *
 * Heights get + eps and widths do not, in the aspect ratios and in U: SpikeYOLO's loss was trained with that asymmetry.
 */
export function overlap(kind: OverlapKind, a: Reals, i: number, b: Reals, j: number, eps = 1e-7): number {
  const p = 4 * i, q = 4 * j;
  const ax1 = a[p], ay1 = a[p + 1], ax2 = a[p + 2], ay2 = a[p + 3];
  const bx1 = b[q], by1 = b[q + 1], bx2 = b[q + 2], by2 = b[q + 3];
  const aw = ax2 - ax1, ah = ay2 - ay1 + eps;
  const bw = bx2 - bx1, bh = by2 - by1 + eps;
  const shared = Math.max(0, Math.min(ax2, bx2) - Math.max(ax1, bx1)) * Math.max(0, Math.min(ay2, by2) - Math.max(ay1, by1));
  const union = aw * ah + bw * bh - shared + eps;
  const ratio = shared / union;
  if (kind === "iou") return ratio;

  const hullWidth = Math.max(ax2, bx2) - Math.min(ax1, bx1), hullHeight = Math.max(ay2, by2) - Math.min(ay1, by1);
  if (kind === "giou") {
    const hull = hullWidth * hullHeight + eps;
    return ratio - (hull - union) / hull;
  }

  const dx = (bx1 + bx2 - ax1 - ax2) / 2, dy = (by1 + by2 - ay1 - ay2) / 2;
  const diou = ratio - (dx * dx + dy * dy) / (hullWidth * hullWidth + hullHeight * hullHeight + eps);
  if (kind === "diou") return diou;

  const turn = atan(bw / bh) - atan(aw / ah);
  const v = 4 / (Math.PI * Math.PI) * turn * turn;
  return diou - v * v / (v - ratio + 1 + eps);
}

/** CIoU of corner box i of `a` with corner box j of `b`. */
export const ciou = (a: Reals, i: number, b: Reals, j: number): number => overlap("ciou", a, i, b, j);

// ---- anchors, and distances from them ----

export interface Anchors {
  /** Cell centres, x before y, in cells of their own level: [A, 2] */
  readonly points: Float64Array;
  /** Pixels per cell: [A] */
  readonly strides: Float64Array;
}

/** One point per cell of each feature map [height, width], row by row, level after level. */
export function makeAnchors(featureSizes: readonly (readonly [height: number, width: number])[], strides: readonly number[], offset = 0.5): Anchors {
  if (featureSizes.length !== strides.length) throw new Error(`makeAnchors: expected one stride per level, got ${featureSizes.length} levels and ${strides.length} strides`);
  const count = featureSizes.reduce((sum, [height, width]) => sum + height * width, 0);
  const points = new Float64Array(2 * count), strideOf = new Float64Array(count);
  let a = 0;
  for (const [level, [height, width]] of featureSizes.entries()) {
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++, a++) {
      points[2 * a] = x + offset;
      points[2 * a + 1] = y + offset;
      strideOf[a] = strides[level];
    }
  }
  return { points, strides: strideOf };
}

/** Boxes from distances (left, top, right, bottom) [..., A, 4] to their points [A, 2], in the unit of both. */
export function dist2bbox(distances: Reals, points: Reals, format: "xyxy" | "xywh"): Float64Array {
  checkPoints("dist2bbox", distances, points);
  const out = new Float64Array(distances.length);
  for (let k = 0, a = 0; k < out.length; k += 4, a += 2) {
    if (a === points.length) a = 0;
    out[k] = points[a] - distances[k]; out[k + 1] = points[a + 1] - distances[k + 1];
    out[k + 2] = points[a] + distances[k + 2]; out[k + 3] = points[a + 1] + distances[k + 3];
  }
  return format === "xyxy" ? out : xyxyToXywh(out);
}

/** Distances (left, top, right, bottom) from points [A, 2] to corner boxes [..., A, 4], clamped to what `bins` bins can express: [0, bins - 1.01]. */
export function bbox2dist(boxes: Reals, points: Reals, bins = 16): Float64Array {
  checkPoints("bbox2dist", boxes, points);
  const most = bins - 1 - 0.01;
  const clamp = (distance: number): number => Math.min(Math.max(distance, 0), most);
  const out = new Float64Array(boxes.length);
  for (let k = 0, a = 0; k < out.length; k += 4, a += 2) {
    if (a === points.length) a = 0;
    out[k] = clamp(points[a] - boxes[k]); out[k + 1] = clamp(points[a + 1] - boxes[k + 1]);
    out[k + 2] = clamp(boxes[k + 2] - points[a]); out[k + 3] = clamp(boxes[k + 3] - points[a + 1]);
  }
  return out;
}

function checkPoints(name: string, boxes: Reals, points: Reals): void {
  const ok = points.length === 0 ? boxes.length === 0 : boxes.length % (2 * points.length) === 0;
  if (!ok) throw new Error(`${name}: expected four numbers for each of ${points.length / 2} points, any number of times, got ${boxes.length} numbers`);
}
