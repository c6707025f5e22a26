/**
 * Anchors for one's own boxes, by k-means as YOLOv2 (arXiv:1612.08242) and YOLOv3 found theirs: two sizes are as far apart as 1 - IoU of them laid into
 * one corner, and a cluster is where the mean of its sizes is.
 */
import { Random } from "../engine/index.ts";
import { FormatError } from "../nn/safetensors.ts";
import type { AnchorBox } from "./anchor-head.ts";

/** Of each head, the coarsest first. */
export type Anchors = readonly (readonly AnchorBox[])[];

/** Refuses anchors that no search would have found, such as those of a file: a list for each of so many heads, of pairs of pixels. */
export function expectAnchors(anchors: unknown, heads = 3): asserts anchors is Anchors {
  const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []), side = (x: unknown): boolean => typeof x === "number" && x > 0 && x <= 65_536;
  const good = list(anchors).length === heads && list(anchors).every((head) => list(head).length >= 1 && list(head).length <= 32 && list(head).every((box) => list(box).length === 2 && list(box).every(side)));
  if (!good) throw new FormatError(`checkpoint: anchors are ${JSON.stringify(anchors)?.slice(0, 80)}, expected ${heads} lists of widths and heights in pixels`, 8);
}

export interface AnchorSearch {
  /** Heads, the coarsest first, and anchors of each. */
  readonly heads?: number;
  readonly perHead?: number;
  readonly seed?: number;
  /** Beginnings, of which the best is kept. */
  readonly tries?: number;
}

export interface FoundAnchors {
  /** Whole pixels, by area: the largest for the first head. */
  readonly anchors: Anchors;
  /** Mean IoU of the sizes with their nearest anchor. */
  readonly meanIoU: number;
}

/** Rounds of one try; most are settled after some ten. */
const MOST_ROUNDS = 100;

/** IoU of two sizes in one corner. */
export function sizeIoU([w, h]: AnchorBox, [v, g]: AnchorBox): number {
  const shared = Math.min(w, v) * Math.min(h, g);
  return shared / (w * h + v * g - shared);
}

/** Anchors for boxes of these widths and heights in pixels of the network's image. */
export function findAnchors(sizes: readonly AnchorBox[], { heads = 3, perHead = 3, seed = 0, tries = 5 }: AnchorSearch = {}): FoundAnchors {
  const wanted = heads * perHead, good = sizes.filter(([w, h]) => w > 0 && h > 0 && w < Infinity && h < Infinity), different = new Set(good.map(String)).size;
  if (different < wanted) throw new Error(`anchors: ${wanted} anchors need at least as many different sizes of boxes, got ${different}; use those of COCO`);
  let best: { centres: AnchorBox[]; score: number } | undefined;
  for (let attempt = 0; attempt < tries; attempt++) {
    const centres = settled(good, scattered(good, wanted, new Random(seed, attempt))), score = meanIoU(good, centres);
    if (!best || score > best.score) best = { centres, score };
  }
  const whole = best!.centres.map(([w, h]): AnchorBox => [Math.max(1, Math.round(w)), Math.max(1, Math.round(h))]).sort((a, b) => b[0] * b[1] - a[0] * a[1]);
  return { anchors: Array.from({ length: heads }, (_, head) => whole.slice(head * perHead, (head + 1) * perHead)), meanIoU: meanIoU(good, whole) };
}

/** k-means++: each next centre is a size, with a chance that grows with its distance from those that there are. */
function scattered(sizes: readonly AnchorBox[], count: number, random: Random): AnchorBox[] {
  const centres = [sizes[random.integer(0, sizes.length)]], far = sizes.map((size) => 1 - sizeIoU(size, centres[0]));
  while (centres.length < count) {
    let left = random.uniform(0, far.reduce((a, b) => a + b)), i = 0;
    while (i < sizes.length - 1 && (left -= far[i]) > 0) i++;
    const next = far[i] > 0 ? sizes[i] : sizes[far.indexOf(far.reduce((a, b) => Math.max(a, b)))];
    centres.push(next);
    sizes.forEach((size, k) => { far[k] = Math.min(far[k], 1 - sizeIoU(size, next)); });
  }
  return centres;
}

/** Moves each centre to the mean of what is nearest to it until nothing changes its centre; one that nobody is near to stays. */
function settled(sizes: readonly AnchorBox[], centres: AnchorBox[]): AnchorBox[] {
  let before: number[] = [];
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const owner = sizes.map((size) => nearest(size, centres).index), sums = centres.map(() => [0, 0, 0]);
    if (owner.every((one, i) => one === before[i])) break;
    owner.forEach((one, i) => { const sum = sums[one], [w, h] = sizes[i]; sum[0] += w; sum[1] += h; sum[2]++; });
    centres = centres.map((centre, k): AnchorBox => { const [w, h, n] = sums[k]; return n > 0 ? [w / n, h / n] : centre; });
    before = owner;
  }
  return centres;
}

function nearest(size: AnchorBox, centres: readonly AnchorBox[]): { index: number; iou: number } {
  let index = 0, iou = -1;
  centres.forEach((centre, k) => { const found = sizeIoU(size, centre); if (found > iou) { iou = found; index = k; } });
  return { index, iou };
}

/** Of the sizes with their nearest anchor. */
export const meanIoU = (sizes: readonly AnchorBox[], anchors: readonly AnchorBox[]): number => sizes.reduce((sum, size) => sum + nearest(size, anchors).iou, 0) / sizes.length;
