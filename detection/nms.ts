/** From predictions to detections: keep what is confident, and of boxes that overlap much only the most confident. */
import type { Reals } from "./boxes.ts";

/** An object as the network sees it: corners in pixels, x to the right, y down. */
export interface Detection {
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
  /** 0..1 */
  readonly score: number;
  readonly class: number;
}

export interface NmsOptions {
  /** Scores must be above it. */
  readonly confidence: number;
  /** A box goes when its IoU with a better one is above it. */
  readonly iou: number;
  /** Every class above the confidence makes a detection; otherwise only the best class of an anchor. */
  readonly multiLabel: boolean;
  /** Boxes of different classes suppress each other too. */
  readonly agnostic?: boolean;
  /** The only classes wanted; all if absent. */
  readonly classes?: readonly number[];
  readonly maxDetections?: number;
  /** Only this many candidates of an image, the most confident, compete. */
  readonly maxCandidates?: number;
}

/** SpikeYOLO while validating. */
export const validationNms: NmsOptions = { confidence: 0.001, iou: 0.7, multiLabel: true };
/** SpikeYOLO while predicting. */
export const predictionNms: NmsOptions = { confidence: 0.25, iou: 0.7, multiLabel: false };

/** Boxes of different classes are moved this many pixels apart, and so never meet. */
const CLASS_OFFSET = 7680;

/** The detections of each image, most confident first, from decoded predictions [B, A, 4 + classes]: centre and size in pixels, then class scores. */
export function nonMaxSuppression(decoded: Reals, shape: readonly [images: number, anchors: number, channels: number], options: NmsOptions): Detection[][] {
  const [images, anchors, channels] = shape;
  if (channels < 5 || decoded.length !== images * anchors * channels) {
    throw new Error(`nonMaxSuppression: expected [B, A, 4 + classes], got ${decoded.length} numbers for shape [${shape.join(", ")}]`);
  }
  return Array.from({ length: images }, (_, image) =>
    suppress(decoded.subarray(image * anchors * channels, (image + 1) * anchors * channels), channels, options));
}

function suppress(rows: Reals, channels: number, options: NmsOptions): Detection[] {
  const { iou, agnostic = false, maxDetections = 300, maxCandidates = 30000 } = options;
  const kept: Detection[] = [];
  const box = new Float64Array(4 * maxDetections), area = new Float64Array(maxDetections); // of the kept, moved by class

  next: for (const position of mostConfident(candidates(rows, channels, options), rows, maxCandidates)) {
    if (kept.length === maxDetections) break;
    const row = position - position % channels, category = position - row - 4;
    const halfWidth = rows[row + 2] / 2, halfHeight = rows[row + 3] / 2;
    const x1 = rows[row] - halfWidth, y1 = rows[row + 1] - halfHeight, x2 = rows[row] + halfWidth, y2 = rows[row + 1] + halfHeight;

    const move = agnostic ? 0 : category * CLASS_OFFSET;
    const left = x1 + move, top = y1 + move, right = x2 + move, bottom = y2 + move;
    const own = (right - left) * (bottom - top);
    for (let k = 0; k < kept.length; k++) {
      const width = Math.min(right, box[4 * k + 2]) - Math.max(left, box[4 * k]);
      if (width <= 0) continue;
      const height = Math.min(bottom, box[4 * k + 3]) - Math.max(top, box[4 * k + 1]);
      if (height <= 0) continue;
      const shared = width * height;
      if (shared / (area[k] + own - shared) > iou) continue next;
    }

    box.set([left, top, right, bottom], 4 * kept.length);
    area[kept.length] = own;
    kept.push({ x1, y1, x2, y2, score: rows[position], class: category });
  }
  return kept;
}

/** The places of all scores that count, in memory order. The place alone tells anchor, class and score. */
function candidates(rows: Reals, channels: number, { confidence, multiLabel, classes }: NmsOptions): number[] {
  const floor = rows instanceof Float32Array ? Math.fround(confidence) : confidence; // compare in the precision of the scores
  const wanted = Uint8Array.from({ length: channels }, (_, c) => (c >= 4 && (classes === undefined || classes.includes(c - 4)) ? 1 : 0));
  const out: number[] = [];
  for (let row = 0; row < rows.length; row += channels) {
    if (multiLabel) {
      for (let c = 4; c < channels; c++) if (rows[row + c] > floor && wanted[c]) out.push(row + c);
    } else {
      let best = 4;
      for (let c = 5; c < channels; c++) if (rows[row + c] > rows[row + best]) best = c;
      if (rows[row + best] > floor && wanted[best]) out.push(row + best);
    }
  }
  return out;
}

/** Sorted by score, descending; equal scores keep their order. */
function mostConfident(positions: number[], rows: Reals, most: number): number[] {
  if (positions.length > most) {
    // Sorting numbers is far cheaper than sorting places: find the score that the last survivor has, then sort the survivors only.
    const cut = Float64Array.from(positions, (p) => rows[p]).sort()[positions.length - most];
    let ties = most - positions.reduce((above, p) => above + (rows[p] > cut ? 1 : 0), 0);
    positions = positions.filter((p) => rows[p] > cut || (rows[p] === cut && ties-- > 0));
  }
  return positions.sort((p, q) => rows[q] - rows[p] || p - q);
}
