/**
 * Events -> frames: what happened in the window before a label, in T slices.
 *
 *        start                                        label
 *          |  slice 0  |  slice 1  |  ...  |  slice T-1  |
 *
 *   last    one grey byte: 127 where nothing happened, else 255 or 0 as the last event of the pixel in the slice was brighter or darker
 *   count   two numbers: how many events made the pixel darker, and how many brighter
 *   voxel   one number: +1 or -1 of each event, shared between the two nearest of T moments (Zhu et al., arXiv:1812.08156, eq. 1-2)
 *
 * `last` is what SpikeYOLO was released with (pre_gen1.py), and so are the defaults: 0.25 s in 4 slices (its paper says 2.5 s in 5), and the newest
 * slice first, since its loader turns the time axis with the one for colours. A label earlier than the window gets the first window of the
 * recording, which looks past the label. Microseconds that do not fill T equal slices are left out at the end.
 */
import type { EventBox, Events } from "./gen1.ts";
import { blank, clip, fit, overlay, PADDING, resize } from "./letterbox.ts";
import type { ObjectBox, Picture } from "./sample.ts";

export interface FrameProtocol {
  readonly encoding: "last" | "count" | "voxel";
  /** Slices. */
  readonly T: number;
  /** Microseconds. */
  readonly window: number;
  readonly order: "newest first" | "chronological";
}

/** What was released. */
export const frameProtocol: FrameProtocol = { encoding: "last", T: 4, window: 250_000, order: "newest first" };

/** Numbers of a pixel in one slice. */
export const FRAME_CHANNELS = { last: 1, count: 2, voxel: 1 } as const satisfies Record<FrameProtocol["encoding"], number>;

/** Grey of a pixel without events. */
const NOTHING = 127;

export interface EventFrames {
  /** How these numbers came about, for whatever reports them. */
  readonly protocol: string;
  /** [T, H, W, C] */
  readonly shape: readonly [T: number, H: number, W: number, C: number];
  /** Bytes of `last`, else numbers. */
  readonly data: Uint8Array | Float32Array;
  /** Microseconds: the window is [start, end). */
  readonly start: number;
  readonly end: number;
  /** Events in the window, and how many of them lie beside the sensor and are left out. */
  readonly events: number;
  readonly outside: number;
}

/** "last polarity, 4 slices of 62.5 ms, newest first" */
export function nameOf({ encoding, T, window, order }: FrameProtocol): string {
  const what = { last: "last polarity", count: "counts of both polarities", voxel: "voxel grid" }[encoding];
  return `${what}, ${T} slices of ${Math.floor(window / T) / 1000} ms, ${order}`;
}

/** The released protocol with some fields changed; refuses what no recording has. */
export function protocolOf(given: Partial<FrameProtocol> = {}): FrameProtocol {
  const protocol = { ...frameProtocol, ...given }, { encoding, T, window, order } = protocol;
  if (!Object.hasOwn(FRAME_CHANNELS, encoding)) throw new RangeError(`events: encoding must be one of ${Object.keys(FRAME_CHANNELS).join(", ")}, got "${encoding as string}"`);
  if (order !== "newest first" && order !== "chronological") throw new RangeError(`events: order must be "newest first" or "chronological", got "${order as string}"`);
  if (!Number.isInteger(T) || T < 1 || T > 1000) throw new RangeError(`events: T must be a whole number from 1 to 1000, got ${T}`);
  if (!Number.isSafeInteger(window) || window < T) throw new RangeError(`events: window must be whole microseconds, at least one for each of ${T} slices, got ${window}`);
  return protocol;
}

/** The window whose events make the frames of a label at `time`. */
export function windowOf(time: number, { T, window }: Pick<FrameProtocol, "T" | "window">): { start: number; end: number } {
  const start = Math.max(0, time - window);
  return { start, end: start + T * Math.floor(window / T) };
}

