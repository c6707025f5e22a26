/** Noise, colours and patterns of generated pictures. Colours are numbers around 0..1 in display space, written to a shared triple. */
import { Random } from "../engine/random.ts";
import { cos, sin } from "../kernels/elementary.ts";

/** Red, green, blue. Painters write here instead of returning arrays: they are called once per pixel. */
export type Paint = Float64Array;

const SIDE = 256, MASK = SIDE - 1;
/** Uniform numbers on a lattice that repeats every 256 cells: all noise is read from it, at places drawn per picture. */
const LATTICE = (() => { const random = new Random(1); return Float32Array.from({ length: SIDE * SIDE }, () => random.uniform(-1, 1)); })();

/** 8192 standard normal numbers and the first three again, for sensor noise: enter anywhere, read four. */
export const NORMAL = (() => {
  const random = new Random(2), numbers = Float32Array.from({ length: 8192 + 3 }, () => random.normal());
  numbers.copyWithin(8192, 0, 3);
  return numbers;
})();

/** Value noise in -1..1: lattice values joined by s(t) = t^2 (3 - 2t). */
export function noise(x: number, y: number): number {
  const i = Math.floor(x), j = Math.floor(y);
  let a = x - i, b = y - j;
  a = a * a * (3 - 2 * a);
  b = b * b * (3 - 2 * b);
  const upper = (j & MASK) << 8, lower = ((j + 1) & MASK) << 8, left = i & MASK, right = (i + 1) & MASK;
  const p = LATTICE[upper | left], q = LATTICE[lower | left];
  const above = p + a * (LATTICE[upper | right] - p), below = q + a * (LATTICE[lower | right] - q);
  return above + b * (below - above);
}

/** Two lattices across each other, so that level lines do not show the squares of either. */
const crossed = (x: number, y: number): number => noise(x, y) + 0.6 * noise(0.8 * x + 0.9 * y + 17, 0.8 * y - 0.9 * x);

/** 0 below -softness, 1 above +softness, a straight line between. */
const step = (x: number, softness: number): number => clamp(0.5 + 0.5 * x / softness);
const clamp = (t: number): number => (t < 0 ? 0 : t > 1 ? 1 : t);

export type Tone = readonly [number, number, number];

export function fromHsv(h: number, s: number, v: number): Tone {
  const channel = (n: number) => { const k = (n + 6 * (h - Math.floor(h))) % 6; return v * (1 - s * Math.max(0, Math.min(k, 4 - k, 1))); };
  return [channel(5), channel(3), channel(1)];
}

/** Four related colours: hues near each other or opposite, from nearly grey to vivid. */
export function drawPalette(random: Random): Tone[] {
  const hue = random.uniform(), spread = random.uniform() < 0.3 ? 0.5 : random.uniform(0.02, 0.18), vivid = random.uniform(0.08, 0.6);
  return Array.from({ length: 4 }, () => fromHsv(hue + spread * random.uniform(-1, 1), Math.min(1, vivid * random.uniform(0.4, 1.5)), random.uniform(0.2, 0.92)));
}

/** A colour for a thing: now and then one of the scene's own, so that colour alone does not find it. */
export function drawTone(random: Random, palette: readonly Tone[]): Tone {
  const own = palette[random.integer(0, palette.length)], free = fromHsv(random.uniform(), random.uniform(0.1, 0.95), random.uniform(0.3, 0.98));
  const borrowed = random.uniform() < 0.3, jitter = () => random.uniform(-0.1, 0.1);
  return borrowed ? [own[0] + jitter(), own[1] + jitter(), own[2] + jitter()] : free;
}

/** What lies behind everything: writes the colour at x, y (in picture sides, 0..1) to `paint`. */
export type Scenery = (x: number, y: number, paint: Paint) => void;

