/**
 * Hue, saturation and value times gains, as the reference does it: through OpenCV's 8-bit HSV and a table for each of the three.
 *
 *   h = 0..179 (two degrees each), s and v = 0..255
 *   h' = h gain mod 180,  s' = min(255, s gain),  v' = min(255, v gain), all cut to whole numbers
 */
import { roundHalfEven } from "./letterbox.ts";
import type { Picture } from "./sample.ts";

const HUES = 180, SHIFT = 12, HALF = 1 << (SHIFT - 1);

/** Reciprocals in OpenCV's fixed point: 255 / v, and a sixth of the circle over the spread. */
const SATURATION = Int32Array.from({ length: 256 }, (_, v) => (v === 0 ? 0 : roundHalfEven((255 << SHIFT) / v)));
const HUE = Int32Array.from({ length: 256 }, (_, spread) => (spread === 0 ? 0 : roundHalfEven((HUES << SHIFT) / (6 * spread))));

/** Which of v, v (1 - s), v (1 - s f), v (1 - s (1 - f)) is red, green, blue in each sixth of the circle, f being how far into it the hue is. */
const SIXTHS = [[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2]].map((places) => Uint8Array.from(places));

const fround = Math.fround;

/** In place. Gains of 1 still pass through 8-bit HSV, and so may move a level: leave the call out where nothing is to change. */
export function tint({ pixels }: Picture, hue: number, saturation: number, value: number): void {
  const hues = Uint8Array.from({ length: 256 }, (_, x) => Math.trunc((x * hue) % HUES));
  const [saturations, values] = [saturation, value].map((gain) => Uint8Array.from({ length: 256 }, (_, x) => Math.trunc(Math.min(255, Math.max(0, x * gain)))));
  const sector = Uint8Array.from({ length: 256 }, (_, h) => Math.floor(fround(h * fround(6 / HUES))));
  const within = Float32Array.from({ length: 256 }, (_, h) => fround(fround(h * fround(6 / HUES)) - sector[h]));
  const levels = new Uint8Array(4);
  for (let i = 0; i < pixels.length; i += 3) {
    const r = pixels[i], g = pixels[i + 1], b = pixels[i + 2];
    const v = r > g ? (r > b ? r : b) : g > b ? g : b, spread = v - (r < g ? (r < b ? r : b) : g < b ? g : b);
    const around = v === r ? g - b : v === g ? b - r + 2 * spread : r - g + 4 * spread;
    let h = (around * HUE[spread] + HALF) >> SHIFT;
    if (h < 0) h += HUES;
    h = hues[h];
    const s = fround(saturations[(spread * SATURATION[v] + HALF) >> SHIFT] * fround(1 / 255)), V = fround(values[v] * fround(1 / 255)), f = within[h];
    levels[0] = level(V);
    levels[1] = level(fround(V * fround(1 - s)));
    levels[2] = level(fround(V * fround(1 - fround(s * f))));
    levels[3] = level(fround(V * fround(1 - fround(s * fround(1 - f)))));
    const places = SIXTHS[sector[h]];
    pixels[i] = levels[places[0]];
    pixels[i + 1] = levels[places[1]];
    pixels[i + 2] = levels[places[2]];
  }
}

/** 0..1 -> 0..255, cut, as OpenCV's vectors do. */
const level = (x: number): number => Math.trunc(fround(x * 255));
