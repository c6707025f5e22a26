/** Heads that predict boxes as shifts from anchors (YOLOv3, arXiv:1804.02767): what they say, and what it means in pixels. */
import { concatRows, tensor, type Tensor } from "../engine/index.ts";
import { exp } from "../kernels/elementary.ts";

/** Width and height in pixels. */
export type AnchorBox = readonly [width: number, height: number];

/** Sizes in pixels that YOLOv3 found by k-means on COCO, coarsest stride first. */
export const cocoAnchors: readonly (readonly AnchorBox[])[] = [
  [[116, 90], [156, 198], [373, 326]],
  [[30, 61], [62, 45], [59, 119]],
  [[10, 13], [16, 30], [33, 23]],
];

/** What the heads say of one batch. */
export interface AnchorPrediction {
  /** One for each stride: [B, h, w, anchors * (5 + classes)], anchor-major: x, y, width, height, objectness, then classes, all before any function. */
  readonly heads: readonly Tensor[];
  readonly strides: readonly number[];
  /** Those of each head. */
  readonly anchors: readonly (readonly AnchorBox[])[];
  readonly classes: number;
}

const sigmoid = (x: number): number => 1 / (1 + exp(-x));

/**
 * [B, A, 5 + classes] of all heads: centre, width and height in pixels, objectness, classes; by anchor, then row, then column. No gradients.
 *
 *   x = (sigmoid(tx) + column) stride,  y likewise,  width = exp(tw) anchor width,  height likewise
 */
export function decodeAnchors({ heads, strides, anchors, classes }: AnchorPrediction): Tensor {
  return heads.map((head, k) => {
    const [B, h, w] = head.shape, A = anchors[k].length, row = 5 + classes, raw = head.data, out = new Float64Array(raw.length);
    let to = 0;
    for (let b = 0; b < B; b++) for (let a = 0; a < A; a++) for (let y = 0; y < h; y++) for (let x = 0; x < w; x++, to += row) {
      const from = (((b * h + y) * w + x) * A + a) * row;
      out[to] = (sigmoid(raw[from]) + x) * strides[k];
      out[to + 1] = (sigmoid(raw[from + 1]) + y) * strides[k];
      out[to + 2] = exp(raw[from + 2]) * anchors[k][a][0];
      out[to + 3] = exp(raw[from + 3]) * anchors[k][a][1];
      for (let i = 4; i < row; i++) out[to + i] = sigmoid(raw[from + i]);
    }
    return tensor(out, [B, A * h * w, row]);
  }).reduce((a, b) => concatRows(a, b));
}

/** Sides in pixels between which a box may be. */
const SHORTEST = 2, LONGEST = 4096;

/** [B, A, 5 + classes] -> [B, A, 4 + classes]: classes times objectness; boxes with a side out of range score 0. */
export function scoredBoxes(decoded: Tensor): Tensor {
  const [B, A, row] = decoded.shape, all = decoded.data, out = new Float64Array(B * A * (row - 1));
  for (let n = 0; n < B * A; n++) {
    const from = n * row, to = n * (row - 1);
    for (let i = 0; i < 4; i++) out[to + i] = all[from + i];
    const fits = [2, 3].every((side) => all[from + side] > SHORTEST && all[from + side] < LONGEST);
    for (let i = 5; i < row; i++) out[to + i - 1] = fits ? all[from + i] * all[from + 4] : 0;
  }
  return tensor(out, [B, A, row - 1]);
}
