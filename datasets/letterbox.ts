/** Fitting a picture of any size into the canvas a detector wants, and mapping boxes there and back. */
import type { ObjectBox, Picture } from "./sample.ts";

/** Grey of everything that no picture covers. */
export const PADDING = 114;

/**
 * Where a picture lies on its canvas. Pixels are pasted at whole coordinates, boxes move by the unrounded ones, as the reference does:
 *
 *   canvas  [0, canvasWidth) x [0, canvasHeight)
 *   pixels  [padLeft, padLeft + width) x [padTop, padTop + height)
 *   boxes   x' = x * scale + left,  y' = y * scale + top
 */
export interface Fit {
  readonly canvasWidth: number;
  readonly canvasHeight: number;
  readonly scale: number;
  readonly width: number;
  readonly height: number;
  readonly padLeft: number;
  readonly padTop: number;
  readonly left: number;
  readonly top: number;
}

export interface FitOptions {
  /** false: small pictures keep their size. */
  readonly scaleUp?: boolean;
  /** Longest side that a picture may get, where the canvas is larger (the reference's rectangular validation). */
  readonly longest?: number;
  /** Shrink the canvas until only the remainder to a multiple of this stays as padding (the reference's `auto`). */
  readonly stride?: number;
}

/** LetterBox of ultralytics: r = min(H/h, W/w);  size = round(dim * r);  d = canvas - size;  pads round(d/2 - .1), round(d/2 + .1). */
export function fit(width: number, height: number, canvas: readonly [height: number, width: number], { scaleUp = true, longest = Infinity, stride }: FitOptions = {}): Fit {
  const scale = Math.min(canvas[0] / height, canvas[1] / width, longest / Math.max(width, height), scaleUp ? Infinity : 1);
  const along = (side: number, room: number) => {
    const size = Math.max(1, roundHalfEven(side * scale));
    const spare = stride ? (room - size) % stride : room - size;
    const before = roundHalfEven(spare / 2 - 0.1), after = roundHalfEven(spare / 2 + 0.1);
    return { size, before, shift: spare / 2, canvas: before + size + after };
  };
  const x = along(width, canvas[1]), y = along(height, canvas[0]);
  return {
    canvasWidth: x.canvas, canvasHeight: y.canvas, scale, width: x.size, height: y.size,
    padLeft: x.before, padTop: y.before, left: x.shift, top: y.shift,
  };
}

/** The picture on its canvas, padding around it. */
export function letterbox(picture: Picture, { canvasWidth, canvasHeight, padLeft, padTop, width, height }: Fit): Picture {
  const canvas = blank(canvasWidth, canvasHeight, PADDING);
  paste(picture, canvas, { left: padLeft, top: padTop, width, height });
  return canvas;
}

/** Bilinear, half-pixel centres, no smoothing: cv2.resize with INTER_LINEAR, bit for bit. */
export function resize(picture: Picture, width: number, height: number): Picture {
  if (width === picture.width && height === picture.height) return picture;
  const canvas = blank(width, height, 0);
  paste(picture, canvas, { left: 0, top: 0, width, height });
  return canvas;
}

export const blank = (width: number, height: number, grey: number): Picture => ({ width, height, pixels: new Uint8Array(width * height * 3).fill(grey) });

type Corners = Pick<ObjectBox, "x1" | "y1" | "x2" | "y2">;

/** A box of the picture, on the canvas. */
export function toCanvas<B extends Corners>(box: B, { scale, left, top }: Pick<Fit, "scale" | "left" | "top">): B {
  return { ...box, x1: box.x1 * scale + left, y1: box.y1 * scale + top, x2: box.x2 * scale + left, y2: box.y2 * scale + top };
}

/** A box of the canvas, on the picture and clipped to it (ultralytics' scale_boxes). `origin` is what a batch tells of its picture. */
export function toPicture<B extends Corners>(box: B, { scale, left, top, width, height }: { scale: number; left: number; top: number; width: number; height: number }): B {
  return clip({ ...box, x1: (box.x1 - left) / scale, y1: (box.y1 - top) / scale, x2: (box.x2 - left) / scale, y2: (box.y2 - top) / scale }, width, height);
}

/** The part of a box inside [0, width] x [0, height]; of no size where there is none. */
export function clip<B extends Corners>(box: B, width: number, height: number): B {
  const inside = (value: number, limit: number) => Math.min(Math.max(value, 0), limit);
  return { ...box, x1: inside(box.x1, width), y1: inside(box.y1, height), x2: inside(box.x2, width), y2: inside(box.y2, height) };
}

