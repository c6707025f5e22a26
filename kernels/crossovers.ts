/**
 * How full spikes may be for gathering to beat the dense kernels: a property of the machine and the engine as much as of the kernels, so measured
 * where it is used, by small convolutions that take some 50 ms.
 *
 * Gathering takes time in proportion to density, beside what building lists and passing over pixels takes at any: two densities tell both.
 */
import { BAND, LISTED, type Kernels } from "./signatures.ts";

/** Densities, 0..1, below which gathering is faster: for 1x1 kernels, and for wider ones. */
interface BySide { readonly pointwise: number; readonly wider: number }
export interface Crossovers { readonly forward: BySide; readonly dw: BySide }

/** What holds where nothing is measured: rounded from figures of one machine (`npm run bench -- sparsity`). */
export const FIXED: Crossovers = { forward: { pointwise: 0.6, wider: 0.6 }, dw: { pointwise: 0.5, wider: 0.5 } };

/** Pixels on a side of the picture, and its two layers C -> C: 0.4 and 0.2 ms of a dense kernel in one thread of 45 GFLOP/s. */
const SIDE = 16, SHAPES = { wider: { k: 3, C: 64 }, pointwise: { k: 1, C: 128 } };
/** Layers of many more channels, which gather from a farther cache, cross so much sooner. */
const WIDE = 0.9;
const LOW = 0.2, HIGH = 0.6;
/** Rounds that warm up, and rounds of which the fastest counts. */
const WARM = 2, TIMED = 5;
/** A crossover is one of so many steps of density, and no lower than this. */
const STEPS = 20, LEAST = 0.2;

/** Measures with these kernels, in memory that `take` gives out, so many bytes at a time, and that nothing else uses meanwhile. */
export function measureCrossovers(kernels: Kernels, memory: WebAssembly.Memory, take: (bytes: number) => number): Crossovers {
  const wider = measure(kernels, memory, take, SHAPES.wider), pointwise = measure(kernels, memory, take, SHAPES.pointwise);
  return { forward: { pointwise: pointwise.forward, wider: wider.forward }, dw: { pointwise: pointwise.dw, wider: wider.dw } };
}

function measure(k: Kernels, memory: WebAssembly.Memory, take: (bytes: number) => number, { k: side, C }: { k: number; C: number }): { forward: number; dw: number } {
  const taps = side * side, P = SIDE * SIDE, pad = side >> 1, Hp = SIDE + 2 * pad, places = Hp * Hp, bands = Math.ceil(places / BAND);
  const low = take(P * C), high = take(P * C), weights = take(4 * taps * C * C), dy = take(4 * P * C), y = take(4 * P * C), x = take(4 * P * C);
  const packed = take(4 * taps * C * C), rows = take(4 * taps * C * C), table = take(4 * taps * P), blocks = take(4 * places * C), dwt = take(4 * taps * C * C);
  const events = take(2 * LISTED * bands * C), spans = take(8 * Math.max(P, bands * C));

  const random = dice(), real = (): number => random() - 0.5;
  for (const [pointer, size] of [[weights, taps * C * C], [dy, P * C]]) new Float32Array(memory.buffer, pointer, size).forEach((_, i, all) => { all[i] = real(); });
  for (const [pointer, density] of [[low, LOW], [high, HIGH]]) new Uint8Array(memory.buffer, pointer, P * C).forEach((_, i, all) => { all[i] = random() < density ? 1 + (i & 3) : 0; });
  k.conv_table(taps, table, 1, SIDE, SIDE, SIDE, SIDE, side, 1, pad, 1);
  k.conv_pack(C / 8, weights, packed, C, taps, C, 0);
  k.spike_conv_pack(C / 32, weights, rows, C, taps, C, 0);

  const sparse = (s: number) => (): void => {
    k.spike_events(P / 64, s, events, spans, P, C);
    k.spike_conv(P, events, spans, side === 1 ? 0 : table, P, taps, C, rows, 0, y, C, C);
  };
  const sparseDw = (s: number) => (): void => {
    k.spike_channel_events(bands, s, events, spans, 1, SIDE, SIDE, C, Hp, Hp, 1, 0, 0);
    k.spike_gradient_blocks(Hp, dy, blocks, 1, SIDE, SIDE, C, Hp, Hp, pad, pad);
    k.spike_weight_grad(C * C / 32, events, spans, 0, places, places, taps, side, Hp, C, blocks, dwt, C, taps, 0, 1, side);
  };
  const dense = (): void => {
    k.spikes_to_f32(P * C, high, x);
    if (side === 1) k.f32_gemm(P, x, C, C, packed, 0, y, C, C);
    else k.f32_conv(P, x, C, table, P, taps, C, packed, 0, y, C, C);
  };
  const denseDw = (): void => {
    k.spikes_to_f32(P * C, high, x);
    k.f32_conv_weight_grad(taps * C, x, C, side === 1 ? 0 : table, P, C, dy, C, C, dwt);
  };
  const [forwardLow, forwardHigh, forward, dwLow, dwHigh, dw] = fastest([sparse(low), sparse(high), dense, sparseDw(low), sparseDw(high), denseDw]);
  return { forward: crossing(forwardLow, forwardHigh, forward), dw: crossing(dwLow, dwHigh, dw) };
}

/** Density at which the line through two sparse times meets the dense one. */
function crossing(low: number, high: number, dense: number): number {
  const slope = Math.max(high - low, 1e-9) / (HIGH - LOW), density = LOW + (dense - low) / slope;
  return Math.round(Math.min(Math.max(WIDE * density, LEAST), 1) * STEPS) / STEPS;
}

/** Least milliseconds of each, in turns, so that a slow moment of the machine meets all of them. */
function fastest(runs: readonly (() => void)[]): number[] {
  const best = runs.map(() => Infinity);
  for (let round = -WARM; round < TIMED; round++) runs.forEach((run, i) => {
    const start = performance.now();
    run();
    if (round >= 0) best[i] = Math.min(best[i], performance.now() - start);
  });
  return best;
}

/** The same numbers from 0 to 1 each time (a linear congruence modulo 2^32). */
function dice(): () => number {
  let state = 1;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}
