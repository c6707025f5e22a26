/**
 * Which prediction should find which object: task-aligned assignment (TOOD, arXiv:2108.07755), as SpikeYOLO trains with.
 *
 *   metric = score^alpha * overlap^beta      overlap: CIoU clamped at 0; both are 0 unless the anchor lies inside the object
 *
 * Each object claims the topK anchors of largest metric; an anchor claimed twice goes to the object it overlaps most.
 * The target score of an anchor is its metric, scaled so that the best anchor of an object gets that object's best overlap.
 */
import { power } from "../kernels/elementary.ts";
import { ciou, type Reals } from "./boxes.ts";

/** What the network predicts for a batch of B images at A anchors. */
export interface AssignerInput {
  /** Class scores after the sigmoid: [B, A, classes] */
  readonly scores: Reals;
  /** Decoded corner boxes in pixels: [B, A, 4] */
  readonly boxes: Reals;
  /** Anchor centres in pixels: [A, 2] */
  readonly points: Reals;
  readonly classes: number;
}

/** The objects of a batch as columns, n rows in any order; of equally good objects the earlier row wins. A box whose corners sum to 0 or less is padding. */
export interface Truths {
  readonly image: Int32Array;
  readonly class: Int32Array;
  /** Corners in pixels: [n, 4] */
  readonly xyxy: Reals;
}

/** The foreground anchors as columns, in the order of image * A + anchor. */
export interface Assignment {
  /** 1 where an anchor has an object: [B, A] */
  readonly mask: Uint8Array;
  /** image * A + anchor: [n] */
  readonly position: Int32Array;
  /** Its object, a row of the truths: [n] */
  readonly truth: Int32Array;
  /** The one class with a target score above zero: [n] */
  readonly class: Int32Array;
  /** That target score: [n] */
  readonly score: Float64Array;
  /** The object's corners in pixels: [n, 4] */
  readonly xyxy: Float64Array;
}

export interface AssignerRecipe {
  readonly topK: number;
  readonly alpha: number;
  readonly beta: number;
  readonly eps: number;
}

/** SpikeYOLO (v8DetectionLoss). */
export const taskAligned: AssignerRecipe = { topK: 10, alpha: 0.5, beta: 6, eps: 1e-9 };

/**
 * Two freedoms of the reference are settled here. Anchors of metric 0 are never claimed: the reference lets an object with
 * fewer than topK better ones take some of them, which ones is unspecified, and their weight in every loss is 0. And where there are
 * fewer than topK anchors, all of them may be claimed: the reference raises.
 */