export interface Place {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/**
 * Stretches a picture over a rectangle of the canvas, wherever that lies; pixels whose centre it misses stay as they are.
 *
 *   u = (x + 1/2 - left) * w / width - 1/2
 *   out = (1-b) ((1-a) p[v][u] + a p[v][u+1]) + b ((1-a) p[v+1][u] + a p[v+1][u+1])
 *
 * in OpenCV's fixed point: 11 bits for each weight, 4 + 16 + 2 bits dropped on the way.
 */
export function paste(picture: Picture, canvas: Picture, { left, top, width, height }: Place): void {
  if (width === picture.width && height === picture.height && Number.isInteger(left) && Number.isInteger(top)) return overlay(canvas, picture, left, top);
  const x = taps(left, width, picture.width, canvas.width), y = taps(top, height, picture.height, canvas.height);
  const source = picture.pixels, target = canvas.pixels;
  let upper = new Int32Array(3 * x.size), lower = new Int32Array(3 * x.size);
  let inUpper = -1, inLower = -1;                                                         // rows of the picture that they hold

  const across = (v: number, row: Int32Array) => {
    const start = v * picture.width * 3;
    for (let i = 0, to = 0; i < x.size; i++, to += 3) {
      const p = start + 3 * x.first[i], q = start + 3 * x.second[i], a = x.weight[i], b = x.other[i];
      row[to] = source[p] * a + source[q] * b;
      row[to + 1] = source[p + 1] * a + source[q + 1] * b;
      row[to + 2] = source[p + 2] * a + source[q + 2] * b;
    }
  };

  for (let j = 0; j < y.size; j++) {
    const v = y.first[j], w = y.second[j];
    if (v !== inUpper) {
      if (v === inLower) { [upper, lower] = [lower, upper]; [inUpper, inLower] = [inLower, inUpper]; }
      else { across(v, upper); inUpper = v; }
    }
    if (w !== inLower) { across(w, lower); inLower = w; }
    const b0 = y.weight[j], b1 = y.other[j];
    const start = (y.start + j) * canvas.width;
    for (let i = 0, from = 0; i < x.size; i++, from += 3) {
      const to = 3 * (start + x.start + i);
      target[to] = (((b0 * (upper[from] >> 4)) >> 16) + ((b1 * (lower[from] >> 4)) >> 16) + 2) >> 2;
      target[to + 1] = (((b0 * (upper[from + 1] >> 4)) >> 16) + ((b1 * (lower[from + 1] >> 4)) >> 16) + 2) >> 2;
      target[to + 2] = (((b0 * (upper[from + 2] >> 4)) >> 16) + ((b1 * (lower[from + 2] >> 4)) >> 16) + 2) >> 2;
    }
  }
}

/** Copies one picture onto another, its upper left corner at x, y; what sticks out is cut. */
export function overlay(canvas: Picture, picture: Picture, x: number, y: number): void {
  const left = Math.max(0, x), right = Math.min(canvas.width, x + picture.width);
  if (right <= left) return;
  for (let row = Math.max(0, y); row < Math.min(canvas.height, y + picture.height); row++) {
    const from = 3 * ((row - y) * picture.width + left - x);
    canvas.pixels.set(picture.pixels.subarray(from, from + 3 * (right - left)), 3 * (row * canvas.width + left));
  }
}

/** Along one axis: canvas pixels start .. start + size - 1 read source pixels first and second, weighted weight / 2048 and other / 2048. */
function taps(from: number, length: number, source: number, canvas: number) {
  const start = Math.max(0, Math.ceil(from - 0.5)), end = Math.min(canvas, Math.ceil(from + length - 0.5));
  const size = Math.max(0, end - start), step = 1 / (length / source);
  const first = new Int32Array(size), second = new Int32Array(size), weight = new Int32Array(size), other = new Int32Array(size);
  for (let i = 0; i < size; i++) {
    const u = Math.fround((start + i - from + 0.5) * step - 0.5), whole = Math.floor(u), a = Math.fround(u - whole);
    first[i] = Math.min(Math.max(whole, 0), source - 1);
    second[i] = Math.min(Math.max(whole + 1, 0), source - 1);
    weight[i] = roundHalfEven(Math.fround(1 - a) * 2048);
    other[i] = roundHalfEven(a * 2048);
  }
  return { start, size, first, second, weight, other };
}

/** Python's round. */
export function roundHalfEven(x: number): number {
  const down = Math.floor(x), rest = x - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}
