/** A scene under one light, and the camera that takes its picture. */
import type { Random } from "../engine/random.ts";
import { cos, sin, tan } from "../kernels/elementary.ts";
import type { Picture } from "./sample.ts";
import { eachPoint, type Scene, type Thing } from "./scene.ts";
import { MISS, type Surface } from "./solids.ts";
import { drawScenery, NORMAL, type Tone } from "./texture.ts";

/** The one surface point that is looked at now. */
const SURFACE: Surface = { nx: 0, ny: 0, nz: 0, u: 0, v: 0, w: 0 };

/** Light per sample point, [side + 1, side + 1, 3], 1 = white. */
export function paintScene(random: Random, palette: readonly Tone[], { things, owner }: Scene, side: number): Float32Array {
  const width = side + 1, light = new Float32Array(width * width * 3), paint = new Float64Array(3);
  paintGround(random, palette, owner, light, side);

  // towards the light, and halfway from there to the eye
  const from = random.uniform(0, 2 * Math.PI), slant = random.uniform(0.35, 1.15);
  const lx = sin(slant) * cos(from), ly = sin(slant) * sin(from), lz = cos(slant);
  const half = 1 / Math.sqrt(lx * lx + ly * ly + (lz + 1) * (lz + 1)), hx = lx * half, hy = ly * half, hz = (lz + 1) * half;
  const ambient = random.uniform(0.25, 0.5), direct = 1.15 - ambient, warmth = random.uniform(-0.08, 0.08);
  const red = direct * (1 + warmth), blue = direct * (1 - warmth);
  const darkness = random.uniform(0.3, 0.75), penumbra = random.uniform(0.1, 0.35);

  things.forEach((thing, k) => {
    const { body, skin, x, y, scale, shine, gloss, class: kind } = thing;
    const lift = kind < 0 ? 0.1 : 0.45, throwing = scale * lift * Math.min(1.6, tan(slant));
    castShadow(thing, owner, k + 1, light, width, -cos(from) * throwing, -sin(from) * throwing, Math.max(1, scale * penumbra * (kind < 0 ? 0.3 : 1)), darkness * (kind < 0 ? 0.7 : 1));
    eachPoint(thing, width, (at, px, py, z) => {
      if (owner[at] !== k + 1) return;
      body.look((px - x) / scale, (py - y) / scale, z, SURFACE);
      const { nx, ny, nz, u, v, w } = SURFACE;
      skin(u, v, w, paint);
      const facing = Math.max(0, nx * lx + ny * ly + nz * lz), sky = ambient * (0.8 + 0.2 * nz);
      let spot = Math.max(0, nx * hx + ny * hy + nz * hz);
      for (let g = 0; g < gloss; g++) spot *= spot;
      light[3 * at] = paint[0] * (sky + red * facing) + shine * spot;
      light[3 * at + 1] = paint[1] * (sky + direct * facing) + shine * spot;
      light[3 * at + 2] = paint[2] * (sky + blue * facing) + shine * spot;
    });
  });
  return light;
}

/** The ground where nothing stands on it: sampled every `pitch` points and joined by straight lines, so that a wide pitch is out of focus. */
function paintGround(random: Random, palette: readonly Tone[], owner: Uint8Array, light: Float32Array, side: number): void {
  const width = side + 1, pitch = Math.max(1, Math.round([1, 2, 2, 3][random.integer(0, 4)] * side / 128));
  const scenery = drawScenery(random, palette), paint = new Float64Array(3);
  const cells = Math.ceil(side / pitch) + 1, coarse = new Float32Array(cells * cells * 3);
  for (let j = 0, at = 0; j < cells; j++) {
    for (let i = 0; i < cells; i++, at += 3) {
      scenery(i * pitch / side, j * pitch / side, paint);
      coarse[at] = paint[0];
      coarse[at + 1] = paint[1];
      coarse[at + 2] = paint[2];
    }
  }
  const row = new Float32Array(3 * cells);
  for (let y = 0, at = 0; y < width; y++) {
    mixRows(coarse, Math.min(Math.floor(y / pitch), cells - 2), y / pitch, 3 * cells, row);
    for (let x = 0; x < width; x++, at++) {
      if (owner[at] !== 0) continue;
      const i = Math.min(Math.floor(x / pitch), cells - 2), a = x / pitch - i, p = 3 * i, to = 3 * at;
      light[to] = row[p] + a * (row[p + 3] - row[p]);
      light[to + 1] = row[p + 1] + a * (row[p + 4] - row[p + 1]);
      light[to + 2] = row[p + 2] + a * (row[p + 5] - row[p + 2]);
    }
  }
}

