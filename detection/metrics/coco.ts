/**
 * COCO's box metrics, with the arithmetic and the quirks of pycocotools.
 *
 * In each image, the 100 surest detections of a class take truths one after the other, each the one that it overlaps most and that is still
 * free. Truths that do not count (crowds; of another size than is asked for) are taken last, and whoever takes one does not count either;
 * nor does a detection of another size that takes none. Precision is read off the falling envelope at 101 recalls.
 *
 * Quirks that are kept: of truths that a detection overlaps equally, the later wins; a truth whose id is 0 can be taken, but whoever takes it
 * counts as a false alarm; sizes of truths are their `area`, not width times height; detections of unknown classes, and truths of
 * unknown classes or images, do not exist. Where pycocotools stops at a set without any detection, every figure here is 0.
 */
import { ascending, byFallingScore, checkColumns, everyRow, placesOf, sortedByKey, type BoxColumns, type DetectionColumns } from "./columns.ts";
import { fallingEnvelope } from "./curves.ts";

/** Boxes are x, y, width, height from the top left corner. */
export interface CocoTruths extends BoxColumns {
  readonly area: ArrayLike<number>;
  /** 1 where a box holds many objects. Default: none does. */
  readonly crowd?: ArrayLike<number>;
  /** Default: 1, 2, 3 … */
  readonly id?: ArrayLike<number>;
}

/** Boxes are x, y, width, height from the top left corner. */
export interface CocoDetections extends DetectionColumns {
  /** Decides the size class. Default: width times height. */
  readonly area?: ArrayLike<number>;
}

export interface CocoSet {
  /** Ids of all images, those without boxes too. */
  readonly images: ArrayLike<number>;
  /** Ids of all classes. */
  readonly classes: ArrayLike<number>;
  readonly truths: CocoTruths;
  readonly detections: CocoDetections;
}

export const COCO = "COCO boxes (as pycocotools)";

/** 0.5, 0.55 … 0.95, to the bit of pycocotools'. */
export const cocoThresholds: readonly number[] = Array.from({ length: 10 }, (_, k) => (k === 9 ? 0.95 : k * ((0.95 - 0.5) / 9) + 0.5));
/** 0, 0.01 … 1 */
export const cocoRecalls: readonly number[] = Array.from({ length: 101 }, (_, k) => (k === 100 ? 1 : k * 0.01));
/** In square pixels, both ends included. */
export const cocoAreas: readonly { readonly name: "all" | "small" | "medium" | "large"; readonly from: number; readonly to: number }[] = [
  { name: "all", from: 0, to: 1e10 }, { name: "small", from: 0, to: 32 * 32 }, { name: "medium", from: 32 * 32, to: 96 * 96 }, { name: "large", from: 96 * 96, to: 1e10 },
];
/** How many detections per image and class may count. */
export const cocoMost: readonly number[] = [1, 10, 100];

/** pycocotools' twelve numbers; -1 where there are no truths of the kind. */
export interface CocoFigures {
  readonly ap: number;
  readonly ap50: number;
  readonly ap75: number;
  readonly apSmall: number;
  readonly apMedium: number;
  readonly apLarge: number;
  readonly ar1: number;
  readonly ar10: number;
  readonly ar100: number;
  readonly arSmall: number;
  readonly arMedium: number;
  readonly arLarge: number;
}

export interface CocoClass extends Pick<CocoFigures, "ap" | "ap50" | "ap75" | "ar100"> {
  readonly class: number;
  /** Those that count: crowds do not. */
  readonly truths: number;
  /** At most 100 of an image. */
  readonly detections: number;
}

/** Everything that the figures are means of; -1 where there are no truths. T thresholds, R recalls, K classes, A areas, M limits of detections. */
export interface CocoCurves {
  /** [T, R, K, A, M] */
  readonly precision: Float64Array;
  /** The score of the detection at which that precision is reached, 0 where it never is: [T, R, K, A, M] */
  readonly score: Float64Array;
  /** [T, K, A, M] */
  readonly recall: Float64Array;
}

