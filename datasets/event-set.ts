/**
 * Labelled moments of recordings -> frames with boxes, in batches as an event-camera network wants them.
 *
 * An event set is a detection set too: its picture is the newest slice, so that whatever shows or checks pictures works on events.
 */
import { Random } from "../engine/random.ts";
import { cornersOf, eventFrames, eventLabels, framePlace, nameOf, onNetwork, protocolOf, showFrame, toNetwork, type EventFrames, type FramePlace, type FrameProtocol } from "./event-frames.ts";
import type { EventBox, Events } from "./gen1.ts";
import type { BoxColumns, DetectionSet, Origin, Sample } from "./sample.ts";

/** One time at which somebody labelled a recording, with at least the events of its window and the boxes of that time. */
export interface Moment {
  readonly name: string;
  /** Moments of one recording follow each other by rising time. */
  readonly recording: string;
  /** Microseconds. */
  readonly time: number;
  readonly width: number;
  readonly height: number;
  readonly events: Events;
  readonly boxes: readonly EventBox[];
}

/** Where moments come from; one that is undefined is broken, and `problems` says why. */
export interface MomentSource {
  readonly name: string;
  readonly classes: readonly string[];
  readonly size: number;
  readonly problems: readonly string[];
  moment(index: number): Promise<Moment | undefined>;
}

/** When and where somebody labelled, and the labels as the file has them. */
type Labels = Pick<Moment, "recording" | "time" | "boxes">;

export interface EventSample extends Sample { readonly frames: EventFrames; readonly labels: Labels }

export interface EventOrigin extends Origin {
  readonly labels: Labels;
  /** Where the sensor lies on the network's square, to the pixel. */
  readonly place: FramePlace;
}

export interface EventBatch {
  /** [T, B, H, W, 3], 0..1 for bytes */
  readonly images: { readonly shape: readonly [number, number, number, number, number]; readonly data: Float32Array };
  readonly boxes: BoxColumns;
  readonly origins: readonly EventOrigin[];
  /** How the frames were made. */
  readonly protocol: string;
}

export interface EventBatchOptions {
  readonly batch: number;
  /** Side of the square that a network sees. Default 320. */
  readonly imgsz?: number;
  readonly shuffle?: boolean;
  readonly seed?: number;
  readonly epoch?: number;
  /** Leave out a last batch that is not full. */
  readonly dropLast?: boolean;
  /** Number of the first batch: those before it are the same as ever, but not given. Default 0. */
  readonly from?: number;
  /** Throw at a moment that cannot be read, instead of going on without it. */
  readonly strict?: boolean;
}

export interface EventSet extends DetectionSet {
  /** How the frames are made. */
  readonly protocol: string;
  /** How many moments turned out to be unusable so far. */
  readonly skipped: number;
  sample(index: number): Promise<EventSample | undefined>;
  batches(how: number | EventBatchOptions): AsyncIterable<EventBatch>;
}

/** Stream of the order of pictures, as in the loader. */
const ORDER = 1;

/** Frames by the released protocol unless told otherwise. */
export function eventSet(source: MomentSource, given: Partial<FrameProtocol> = {}): EventSet {
  const { name, classes, size } = source, protocol = protocolOf(given), { T, order } = protocol, problems = new Set<string>(), broken = new Set<number>();
  const set: EventSet = {
    name, classes, size, protocol: nameOf(protocol),
    get problems() { return [...source.problems, ...problems]; },
    get skipped() { return broken.size; },

    async sample(index) {
      if (!Number.isInteger(index) || index < 0 || index >= size) throw new RangeError(`${name}: sample ${index} was asked for, of ${size}`);
      const moment = await source.moment(index);
      if (!moment) {
        broken.add(index);
        return undefined;
      }
      const { events, recording, time, boxes, width, height } = moment, frames = eventFrames(events, time, { width, height, ...protocol });
      if (frames.outside > 0) problems.add(`${moment.name}: ${frames.outside} of ${frames.events} events lie outside the sensor of ${width} x ${height}; they are left out`);
      const labels = eventLabels(boxes, time, { width, height }), here = boxes.filter((box) => box.t === time).length;
      if (labels.length < here) problems.add(`${moment.name}: ${here - labels.length} of ${here} boxes at ${time} us have no area or an earlier box of their track; they are dropped`);
      const known = labels.filter((label) => label.class < classes.length);
      if (known.length < labels.length) problems.add(`${moment.name}: ${labels.length - known.length} of ${labels.length} boxes at ${time} us are of a class above ${classes.length - 1} (${classes.join(", ")}); they are dropped`);
      return { name: moment.name, picture: showFrame(frames, order === "newest first" ? 0 : T - 1), boxes: known.map(cornersOf), frames, labels: { recording, time, boxes } };
    },

    async *batches(how) {
      const { batch, imgsz = 320, shuffle = false, seed = 0, epoch = 0, dropLast = false, from = 0, strict = false } = typeof how === "number" ? { batch: how } : how;
      for (const [what, value, least] of [["batch", batch, 1], ["imgsz", imgsz, 1], ["from", from, 0]] as const) if (!Number.isInteger(value) || value < least) throw new RangeError(`batches: ${what} must be a whole number of at least ${least}, got ${value}`);
      const indices = shuffle ? new Random(seed, ORDER, epoch).permutation(size) : Array.from({ length: size }, (_, i) => i);
      let waiting: { index: number; sample: EventSample }[] = [], good = 0;
      for (const index of indices) {
        const sample = await set.sample(index);
        if (!sample && strict) throw new Error(`${source.problems.at(-1) ?? `${name}: moment ${index} cannot be read`} (strict: the run ends at the first moment that cannot be read)`);
        if (!sample || good++ < from * batch) continue;
        waiting.push({ index, sample });
        if (waiting.length < batch) continue;
        yield together(waiting, imgsz);
        waiting = [];
      }
      if (good === 0) throw new Error(`batches: none of the ${size} moments of ${name} can be read${set.problems.length > 0 ? ` (first problem: ${set.problems[0]})` : ""}`);
      if (waiting.length > 0 && !dropLast) yield together(waiting, imgsz);
    },
  };
  return set;
}

/** Samples of equal T as one batch. */
function together(samples: readonly { index: number; sample: EventSample }[], side: number): EventBatch {
  const B = samples.length, [T] = samples[0].sample.frames.shape, size = side * side * 3, data = new Float32Array(T * B * size);
  const image: number[] = [], classes: number[] = [], xywh: number[] = [];
  const origins = samples.map(({ index, sample: { name, frames, boxes, labels } }, b): EventOrigin => {
    const [, height, width] = frames.shape, place = framePlace(width, height, side), input = toNetwork(frames, place);
    for (let t = 0; t < T; t++) data.set(input.subarray(t * size, (t + 1) * size), (t * B + b) * size);
    for (const box of boxes) {
      const { class: c, x1, y1, x2, y2 } = onNetwork(box, { width, height }, place);
      image.push(b);
      classes.push(c);
      xywh.push((x1 + x2) / 2 / side, (y1 + y2) / 2 / side, (x2 - x1) / side, (y2 - y1) / side);
    }
    return { index, name, width, height, scale: side / Math.max(width, height), left: place.left, top: place.top, labels, place };
  });
  return {
    images: { shape: [T, B, side, side, 3], data }, origins, protocol: samples[0].sample.frames.protocol,
    boxes: { image: Int32Array.from(image), class: Int32Array.from(classes), xywh: Float32Array.from(xywh) },
  };
}