/** Darkens what lies behind a thing by its silhouette, moved by dx, dy and blurred by `blur` pixels, on cells coarse enough that a blur is 2 of them. */
function castShadow({ x0, y0, columns, rows, depth }: Thing, owner: Uint8Array, self: number, light: Float32Array, width: number, dx: number, dy: number, blur: number, darkness: number): void {
  const cell = Math.max(2, Math.round(blur / 2)), radius = Math.max(1, Math.round(blur / cell)), margin = 2 * radius + 1;
  const W = Math.ceil(columns / cell) + 2 * margin, H = Math.ceil(rows / cell) + 2 * margin;
  const from = new Float32Array(W * H), to = new Float32Array(W * H), share = darkness / (cell * cell);
  for (let j = 0, at = 0; j < rows; j++) {
    let p = (Math.floor(j / cell) + margin) * W + margin;
    for (let i = 0, next = cell; i < columns; i++, at++) {
      if (i === next) { next += cell; p++; }
      if (depth[at] !== MISS) from[p] += share;
    }
  }
  for (let pass = 0; pass < 2; pass++) {
    boxBlur(from, to, W, H, 1, W, radius);
    boxBlur(to, from, H, W, W, 1, radius);
  }
  // cell i is centred on point left + i cell
  const left = x0 + dx + (cell - 1) / 2 - margin * cell, top = y0 + dy + (cell - 1) / 2 - margin * cell, row = to;
  const first = Math.max(0, Math.ceil(left)), end = Math.min(width, left + (W - 1) * cell);
  for (let y = Math.max(0, Math.ceil(top)), last = Math.min(width, top + (H - 1) * cell); y < last; y++) {
    mixRows(from, Math.floor((y - top) / cell), (y - top) / cell, W, row);
    for (let x = first; x < end; x++) {
      const at = y * width + x;
      if (owner[at] >= self) continue;
      const u = (x - left) / cell, i = Math.floor(u), kept = 1 - row[i] - (u - i) * (row[i + 1] - row[i]);
      light[3 * at] *= kept;
      light[3 * at + 1] *= kept;
      light[3 * at + 2] *= kept;
    }
  }
}

/** row = (1 - b) from[j] + b from[j + 1] for the height v = j + b, rows being `length` long. */
function mixRows(from: Float32Array, j: number, v: number, length: number, row: Float32Array): void {
  const b = v - j;
  for (let i = 0, p = j * length, q = p + length; i < length; i++, p++, q++) row[i] = from[p] + b * (from[q] - from[p]);
}

/** Means of 2 radius + 1 neighbours along lines of `length` values `step` apart, 0 beyond the ends; there are `lines` of them, `next` apart. */
function boxBlur(from: Float32Array, to: Float32Array, length: number, lines: number, step: number, next: number, radius: number): void {
  const share = 1 / (2 * radius + 1);
  for (let line = 0; line < lines; line++) {
    const start = line * next;
    let sum = 0;
    for (let i = 0; i < radius && i < length; i++) sum += from[start + i * step];
    for (let i = 0; i < length; i++) {
      if (i + radius < length) sum += from[start + (i + radius) * step];
      if (i > radius) sum -= from[start + (i - radius - 1) * step];
      to[start + i * step] = sum * share;
    }
  }
}

/** Sample points -> pixels of a camera that is not perfect. */
export function expose(random: Random, light: Float32Array, side: number): Picture {
  const width = side + 1, pixels = new Uint8Array(side * side * 3);
  const blurred = random.uniform() < 0.5 ? light : soften(light, width, random.uniform(0.05, 0.25));
  const gx = random.uniform(-0.3, 0.3), gy = random.uniform(-0.3, 0.3), corners = random.uniform(0, 0.8), exposure = random.uniform(0.85, 1.15);
  const [red, green, blue] = [0, 1, 2].map(() => 255 / 4 * exposure * random.uniform(0.93, 1.07)), haze = random.uniform(0, 16) + 0.5;
  const shared = random.uniform(0.5, 5), single = random.uniform(0.5, 3);                  // noise of brightness and of colour, in levels
  let grain = random.bits() | 0;

  for (let y = 0, to = 0; y < side; y++) {
    // p and q: sample points above and below; r, g, b: their sums at the pixel's left edge
    let p = 3 * y * width, q = p + 3 * width, r = blurred[p] + blurred[q], g = blurred[p + 1] + blurred[q + 1], b = blurred[p + 2] + blurred[q + 2];
    const v = y / side - 0.5, down = 1 + gy * v - corners * v * v;
    for (let x = 0; x < side; x++, to += 3) {
      p += 3;
      q += 3;
      const r1 = blurred[p] + blurred[q], g1 = blurred[p + 1] + blurred[q + 1], b1 = blurred[p + 2] + blurred[q + 2];
      const u = x / side - 0.5, lit = down + gx * u - corners * u * u;
      grain = (Math.imul(grain, 1664525) + 1013904223) | 0;
      const start = grain >>> 19, speck = shared * NORMAL[start] + haze;
      pixels[to] = level((r + r1) * lit * red + speck + single * NORMAL[start + 1]);
      pixels[to + 1] = level((g + g1) * lit * green + speck + single * NORMAL[start + 2]);
      pixels[to + 2] = level((b + b1) * lit * blue + speck + single * NORMAL[start + 3]);
      r = r1; g = g1; b = b1;
    }
  }
  return { width: side, height: side, pixels };
}

const level = (value: number): number => (value < 0 ? 0 : value > 255 ? 255 : value);

/** [s, 1 - 2s, s] along both axes; the rim stays. */
function soften(light: Float32Array, width: number, s: number): Float32Array {
  let from = light;
  for (const step of [3, 3 * width]) {
    const to = from.slice();
    for (let at = 3 * width + 3; at < from.length - 3 * width - 3; at++) to[at] = from[at] + s * (from[at - step] + from[at + step] - 2 * from[at]);
    from = to;
  }
  return from;
}