export interface CocoScores extends CocoFigures {
  readonly protocol: string;
  readonly images: number;
  readonly truths: number;
  readonly detections: number;
  readonly perClass: readonly CocoClass[];
  readonly curves: CocoCurves;
}

const T = cocoThresholds.length, R = cocoRecalls.length, A = cocoAreas.length, M = cocoMost.length;
const MOST = cocoMost[M - 1];
const EPSILON = 2 ** -52;

export function cocoMetrics(set: CocoSet): CocoScores {
  check(set);
  const images = ascending(set.images), classes = ascending(set.classes), K = classes.length;
  const truths = groupedTruths(set.truths, images, classes), found = groupedDetections(set.detections, images, classes);
  const verdicts = match(truths, found, K);
  const { curves, positives } = accumulate(truths, found, verdicts, K);
  const perClass = Array.from(classes, (category, k): CocoClass => ({
    class: category, truths: positives[k * A], detections: found.start[k + 1] - found.start[k],
    ap: meanPrecision(curves, K, {}, k), ap50: meanPrecision(curves, K, { threshold: 0 }, k), ap75: meanPrecision(curves, K, { threshold: 5 }, k), ar100: meanRecall(curves, K, {}, k),
  }));
  return {
    protocol: COCO, images: images.length,
    truths: perClass.reduce((sum, row) => sum + row.truths, 0), detections: found.row.length,
    ...figures(curves, K), perClass, curves,
  };
}

function check({ images, classes, truths, detections }: CocoSet): void {
  const { image, class: category, box } = truths;
  checkColumns("coco", "truth", { image, class: category, box, area: truths.area, crowd: truths.crowd, id: truths.id });
  checkColumns("coco", "detection", { image: detections.image, class: detections.class, box: detections.box, score: detections.score, area: detections.area });
  for (const [name, ids] of [["image", images], ["class", classes]] as const) {
    for (let i = 0; i < ids.length; i++) if (!Number.isFinite(ids[i])) throw new Error(`coco: the list of ${name} ids holds ${ids[i]} at place ${i}, expected a finite number`);
  }
  if (truths.id) {
    const seen = new Set<number>();
    for (let i = 0; i < image.length; i++) {
      if (seen.has(truths.id[i])) throw new Error(`coco: truth ${i} (image ${image[i]}) has id ${truths.id[i]}, which another truth has too; expected each id once`);
      seen.add(truths.id[i]);
    }
  }
  const known = new Set(Array.from(images));
  for (let i = 0; i < detections.image.length; i++) {
    if (!known.has(detections.image[i])) throw new Error(`coco: detection ${i} is of image ${detections.image[i]}, which is not among the ${known.size} images; expected results of this set only`);
  }
}

// ---- columns in the order of class, then image ----

interface Grouped {
  /** Where the rows of class k begin; [K + 1] */
  readonly start: Uint32Array;
  /** Place of the image among all. */
  readonly image: Int32Array;
  readonly box: Float64Array;
  readonly area: Float64Array;
}

interface GroupedTruths extends Grouped {
  readonly crowd: Uint8Array;
  /** 1 unless the id is 0. */
  readonly named: Uint8Array;
}

/** In an image from the surest down, at most MOST. */
interface GroupedDetections extends Grouped {
  readonly row: Uint32Array;
  /** How many of the image and class are surer. */
  readonly rank: Uint8Array;
  readonly score: Float64Array;
}

function grouped(rows: Uint32Array, category: Int32Array, image: Int32Array, { box, area }: { box: ArrayLike<number>; area?: ArrayLike<number> }, K: number): Grouped {
  const n = rows.length, start = new Uint32Array(K + 1), out = { start, image: new Int32Array(n), box: new Float64Array(4 * n), area: new Float64Array(n) };
  for (let i = 0; i < n; i++) {
    const row = rows[i];
    start[category[row] + 1]++;
    out.image[i] = image[row];
    for (let c = 0; c < 4; c++) out.box[4 * i + c] = box[4 * row + c];
    out.area[i] = area ? area[row] : box[4 * row + 2] * box[4 * row + 3];
  }
  for (let k = 0; k < K; k++) start[k + 1] += start[k];
  return out;
}