/** Octaves of noise between colours, drifting in tone, plain or under stripes, patches, tiles or speckles. */
export function drawScenery(random: Random, [c0, c1, c2, c3]: readonly Tone[]): Scenery {
  const turn = random.uniform(0, 2 * Math.PI), stretch = random.uniform() < 0.3 ? random.uniform(2, 6) : 1;
  const base = random.uniform(1.2, 5), co = cos(turn) * base, si = sin(turn) * base;
  const ox = random.uniform(0, SIDE), oy = random.uniform(0, SIDE), rough = random.uniform(0.35, 0.85);
  const shares = [1, rough, rough * rough, rough * rough * rough].map((share, _, all) => 0.9 * share / all.reduce((a, b) => a + b)), [s0, s1, s2, s3] = shares;
  const contrast = random.uniform(0.8, 2.3), drift = random.uniform(0.2, 0.9);
  const kind = ([undefined, undefined, stripes, patches, tiles, speckles] as const)[random.integer(0, 6)];
  const period = random.uniform(4, 14), warp = random.uniform(0, 1.6), soft = random.uniform(0.08, 0.9), strength = random.uniform(0.3, 0.85);
  const angle = random.uniform(0, Math.PI), pc = cos(angle) * period, ps = sin(angle) * period;

  return (x, y, paint) => {
    const u = (co * x + si * y) * stretch + ox, v = co * y - si * x + oy;
    const t = s0 * noise(u, v) + s1 * noise(2.03 * u, 2.03 * v + 31) + s2 * noise(4.1 * u, 4.1 * v + 62) + s3 * noise(8.3 * u, 8.3 * v + 93);
    const far = noise(u * 0.35 + 97, v * 0.35 + 53), tone = 0.3 + 0.3 * far * drift;
    const mixed = clamp(0.5 + t * contrast), over = kind ? strength * kind(pc * x + ps * y + ox, pc * y - ps * x + oy, soft, warp * t, warp * far) : 0;
    for (let c = 0; c < 3; c++) {
      const ground = c0[c] + (c1[c] - c0[c]) * mixed, drifted = ground + (c2[c] - ground) * tone;
      paint[c] = drifted + (c3[c] - drifted) * over;
    }
  };
}

/** How much of the pattern's colour shows at p, q, its edges `soft` and bent by `near` and `far`: 0..1. */
type Pattern = (p: number, q: number, soft: number, near: number, far: number) => number;
const stripes: Pattern = (p, _, soft, near, far) => step(sin(3 * p + 4 * near + far), soft);
const patches: Pattern = (p, q, soft, near) => step(crossed(0.9 * p, 0.9 * q) + 0.6 * near, 0.5 * soft);
const speckles: Pattern = (p, q, soft) => step(crossed(2.5 * p, 2.5 * q) - 0.4, 0.3 * soft);
const tiles: Pattern = (p, q, soft, near, far) => {
  const a = 0.6 * p + 0.15 * near, b = 0.6 * q + 0.15 * far;
  return 1 - step(Math.min(Math.abs(a - Math.round(a)), Math.abs(b - Math.round(b))) - 0.06, 0.03 + 0.05 * soft);
};

/** The colour of a thing at a place u, v, w of its own frame (about -1..1). */
export type Skin = (u: number, v: number, w: number, paint: Paint) => void;

export function drawSkin(random: Random, palette: readonly Tone[]): Skin {
  const one = drawTone(random, palette), two = drawTone(random, palette);
  const kind = (["plain", "plain", "plain", "fade", "fade", "stripes", "checks", "patches"] as const)[random.integer(0, 8)];
  // a direction in the thing's frame, and a place in the noise
  const height = random.uniform(-1, 1), turn = random.uniform(0, 2 * Math.PI), flat = Math.sqrt(1 - height * height);
  const du = flat * cos(turn), dv = flat * sin(turn), dw = height;
  const frequency = random.uniform(4, 11), phase = random.uniform(0, 7), soft = random.uniform(0.1, 0.5), mottle = random.uniform(0.02, 0.16), grain = random.uniform(3, 9);
  const ox = random.uniform(0, SIDE), oy = random.uniform(0, SIDE);

  return (u, v, w, paint) => {
    const dirt = 1 + mottle * noise(grain * (u + 0.7 * w) + ox, grain * (v - 0.6 * w) + oy);
    let t = 0;
    if (kind !== "plain") {
      const along = du * u + dv * v + dw * w;
      if (kind === "stripes") t = step(sin(frequency * along + phase), soft);
      else if (kind === "checks") t = step(sin(frequency * u * 0.6 + phase) * sin(frequency * v * 0.6 + phase) * sin(frequency * w * 0.6 + 1.3), 0.3 * soft);
      else if (kind === "patches") t = step(noise(0.35 * frequency * (u + 0.8 * w) + oy, 0.35 * frequency * (v + 0.5 * w) + ox), soft);
      else t = 0.5 + 0.5 * along;
    }
    for (let c = 0; c < 3; c++) paint[c] = (one[c] + (two[c] - one[c]) * t) * dirt;
  };
}
