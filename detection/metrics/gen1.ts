/**
 * Prophesee's evaluation of event cameras: boxes are filtered, the times of true boxes become frames, detections within the tolerance of a
 * frame belong to it (one detection may serve two frames), and COCO's rules do the rest. Where nothing true was left, there is no frame, and
 * false alarms cost nothing.
 *
 * Boxes are float32 in the files, and so is the arithmetic of filters and areas here.
 */
import { COCO, cocoMetrics, type CocoScores } from "./coco.ts";

/** The boxes of one recording, as columns, times not falling. Positions and sizes in pixels, from the top left. */
export interface Gen1Boxes {
  /** Microseconds. */
  readonly t: ArrayLike<number>;
  readonly x: ArrayLike<number>;
  readonly y: ArrayLike<number>;
  readonly w: ArrayLike<number>;
  readonly h: ArrayLike<number>;
  /** 0 car, 1 pedestrian. */
  readonly class: ArrayLike<number>;
}

export interface Gen1Detections extends Gen1Boxes {
  readonly score: ArrayLike<number>;
}

export interface Gen1Recording {
  readonly truths: Gen1Boxes;
  readonly detections: Gen1Detections;
}

/** Which boxes count: those later than `skip`, with a diagonal and both sides of at least so many pixels. */
export interface Gen1Rule {
  readonly name: string;
  /** Microseconds from the start of a recording. */
  readonly skip: number;
  readonly diagonal: number;
  readonly side: number;
  /** Microseconds that a detection may be away from a frame. Default 50 000. */
  readonly tolerance?: number;
}

export const gen1Rules = {
  /** What the literature means by mAP on Gen1. */
  gen1: { name: "Gen1 (skip 0.5 s, diagonal 30, side 10)", skip: 500_000, diagonal: 30, side: 10 },
  /** What psee_evaluator.py --camera GEN1 does: it skips a fifth of that, and its sides of the two cameras are swapped. */
  toolbox: { name: "Gen1 as the toolbox's script (skip 0.1 s, diagonal 30, side 20)", skip: 100_000, diagonal: 30, side: 20 },
  unfiltered: { name: "Gen1, every box", skip: -1, diagonal: 0, side: 0 },
} as const satisfies Record<string, Gen1Rule>;

export interface Gen1Scores extends CocoScores {
  readonly rule: Gen1Rule;
  /** How many boxes of each recording passed the filter. */
  readonly keptTruths: readonly number[];
  readonly keptDetections: readonly number[];
}

const CLASSES = [0, 1];
const TOLERANCE = 50_000;

/** COCO's figures over the frames of all recordings; `images` counts frames, `truths` and `detections` what is in them. */
export function gen1Metrics(recordings: readonly Gen1Recording[], rule: Gen1Rule = gen1Rules.gen1): Gen1Scores {
  const { tolerance = TOLERANCE } = rule;
  const truths = new Frames(), detections = new Frames(), keptTruths: number[] = [], keptDetections: number[] = [];
  let frames = 0;
  for (const [i, recording] of recordings.entries()) {
    check(recording.truths, `truth`, i);
    check(recording.detections, `detection`, i, recording.detections.score);
    const wanted = kept(recording.truths, rule), found = kept(recording.detections, rule), { t } = recording.truths, { t: when, score } = recording.detections;
    keptTruths.push(wanted.length);
    keptDetections.push(found.length);
    for (let g = 0, low = 0; g < wanted.length; frames++) {
      const now = t[wanted[g]];
      for (; g < wanted.length && t[wanted[g]] === now; g++) truths.add(frames, recording.truths, wanted[g], 0);
      while (low < found.length && when[found[low]] < now - tolerance) low++;
      for (let d = low; d < found.length && when[found[d]] <= now + tolerance; d++) detections.add(frames, recording.detections, found[d], score[found[d]]);
    }
  }
  const { image, class: category, box, area } = truths;
  const scores = cocoMetrics({
    images: Array.from({ length: frames }, (_, frame) => frame), classes: CLASSES,
    truths: { image, class: category, box, area }, detections: { image: detections.image, class: detections.class, box: detections.box, area: detections.area, score: detections.score },
  });
  return { ...scores, protocol: `${rule.name}, then ${COCO}`, rule, keptTruths, keptDetections };
}

/** Boxes of frames, as columns that grow. */
class Frames {
  readonly image: number[] = [];
  readonly class: number[] = [];
  readonly box: number[] = [];
  readonly area: number[] = [];
  readonly score: number[] = [];
  add(frame: number, { x, y, w, h, class: category }: Gen1Boxes, i: number, score: number): void {
    this.image.push(frame);
    this.class.push(category[i]);
    this.box.push(x[i], y[i], w[i], h[i]);
    this.area.push(Math.fround(Math.fround(w[i]) * Math.fround(h[i])));
    this.score.push(score);
  }
}

/** The rows that pass the filter. */
function kept({ t, w, h }: Gen1Boxes, { skip, diagonal, side }: Gen1Rule): number[] {
  const rows: number[] = [];
  for (let i = 0; i < t.length; i++) {
    const width = Math.fround(w[i]), height = Math.fround(h[i]);
    const squared = Math.fround(Math.fround(width * width) + Math.fround(height * height));
    if (t[i] > skip && squared >= diagonal * diagonal && width >= side && height >= side) rows.push(i);
  }
  return rows;
}

function check(boxes: Gen1Boxes, what: string, recording: number, score?: ArrayLike<number>): void {
  const { t, x, y, w, h, class: category } = boxes, columns = { t, x, y, w, h, class: category, ...(score && { score }) };
  for (const [name, column] of Object.entries(columns)) {
    if (column.length !== t.length) throw new Error(`gen1: ${what}s of recording ${recording}: expected ${t.length} numbers in column "${name}", as there are times, got ${column.length}`);
    for (let i = 0; i < t.length; i++) if (!Number.isFinite(column[i])) throw new Error(`gen1: ${what} ${i} of recording ${recording} has ${name} ${column[i]}, expected a finite number; leave it out or repair it`);
  }
  for (let i = 1; i < t.length; i++) if (t[i] < t[i - 1]) throw new Error(`gen1: ${what} ${i} of recording ${recording} is at ${t[i]} us, the one before it at ${t[i - 1]} us; sort the boxes by time`);
}