function groupedTruths(truths: CocoTruths, images: Float64Array, classes: Float64Array): GroupedTruths {
  const image = placesOf(truths.image, images), category = placesOf(truths.class, classes);
  const rows = sortedByKey(sortedByKey(everyRow(image.length), image, images.length), category, classes.length);
  return {
    ...grouped(rows, category, image, truths, classes.length),
    crowd: Uint8Array.from(rows, (row) => (truths.crowd?.[row] ? 1 : 0)),
    named: Uint8Array.from(rows, (row) => (truths.id?.[row] === 0 ? 0 : 1)),
  };
}

function groupedDetections(detections: CocoDetections, images: Float64Array, classes: Float64Array): GroupedDetections {
  const image = placesOf(detections.image, images), category = placesOf(detections.class, classes);
  const all = sortedByKey(sortedByKey(byFallingScore(detections.score), image, images.length), category, classes.length);
  const row = new Uint32Array(all.length), rank = new Uint8Array(all.length);
  let n = 0;
  for (let i = 0, before = -1, place = 0; i < all.length; before = all[i++]) {
    place = before >= 0 && image[before] === image[all[i]] && category[before] === category[all[i]] ? place + 1 : 0;
    if (place >= MOST) continue;
    row[n] = all[i];
    rank[n++] = place;
  }
  const rows = row.subarray(0, n);
  return { ...grouped(rows, category, image, detections, classes.length), row: rows, rank: rank.subarray(0, n), score: Float64Array.from(rows, (r) => detections.score[r]) };
}

// ---- who takes what ----

/** Of each detection and area, at A * detection + area: bit t is for threshold t. */
interface Verdicts {
  readonly hit: Uint16Array;
  readonly ignored: Uint16Array;
}

const EVERY_THRESHOLD = (1 << T) - 1;

function match(truths: GroupedTruths, found: GroupedDetections, K: number): Verdicts {
  const verdicts = { hit: new Uint16Array(A * found.row.length), ignored: new Uint16Array(A * found.row.length) };
  const group = new Group(truths, found, verdicts);
  for (let k = 0; k < K; k++) {
    let g = truths.start[k];
    for (let d = found.start[k], dEnd; d < found.start[k + 1]; d = dEnd) {
      const image = found.image[d];
      for (dEnd = d + 1; dEnd < found.start[k + 1] && found.image[dEnd] === image;) dEnd++;
      while (g < truths.start[k + 1] && truths.image[g] < image) g++;
      let gEnd = g;
      while (gEnd < truths.start[k + 1] && truths.image[gEnd] === image) gEnd++;
      group.match(g, gEnd, d, dEnd);
      g = gEnd;
    }
  }
  return verdicts;
}

/** One class in one image: truths g to gEnd, detections d to dEnd. The buffers are kept from group to group. */
class Group {
  private overlaps = new Float64Array(64);
  private order = new Int32Array(8);
  private taken = new Uint8Array(8);
  private ignored = new Uint8Array(8);
  private readonly reaches = new Uint8Array(MOST);
  constructor(private readonly truths: GroupedTruths, private readonly found: GroupedDetections, private readonly verdicts: Verdicts) {}

  match(g: number, gEnd: number, d: number, dEnd: number): void {
    const { hit, ignored } = this.verdicts, { area } = this.found;
    const reachable = this.overlap(g, gEnd, d, dEnd);
    for (let a = 0; a < A; a++) {
      if (reachable) this.take(g, gEnd, d, dEnd, a);
      const { from, to } = cocoAreas[a];
      for (let i = d; i < dEnd; i++) if (area[i] < from || area[i] > to) ignored[A * i + a] |= EVERY_THRESHOLD & ~hit[A * i + a];
    }
  }

