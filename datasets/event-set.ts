/**
 * Labelled moments of recordings -> frames with boxes, in batches as an event-camera network wants them.
 *
 * An event set is a detection set too: its picture is the newest slice, so that whatever shows or checks pictures works on events.
 */
import { Random } from "../engine/random.ts";
import { cornersOf, eventLabels, framePlace, nameOf, onNetwork, protocolOf, showFrame, type EventFrames, type FramePlace, type FrameProtocol } from "./event-frames.ts";
import type { EventBox, Events, RecordedFile } from "./gen1.ts";
import { inTurn } from "./loader.ts";
import { doMoment, framesFor, type MomentDone, type MomentJob } from "./moments.ts";
import type { BoxColumns, DetectionSet, Origin, Sample } from "./sample.ts";

/** One time at which somebody labelled a recording, and the boxes of that time. */
export interface Moment {
  readonly name: string;
  /** Moments of one recording follow each other by rising time. */
  readonly recording: string;
  /** Microseconds. */
  readonly time: number;
  readonly boxes: readonly EventBox[];
  /** Where its events are: at least those of its window, or a file that any thread can read. */
  readonly from: RecordedFile | { readonly events: Events; readonly width: number; readonly height: number };
}

/** Where moments come from. */
export interface MomentSource {
  readonly name: string;
  readonly classes: readonly string[];
  readonly size: number;
  readonly problems: readonly string[];
  moment(index: number): Moment;
  /** Told what was found out about the file of a moment; from then on `problems` says it. */
  told?(index: number, done: MomentDone): void;
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
  /** Moments that are on their way while the consumer works. Default: 1, with workers two batches. */
  readonly ahead?: number;
  /** Threads that read recordings that are files. Default 0: the caller's, between two batches. */
  readonly workers?: number;
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

/** Pixels by which float32 may take a box over the border. */
const SLIGHT = 0.02;

/** Stream of the order of pictures, as in the loader. */
const ORDER = 1;

/** A moment as it goes into a batch. */
interface Placed extends Pick<EventSample, "name" | "boxes" | "frames" | "labels"> { readonly index: number; readonly input: Float32Array }

type Run = (job: MomentJob) => Promise<MomentDone>;

/** Frames by the released protocol unless told otherwise. */
export function eventSet(source: MomentSource, given: Partial<FrameProtocol> = {}): EventSet {
  const { name, classes, size } = source, protocol = protocolOf(given), { T, order } = protocol, problems = new Set<string>(), broken = new Set<number>();
  /** Boxes that reach beyond the sensor, by recording and time. */
  const off = new Map<string, Map<number, number>>();

  async function make(index: number, run: Run, side?: number): Promise<{ moment: Moment; done: MomentDone }> {
    const moment = source.moment(index), { from, time } = moment;
    return { moment, done: "path" in from ? await run({ recorded: from, time, protocol, side }) : framesFor(from.events, time, { ...protocol, width: from.width, height: from.height }, side) };
  }

  /** Only whether it can be made. */
  async function look(index: number, run: Run): Promise<MomentDone> {
    if (!source.told) return {};                                                          // no file, so nothing to find out
    const { from, time } = source.moment(index);
    return "path" in from ? run({ recorded: from, time }) : {};
  }

  /** Remembers what was found out about a moment, in the order in which moments are used. */
  function tell(index: number, done: MomentDone): MomentDone {
    source.told?.(index, done);
    if (done.broken !== undefined) broken.add(index);
    return done;
  }

  /** With boxes that a network can learn from; those that are left out are told. */
  function labelled({ name, recording, time, boxes }: Moment, frames: EventFrames): Pick<EventSample, "name" | "boxes" | "frames" | "labels"> {
    const [, height, width] = frames.shape;
    if (frames.outside > 0) problems.add(`${name}: ${frames.outside} of ${frames.events} events lie outside the sensor of ${width} x ${height}; they are left out`);
    const labels = eventLabels(boxes, time, { width, height }), here = boxes.filter((box) => box.t === time).length;
    if (labels.length < here) problems.add(`${name}: ${here - labels.length} of ${here} boxes at ${time} us have no area or an earlier box of their track; they are dropped`);
    const known = labels.filter((label) => label.class < classes.length);
    const beyond = boxes.filter(({ x, y, w, h }) => x < -SLIGHT || y < -SLIGHT || x + w > width + SLIGHT || y + h > height + SLIGHT).length;
    if (beyond > 0) off.set(recording, (off.get(recording) ?? new Map()).set(time, beyond));
    if (boxes.length > 0 && frames.events === 0) problems.add(`${name}: ${boxes.length} ${boxes.length === 1 ? "box is" : "boxes are"} labelled where the window of ${protocol.window / 1000} ms has no event; kept nevertheless`);
    if (known.length < labels.length) problems.add(`${name}: ${labels.length - known.length} of ${labels.length} boxes at ${time} us are of a class above ${classes.length - 1} (${classes.join(", ")}); they are dropped`);
    return { name, boxes: known.map(cornersOf), frames, labels: { recording, time, boxes } };
  }

  const set: EventSet = {
    name, classes, size, protocol: nameOf(protocol),
    get problems() {
      const beyond = [...off].map(([recording, times]) => `${recording}: ${[...times.values()].reduce((a, b) => a + b)} of the boxes that were read reach beyond the sensor, the first at ${Math.min(...times.keys())} us; they are cut to it, or moved, as the release does`);
      return [...source.problems, ...problems, ...beyond];
    },
    get skipped() { return broken.size; },

    async sample(index) {
      if (!Number.isInteger(index) || index < 0 || index >= size) throw new RangeError(`${name}: sample ${index} was asked for, of ${size}`);
      const { moment, done } = await make(index, doMoment), { frames } = tell(index, done);
      return frames && { ...labelled(moment, frames), picture: showFrame(frames, order === "newest first" ? 0 : T - 1) };
    },

    async *batches(how) {
      const { batch, imgsz = 320, shuffle = false, seed = 0, epoch = 0, dropLast = false, from = 0, workers = 0, strict = false, ahead = workers > 0 ? 2 * batch : 1 } = typeof how === "number" ? { batch: how } : how;
      for (const [what, value, least] of [["batch", batch, 1], ["imgsz", imgsz, 1], ["from", from, 0], ["workers", workers, 0], ["ahead", ahead, 0]] as const) if (!Number.isInteger(value) || value < least) throw new RangeError(`batches: ${what} must be a whole number of at least ${least}, got ${value}`);
      const indices = shuffle ? new Random(seed, ORDER, epoch).permutation(size) : Array.from({ length: size }, (_, i) => i);
      const threads = workers > 0 && source.told ? (await import("./workers.ts")).decodeWorkers(workers) : undefined, run: Run = threads ? (job) => threads.do(job) : doMoment;
      const used = (index: number, done: MomentDone): MomentDone => {
        if (threads?.news) problems.add(threads.news);
        const { broken } = tell(index, done);
        if (strict && broken !== undefined) throw new Error(`${broken} (strict: the run ends at the first moment that cannot be read)`);
        return done;
      };

      let waiting: Placed[] = [], good = 0, place = 0;
      if (from > 0) for await (const { index, done } of inTurn(indices, ahead, async (index) => ({ index, done: await look(index, run) }))) {
        if (good === from * batch) break;
        place++;
        if (used(index, done).broken === undefined) good++;
      }
      for await (const { index, moment, done } of inTurn(indices.slice(place), ahead, async (index) => ({ index, ...await make(index, run, imgsz) }))) {
        const { frames, input } = used(index, done);
        if (!frames || !input) continue;
        good++;
        waiting.push({ index, input, ...labelled(moment, frames) });
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
function together(samples: readonly Placed[], side: number): EventBatch {
  const B = samples.length, [T] = samples[0].frames.shape, size = side * side * 3, data = new Float32Array(T * B * size);
  const image: number[] = [], classes: number[] = [], xywh: number[] = [];
  const origins = samples.map(({ index, name, frames, input, boxes, labels }, b): EventOrigin => {
    const [, height, width] = frames.shape, place = framePlace(width, height, side);
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
    images: { shape: [T, B, side, side, 3], data }, origins, protocol: samples[0].frames.protocol,
    boxes: { image: Int32Array.from(image), class: Int32Array.from(classes), xywh: Float32Array.from(xywh) },
  };
}
