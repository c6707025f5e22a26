/**
 * A picture seen through a 3 x 3 matrix, and its boxes with it, as the reference's RandomPerspective does both.
 *
 *   M = T S R P C     C: centre to the origin;  P: perspective;  R: rotation and scale;  S: shear;  T: back, and somewhere else
 */
import { cos, sin, tan } from "../kernels/elementary.ts";
import { clip, roundHalfEven } from "./letterbox.ts";
import type { ObjectBox, Picture } from "./sample.ts";

/** Row-major 3 x 3: x' = (m0 x + m1 y + m2) / z, y' = (m3 x + m4 y + m5) / z, z = m6 x + m7 y + m8. */
export type Matrix = readonly number[];

export interface View {
  /** Degrees, anticlockwise on the screen. */
  readonly angle: number;
  readonly scale: number;
  /** Degrees, of x by y and of y by x. */
  readonly shear: readonly [x: number, y: number];
  readonly perspective: readonly [x: number, y: number];
  /** Where the centre of the source comes to lie, as a share of the target. */
  readonly centre: readonly [x: number, y: number];
}

interface Size { readonly width: number; readonly height: number }

const RADIANS = Math.PI / 180;

export function matrixOf({ angle, scale, shear, perspective, centre }: View, source: Size, target: Size): Matrix {
  const C = [1, 0, -source.width / 2, 0, 1, -source.height / 2, 0, 0, 1], P = [1, 0, 0, 0, 1, 0, perspective[0], perspective[1], 1];
  const a = scale * cos(angle * RADIANS), b = scale * sin(angle * RADIANS), R = [a, b, 0, -b, a, 0, 0, 0, 1];
  const S = [1, tan(shear[0] * RADIANS), 0, tan(shear[1] * RADIANS), 1, 0, 0, 0, 1];
  const T = [1, 0, centre[0] * target.width, 0, 1, centre[1] * target.height, 0, 0, 1];
  return [S, R, P, C].reduce<Matrix>(product, T);
}

const product = (a: Matrix, b: Matrix): Matrix =>
  Array.from({ length: 9 }, (_, i) => { const row = 3 * Math.floor(i / 3), column = i % 3; return a[row] * b[column] + a[row + 1] * b[column + 3] + a[row + 2] * b[column + 6]; });

const isAffine = (m: Matrix): boolean => m[6] === 0 && m[7] === 0 && m[8] === 1;

function inverse(m: Matrix): Matrix {
  const [a, b, c, d, e, f, g, h, i] = m, D = 1 / (a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g));
  return [e * i - f * h, c * h - b * i, b * f - c * e, f * g - d * i, a * i - c * g, c * d - a * f, d * h - e * g, b * g - a * h, a * e - b * d].map((x) => x * D);
}

/** Fractions of a source pixel are cut to 32nds, and affine steps are summed in 1024ths: OpenCV's fixed point. */
const FINE = 5, STEPS = 1 << FINE, AFFINE = 10, ROUND = 1 << (AFFINE - FINE - 1);

/** What `m` makes of a picture, on a target of the given size; `grey` where it is not. cv2.warpAffine, or cv2.warpPerspective, INTER_LINEAR. */
export function warp(picture: Picture, m: Matrix, { width, height }: Size, grey: number): Picture {
  const [a, b, c, d, e, f, g, h, i] = inverse(m), affine = isAffine(m);
  const out = new Uint8Array(width * height * 3);
  const dx = Int32Array.from({ length: width }, (_, x) => roundHalfEven(a * x * 1024)), dy = Int32Array.from({ length: width }, (_, x) => roundHalfEven(d * x * 1024));
  for (let y = 0, to = 0; y < height; y++) {
    const x0 = roundHalfEven((b * y + c) * 1024) + ROUND, y0 = roundHalfEven((e * y + f) * 1024) + ROUND;
    for (let x = 0; x < width; x++, to += 3) {
      let u: number, v: number;
      if (affine) {
        u = (x0 + dx[x]) >> (AFFINE - FINE);
        v = (y0 + dy[x]) >> (AFFINE - FINE);
      } else {
        const z = g * x + h * y + i, w = z === 0 ? 0 : STEPS / z;
        u = fixed((a * x + b * y + c) * w);
        v = fixed((d * x + e * y + f) * w);
      }
      sample(picture, u, v, out, to, grey);
    }
  }
  return { width, height, pixels: out };
}