  /** The IoU of every detection with every truth, for crowds the share of the detection inside. Says whether any reaches the first threshold. */
  private overlap(g: number, gEnd: number, d: number, dEnd: number): boolean {
    const { truths, found } = this, G = gEnd - g;
    if (this.overlaps.length < G * (dEnd - d)) this.overlaps = new Float64Array(2 * G * (dEnd - d));
    const a = found.box, b = truths.box, least = cocoThresholds[0];
    let any = false;
    for (let i = d; i < dEnd; i++) {
      const x = a[4 * i], y = a[4 * i + 1], w = a[4 * i + 2], h = a[4 * i + 3], own = w * h;
      let reaches = 0;
      for (let j = g; j < gEnd; j++) {
        const width = Math.min(w + x, b[4 * j + 2] + b[4 * j]) - Math.max(x, b[4 * j]), height = Math.min(h + y, b[4 * j + 3] + b[4 * j + 1]) - Math.max(y, b[4 * j + 1]);
        let share = 0;
        if (width > 0 && height > 0) {
          const shared = width * height;
          share = shared / (truths.crowd[j] ? own : own + b[4 * j + 2] * b[4 * j + 3] - shared);
        }
        this.overlaps[(i - d) * G + j - g] = share;
        if (share >= least) reaches = 1;
      }
      this.reaches[i - d] = reaches;
      any ||= reaches === 1;
    }
    return any;
  }

  private take(g: number, gEnd: number, d: number, dEnd: number, a: number): void {
    const { truths, overlaps, reaches } = this, { crowd, named } = truths, { hit, ignored: outcome } = this.verdicts, G = gEnd - g;
    if (this.order.length < G) [this.order, this.taken, this.ignored] = [new Int32Array(2 * G), new Uint8Array(2 * G), new Uint8Array(2 * G)];
    const { order, taken, ignored } = this, { from, to } = cocoAreas[a];
    let n = 0;
    for (let j = 0; j < G; j++) {
      ignored[j] = crowd[g + j] || truths.area[g + j] < from || truths.area[g + j] > to ? 1 : 0;
      if (!ignored[j]) order[n++] = j;
    }
    for (let j = 0; j < G; j++) if (ignored[j]) order[n++] = j;

    for (let t = 0; t < T; t++) {
      const threshold = Math.min(cocoThresholds[t], 1 - 1e-10), bit = 1 << t;
      taken.fill(0, 0, G);
      for (let i = 0; i < dEnd - d; i++) {
        if (!reaches[i]) continue;
        let best = threshold, chosen = -1;
        for (let place = 0; place < G; place++) {
          const j = order[place];
          if (taken[j] && !crowd[g + j]) continue;
          if (chosen >= 0 && !ignored[chosen] && ignored[j]) break;
          const share = overlaps[i * G + j];
          if (share < best) continue;
          best = share;
          chosen = j;
        }
        if (chosen < 0) continue;
        taken[chosen] = 1;
        if (ignored[chosen]) outcome[A * (d + i) + a] |= bit;
        if (named[g + chosen]) hit[A * (d + i) + a] |= bit;
      }
    }
  }
}

// ---- curves and their means ----

const precisionAt = (t: number, r: number, k: number, a: number, m: number, K: number): number => (((t * R + r) * K + k) * A + a) * M + m;
const recallAt = (t: number, k: number, a: number, m: number, K: number): number => ((t * K + k) * A + a) * M + m;