export function assign(predicted: AssignerInput, truths: Truths, recipe: AssignerRecipe = taskAligned): Assignment {
  const { scores, boxes, points, classes } = predicted;
  const anchors = points.length / 2;
  const images = check(predicted, truths);
  const { topK, alpha, beta, eps } = recipe;

  const mask = new Uint8Array(images * anchors);
  const position: number[] = [], truth: number[] = [], score: number[] = [];

  // What is known of the anchors of one image: the claiming object (or NOBODY, or SEVERAL), its overlap and its metric.
  const owner = new Int32Array(anchors), overlapOf = new Float64Array(anchors), metricOf = new Float64Array(anchors);
  const bestAnchor = new Int32Array(topK), bestOverlap = new Float64Array(topK), bestMetric = new Float64Array(topK);
  const largestMetric = new Float64Array(truths.class.length), largestOverlap = new Float64Array(truths.class.length);

  const inside = (a: number, g: number): boolean => {
    const x = points[2 * a], y = points[2 * a + 1], box = truths.xyxy;
    return x - box[4 * g] > eps && y - box[4 * g + 1] > eps && box[4 * g + 2] - x > eps && box[4 * g + 3] - y > eps;
  };
  const metric = (image: number, a: number, g: number, overlap: number): number =>
    power(scores[(image * anchors + a) * classes + truths.class[g]], alpha) * power(overlap, beta);

  for (const [image, rows] of rowsByImage(truths, images).entries()) {
    owner.fill(NOBODY);
    for (const g of rows) {
      let claimed = 0;
      for (let a = 0; a < anchors; a++) {
        if (!inside(a, g)) continue;
        const overlap = ciou(truths.xyxy, g, boxes, image * anchors + a);
        if (!(overlap > 0)) continue;
        const value = metric(image, a, g, overlap);
        if (!(value > 0) || (claimed === topK && value <= bestMetric[topK - 1])) continue;
        let k = claimed < topK ? claimed++ : topK - 1;
        for (; k > 0 && value > bestMetric[k - 1]; k--) {
          bestMetric[k] = bestMetric[k - 1]; bestOverlap[k] = bestOverlap[k - 1]; bestAnchor[k] = bestAnchor[k - 1];
        }
        bestMetric[k] = value; bestOverlap[k] = overlap; bestAnchor[k] = a;
      }
      for (let k = 0; k < claimed; k++) {
        const a = bestAnchor[k];
        if (owner[a] === NOBODY) { owner[a] = g; overlapOf[a] = bestOverlap[k]; metricOf[a] = bestMetric[k]; }
        else owner[a] = SEVERAL;
      }
    }

    for (let a = 0; a < anchors; a++) {
      if (owner[a] === NOBODY) continue;
      if (owner[a] === SEVERAL) {
        // Among all objects around it, not only those that claimed it.
        overlapOf[a] = 0;
        for (const g of rows) {
          const overlap = inside(a, g) ? ciou(truths.xyxy, g, boxes, image * anchors + a) : 0;
          if (overlap > overlapOf[a]) { overlapOf[a] = overlap; owner[a] = g; }
        }
        metricOf[a] = metric(image, a, owner[a], overlapOf[a]);
      }
      const g = owner[a];
      largestMetric[g] = Math.max(largestMetric[g], metricOf[a]);
      largestOverlap[g] = Math.max(largestOverlap[g], overlapOf[a]);
    }

    for (let a = 0; a < anchors; a++) {
      const g = owner[a];
      if (g === NOBODY) continue;
      mask[image * anchors + a] = 1;
      position.push(image * anchors + a);
      truth.push(g);
      score.push(metricOf[a] * largestOverlap[g] / (largestMetric[g] + eps));
    }
  }

  const xyxy = new Float64Array(4 * truth.length);
  for (const [n, g] of truth.entries()) xyxy.set(truths.xyxy.subarray(4 * g, 4 * g + 4), 4 * n);
  return {
    mask, position: Int32Array.from(position), truth: Int32Array.from(truth),
    class: Int32Array.from(truth, (g) => truths.class[g]), score: Float64Array.from(score), xyxy,
  };
}

const NOBODY = -1, SEVERAL = -2;

/** The rows of each image, padding left out. */
function rowsByImage(truths: Truths, images: number): number[][] {
  const rows: number[][] = Array.from({ length: images }, () => []);
  for (const [g, image] of truths.image.entries()) {
    const box = truths.xyxy.subarray(4 * g, 4 * g + 4);
    if (box[0] + box[1] + box[2] + box[3] > 0) rows[image].push(g);
  }
  return rows;
}

/** The number of images. */
function check({ scores, boxes, points, classes }: AssignerInput, truths: Truths): number {
  const anchors = points.length / 2, images = anchors === 0 ? 0 : boxes.length / 4 / anchors;
  if (!Number.isInteger(images) || scores.length !== images * anchors * classes) {
    throw new Error(`assign: expected scores [B, A, ${classes}] and boxes [B, A, 4] for points [${anchors}, 2], got ${scores.length} and ${boxes.length} numbers`);
  }
  const n = truths.class.length;
  if (truths.image.length !== n || truths.xyxy.length !== 4 * n) {
    throw new Error(`assign: expected truths in equal columns, got ${truths.image.length} images, ${n} classes and ${truths.xyxy.length} coordinates`);
  }
  for (let g = 0; g < n; g++) {
    if (truths.image[g] < 0 || truths.image[g] >= images) throw new Error(`assign: truth ${g} is in image ${truths.image[g]} of a batch of ${images}`);
    if (truths.class[g] < 0 || truths.class[g] >= classes) throw new Error(`assign: truth ${g} has class ${truths.class[g]}, the model knows ${classes}`);
  }
  return images;
}