/** Frames of the window before `time`. Events are in the order of time; those outside the window are passed over. */
export function eventFrames(events: Events, time: number, { width, height, ...given }: { width: number; height: number } & Partial<FrameProtocol>): EventFrames {
  const protocol = protocolOf(given), { encoding, T, order } = protocol, C = FRAME_CHANNELS[encoding];
  const { start, end } = windowOf(time, protocol), slice = (end - start) / T, frame = width * height * C;
  const data = encoding === "last" ? new Uint8Array(T * frame).fill(NOTHING) : new Float32Array(T * frame);
  const { t, x, y, p } = events;
  const first = firstAt(t, start), last = firstAt(t, end);
  const frameOf = (k: number) => (order === "chronological" ? k : T - 1 - k) * frame;
  let outside = 0;
  for (let i = first; i < last; i++) {
    if (x[i] >= width || y[i] >= height) { outside++; continue; }
    const k = Math.floor((t[i] - start) / slice), pixel = C * (y[i] * width + x[i]);
    if (encoding === "last") data[frameOf(k) + pixel] = p[i] ? 255 : 0;
    else if (encoding === "count") data[frameOf(k) + pixel + (p[i] ? 1 : 0)]++;
    else {
      const sign = p[i] ? 1 : -1, moment = (T - 1) * (t[i] - start) / (end - start), before = Math.floor(moment), share = moment - before;
      data[frameOf(before) + pixel] += sign * (1 - share);
      if (share > 0) data[frameOf(before + 1) + pixel] += sign * share;
    }
  }
  return { protocol: nameOf(protocol), shape: [T, height, width, C], data, start, end, events: last - first, outside };
}

/** Index of the first of the sorted times that is not before `time`. */
export function firstAt(t: ArrayLike<number>, time: number): number {
  let low = 0, high = t.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (t[middle] < time) low = middle + 1; else high = middle;
  }
  return low;
}

/** Centre and size in pixels of the sensor, which may stick out. */
export interface EventLabel { readonly class: number; readonly xc: number; readonly yc: number; readonly w: number; readonly h: number }

/**
 * The labels of one time as SpikeYOLO was released with them: the last box of each track, tracks from the highest number down; x and w within
 * 0..width, y and h within 0..height (a box that starts left of the sensor keeps its width and so moves), and the centre too. Boxes that
 * then have no area, on which the released code stops, are left out.
 */
export function eventLabels(boxes: readonly EventBox[], time: number, { width, height }: { width: number; height: number }): EventLabel[] {
  const tracks = new Map<number, EventBox>();
  for (const box of boxes) if (box.t === time) tracks.set(box.track, box);
  const within = (value: number, most: number) => Math.min(Math.max(value, 0), most);
  return [...tracks.values()].sort((a, b) => b.track - a.track).map((box) => {
    const x = within(box.x, width), y = within(box.y, height), w = within(box.w, width), h = within(box.h, height);
    return { class: box.class, xc: within(x + w / 2, width), yc: within(y + h / 2, height), w, h };
  }).filter(({ w, h }) => w > 0 && h > 0);
}

/** A label as corners. */
export const cornersOf = ({ class: c, xc, yc, w, h }: EventLabel): ObjectBox => ({ class: c, x1: xc - w / 2, y1: yc - h / 2, x2: xc + w / 2, y2: yc + h / 2 });

/** How frames lie on the square that a network sees: stretched to width x height, then moved by the unrounded left, top; pixels by padLeft, padTop. */
export interface FramePlace {
  readonly side: number;
  readonly width: number;
  readonly height: number;
  readonly padLeft: number;
  readonly padTop: number;
  readonly left: number;
  readonly top: number;
}

/** The longer side becomes `side`, the other is rounded up (304 x 240 -> 320 x 253), and padding goes around both ends. */
export function framePlace(width: number, height: number, side: number): FramePlace {
  const scale = side / Math.max(width, height), along = (length: number) => Math.min(side, Math.ceil(length * scale));
  const { canvasWidth, ...place } = fit(along(width), along(height), [side, side]);
  return { side: canvasWidth, width: place.width, height: place.height, padLeft: place.padLeft, padTop: place.padTop, left: place.left, top: place.top };
}

/** A box of a sensor of width x height, on the network's square. */
export function onNetwork<B extends Pick<ObjectBox, "x1" | "y1" | "x2" | "y2">>(box: B, sensor: { width: number; height: number }, { width, height, left, top }: FramePlace): B {
  const across = width / sensor.width, down = height / sensor.height;
  return { ...box, x1: box.x1 * across + left, y1: box.y1 * down + top, x2: box.x2 * across + left, y2: box.y2 * down + top };
}