function accumulate(truths: GroupedTruths, found: GroupedDetections, { hit, ignored }: Verdicts, K: number): { curves: CocoCurves; positives: Float64Array } {
  const curves = { precision: new Float64Array(T * R * K * A * M).fill(-1), score: new Float64Array(T * R * K * A * M).fill(-1), recall: new Float64Array(T * K * A * M).fill(-1) };
  const positives = new Float64Array(K * A);
  for (let k = 0; k < K; k++) {
    const first = found.start[k], n = found.start[k + 1] - first;
    const falling = byFallingScore(found.score.subarray(first, first + n));
    const chosen = new Uint32Array(n), hits = new Float64Array(n), precision = new Float64Array(n);
    for (let a = 0; a < A; a++) {
      const { from, to } = cocoAreas[a];
      let count = 0;
      for (let j = truths.start[k]; j < truths.start[k + 1]; j++) if (!truths.crowd[j] && truths.area[j] >= from && truths.area[j] <= to) count++;
      positives[k * A + a] = count;
      if (count === 0) continue;
      for (let m = 0; m < M; m++) {
        let length = 0;
        for (let i = 0; i < n; i++) if (found.rank[first + falling[i]] < cocoMost[m]) chosen[length++] = first + falling[i];
        for (let t = 0; t < T; t++) {
          let right = 0, wrong = 0;
          for (let i = 0; i < length; i++) {
            const at = A * chosen[i] + a;
            if (!(ignored[at] >> t & 1)) if (hit[at] >> t & 1) right++; else wrong++;
            hits[i] = right;
            precision[i] = right / (wrong + right + EPSILON);
          }
          fallingEnvelope(precision, length);
          curves.recall[recallAt(t, k, a, m, K)] = length ? right / count : 0;
          for (let r = 0, i = 0; r < R; r++) {
            while (i < length && hits[i] / count < cocoRecalls[r]) i++;
            const at = precisionAt(t, r, k, a, m, K);
            curves.precision[at] = i < length ? precision[i] : 0;
            curves.score[at] = i < length ? found.score[chosen[i]] : 0;
          }
        }
      }
    }
  }
  return { curves, positives };
}

/** Which of the axes a mean keeps to one place; the others are averaged over, areas and limits are "all" and 100. */
interface Which { readonly threshold?: number; readonly area?: number; readonly most?: number }

const span = (only: number | undefined, all: number): [from: number, to: number] => (only === undefined ? [0, all] : [only, only + 1]);

/** The mean over what is there (is not -1), or -1. */
function meanPrecision({ precision }: CocoCurves, K: number, { threshold, area = 0, most = M - 1 }: Which, category?: number): number {
  const [t0, t1] = span(threshold, T), [k0, k1] = span(category, K);
  let sum = 0, count = 0;
  for (let t = t0; t < t1; t++) for (let r = 0; r < R; r++) for (let k = k0; k < k1; k++) {
    const value = precision[precisionAt(t, r, k, area, most, K)];
    if (value > -1) { sum += value; count++; }
  }
  return count ? sum / count : -1;
}

function meanRecall({ recall }: CocoCurves, K: number, { threshold, area = 0, most = M - 1 }: Which, category?: number): number {
  const [t0, t1] = span(threshold, T), [k0, k1] = span(category, K);
  let sum = 0, count = 0;
  for (let t = t0; t < t1; t++) for (let k = k0; k < k1; k++) {
    const value = recall[recallAt(t, k, area, most, K)];
    if (value > -1) { sum += value; count++; }
  }
  return count ? sum / count : -1;
}

const figures = (curves: CocoCurves, K: number): CocoFigures => ({
  ap: meanPrecision(curves, K, {}), ap50: meanPrecision(curves, K, { threshold: 0 }), ap75: meanPrecision(curves, K, { threshold: 5 }),
  apSmall: meanPrecision(curves, K, { area: 1 }), apMedium: meanPrecision(curves, K, { area: 2 }), apLarge: meanPrecision(curves, K, { area: 3 }),
  ar1: meanRecall(curves, K, { most: 0 }), ar10: meanRecall(curves, K, { most: 1 }), ar100: meanRecall(curves, K, {}),
  arSmall: meanRecall(curves, K, { area: 1 }), arMedium: meanRecall(curves, K, { area: 2 }), arLarge: meanRecall(curves, K, { area: 3 }),
});