const fixed = (x: number): number => roundHalfEven(Math.min(2147483647, Math.max(-2147483648, x)));

/** One pixel from four, at u / 32 and v / 32. */
function sample({ width, height, pixels }: Picture, u: number, v: number, out: Uint8Array, to: number, grey: number): void {
  const x = u >> FINE, y = v >> FINE, p = u & (STEPS - 1), q = v & (STEPS - 1);
  const w00 = (STEPS - p) * (STEPS - q), w01 = p * (STEPS - q), w10 = (STEPS - p) * q, w11 = p * q;          // of 1024
  if (x >= 0 && y >= 0 && x < width - 1 && y < height - 1) {
    const upper = 3 * (y * width + x), lower = upper + 3 * width;
    out[to] = (pixels[upper] * w00 + pixels[upper + 3] * w01 + pixels[lower] * w10 + pixels[lower + 3] * w11 + 512) >> 10;
    out[to + 1] = (pixels[upper + 1] * w00 + pixels[upper + 4] * w01 + pixels[lower + 1] * w10 + pixels[lower + 4] * w11 + 512) >> 10;
    out[to + 2] = (pixels[upper + 2] * w00 + pixels[upper + 5] * w01 + pixels[lower + 2] * w10 + pixels[lower + 5] * w11 + 512) >> 10;
    return;
  }
  if (x < -1 || y < -1 || x >= width || y >= height) { out[to] = out[to + 1] = out[to + 2] = grey; return; }
  const left = x >= 0, right = x < width - 1, above = y >= 0, below = y < height - 1, at = 3 * (y * width + x);
  for (let k = 0; k < 3; k++) {
    const p00 = left && above ? pixels[at + k] : grey, p01 = right && above ? pixels[at + 3 + k] : grey;
    const p10 = left && below ? pixels[at + 3 * width + k] : grey, p11 = right && below ? pixels[at + 3 * width + 3 + k] : grey;
    out[to + k] = (p00 * w00 + p01 * w01 + p10 * w10 + p11 * w11 + 512) >> 10;
  }
}

/** Boxes around what became of boxes, clipped to the target; those of which too little is left are gone. `scale` is that of the view. */
export function warpBoxes(boxes: readonly ObjectBox[], m: Matrix, scale: number, { width, height }: Size): ObjectBox[] {
  return boxes.flatMap((box) => {
    const corners = [[box.x1, box.y1], [box.x2, box.y2], [box.x1, box.y2], [box.x2, box.y1]].map(([x, y]) => {
      const z = m[6] * x + m[7] * y + m[8];
      return [(m[0] * x + m[1] * y + m[2]) / z, (m[3] * x + m[4] * y + m[5]) / z];
    });
    const xs = corners.map(([x]) => x), ys = corners.map(([, y]) => y);
    const part = clip({ ...box, x1: Math.min(...xs), y1: Math.min(...ys), x2: Math.max(...xs), y2: Math.max(...ys) }, width, height);
    return isCandidate((box.x2 - box.x1) * scale, (box.y2 - box.y1) * scale, part) ? [part] : [];
  });
}

/** ultralytics' box_candidates: sides > 2 pixels, more than a tenth of the area left, not thinner than 1 : 100. */
function isCandidate(w1: number, h1: number, { x1, y1, x2, y2 }: ObjectBox): boolean {
  const w = x2 - x1, h = y2 - y1;
  return w > 2 && h > 2 && w * h / (w1 * h1 + 1e-16) > 0.1 && Math.max(w / (h + 1e-16), h / (w + 1e-16)) < 100;
}