/** A box of the network's square in pixels of the sensor, cut at its border. */
export function offNetwork<B extends Pick<ObjectBox, "x1" | "y1" | "x2" | "y2">>(box: B, sensor: { width: number; height: number }, { width, height, left, top }: FramePlace): B {
  const across = sensor.width / width, down = sensor.height / height;
  return clip({ ...box, x1: (box.x1 - left) * across, y1: (box.y1 - top) * down, x2: (box.x2 - left) * across, y2: (box.y2 - top) * down }, sensor.width, sensor.height);
}

/**
 * Frames as the network's input, [T, side, side, 3] in 0..1 for bytes: `last` as three equal channels / 255, resized as pictures are and with grey around;
 * `count` as darker, brighter and their sum, `voxel` as three equal channels, both bilinear with half-pixel centres and nothing around.
 */
export function toNetwork({ shape: [T, H, W, C], data }: EventFrames, place: FramePlace): Float32Array {
  const { side, width, height, padLeft, padTop } = place, size = side * side * 3, out = new Float32Array(T * size);
  for (let t = 0; t < T; t++) {
    const frame = data.subarray(t * H * W * C, (t + 1) * H * W * C);
    if (frame instanceof Uint8Array) {
      const canvas = blank(side, side, PADDING);
      overlay(canvas, resize(grey(frame, W, H), width, height), padLeft, padTop);
      for (let i = 0, to = t * size; i < size; i++, to++) out[to] = canvas.pixels[i] / 255;
    } else {
      const planes = Array.from({ length: C }, (_, c) => stretch(frame, W, H, C, c, width, height));
      for (let y = 0, from = 0; y < height; y++) {
        for (let x = 0, to = t * size + 3 * ((y + padTop) * side + padLeft); x < width; x++, from++, to += 3) {
          const [a, b] = [planes[0][from], planes[C - 1][from]];
          out[to] = a;
          out[to + 1] = b;
          out[to + 2] = C === 2 ? a + b : a;
        }
      }
    }
  }
  return out;
}

/** One grey byte per pixel as a picture. */
export function grey(frame: Uint8Array, width: number, height: number): Picture {
  const pixels = new Uint8Array(3 * width * height);
  for (let i = 0; i < frame.length; i++) pixels.fill(frame[i], 3 * i, 3 * i + 3);
  return { width, height, pixels };
}

/** Channel c of [H, W, C], bilinear with half-pixel centres, as [height, width]. */
function stretch(frame: ArrayLike<number>, W: number, H: number, C: number, c: number, width: number, height: number): Float32Array {
  const out = new Float32Array(width * height);
  const tap = (i: number, from: number, to: number) => {
    const u = Math.min(Math.max((i + 0.5) * from / to - 0.5, 0), from - 1), low = Math.floor(u);
    return { low, high: Math.min(low + 1, from - 1), share: u - low };
  };
  const columns = Array.from({ length: width }, (_, x) => tap(x, W, width));
  for (let y = 0, to = 0; y < height; y++) {
    const { low, high, share: b } = tap(y, H, height);
    for (let x = 0; x < width; x++, to++) {
      const { low: l, high: r, share: a } = columns[x], at = (row: number, column: number) => frame[C * (row * W + column) + c];
      out[to] = (1 - b) * ((1 - a) * at(low, l) + a * at(low, r)) + b * ((1 - a) * at(high, l) + a * at(high, r));
    }
  }
  return out;
}

/** One slice to look at: `last` as it is; the others as grey 127 plus what happened, the busiest pixel reaching black or white. */
export function showFrame({ shape: [, H, W, C], data }: EventFrames, t: number): Picture {
  const frame = data.subarray(t * H * W * C, (t + 1) * H * W * C);
  if (frame instanceof Uint8Array) return grey(frame, W, H);
  const net = Float32Array.from({ length: H * W }, (_, i) => (C === 2 ? frame[2 * i + 1] - frame[2 * i] : frame[i]));
  const most = net.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
  return grey(Uint8Array.from(net, (value) => Math.round(NOTHING + NOTHING * value / most)), W, H);
}
