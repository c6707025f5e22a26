/**
 * Kernels that do little with each byte: GB/s over the bytes that they must touch, as a share of memory.copy over a working set of the same size, in turns
 * with it. One thread. A copy counts its reads and its writes. The arrays are currents [B, 40, 40, 256]: as in a training step, and past any cache.
 */
import { BAND, LISTED } from "../kernels/signatures.ts";
import { Desk, fastestRows, print } from "./desk.ts";
import { limitsOf } from "./limits.ts";

const S = 40, C = 256, WIDE = S + 6;
const BATCHES = [8, 32];

/** What all rows work on: reals x, y, z [B, S, S, C] and one as large as planes with a halo of 3, spike bytes fired by x, lists of them, vectors of C. */
function lay(desk: Desk, B: number) {
  const { k } = desk, P = B * S * S, n = P * C, bands = Math.ceil(P / BAND), blocks = Math.ceil(P / 256);
  const [x, y, z, wide] = [n, n, n, B * WIDE * WIDE * C].map((size) => desk.reals(size));
  const [a, b, c] = [C, C, C].map((size) => desk.reals(size));
  const [s, argmax, partial, rests, squares] = [n, n, 4 * blocks * C, 4 * blocks * C, 4 * blocks * C].map((size) => desk.bytes(size));
  const [events, spans, bandEvents, bandSpans] = [2 * n, 8 * P, 2 * LISTED * bands * C, 8 * bands * C].map((size) => desk.bytes(size));
  k.f32_fire_integer(n, x, s, 1, n, 0.25, 1, 4);
  const fired = new Uint8Array(desk.loaded.memory.buffer, s, n).reduce((sum, byte) => sum + (byte & 15 ? 1 : 0), 0);
  return { k, B, P, n, bands, blocks, x, y, z, wide, a, b, c, s, events, spans, bandEvents, bandSpans, argmax, partial, rests, squares, fired };
}
type Arrays = ReturnType<typeof lay>;

interface Row {
  name: string;
  /** Bytes read and written. */
  bytes(on: Arrays): number;
  /** Bytes of the arrays, where some are both read and written. */
  set?(on: Arrays): number;
  run(on: Arrays): void;
}

const reals = (arrays: number) => ({ n }: Arrays): number => 4 * n * arrays;

const ROWS: Row[] = [
  { name: "f32_copy", bytes: reals(2), run: ({ k, n, x, y }) => k.f32_copy(n, x, y) },
  { name: "f32_scale", bytes: reals(2), run: ({ k, n, x, y }) => k.f32_scale(n, x, y, 0.5) },
  { name: "f32_add", bytes: reals(3), run: ({ k, n, x, y, z }) => k.f32_add(n, x, y, z) },
  { name: "f32_sigmoid", bytes: reals(2), run: ({ k, n, x, y }) => k.f32_sigmoid(n, x, y) },
  { name: "f32_copy_columns", bytes: reals(1), run: ({ k, P, x, y }) => k.f32_copy_columns(P, x, C, y, C, C / 2) },
  { name: "f32_affine_row", bytes: reals(2), run: ({ k, P, x, y, a, b }) => k.f32_affine_row(P, x, a, b, y, C) },
  { name: "f32_column_sums", bytes: reals(1), run: ({ k, P, blocks, x, partial }) => k.f32_column_sums(blocks, x, partial, P, C, C) },
  { name: "f32_column_moments", bytes: reals(1), run: ({ k, P, blocks, x, partial, rests, squares }) => k.f32_column_moments(blocks, x, partial, rests, squares, P, C) },
  { name: "f32_column_dots", bytes: reals(2), run: ({ k, P, blocks, x, y, a, partial, rests }) => k.f32_column_dots(blocks, x, a, y, partial, rests, P, C) },
  { name: "f32_norm_backward", bytes: reals(3), run: ({ k, P, x, y, z, a, b, c }) => k.f32_norm_backward(P, x, y, a, b, c, z, C) },
  { name: "f32_sgd", bytes: reals(5), set: reals(3), run: ({ k, n, x, y, z }) => k.f32_sgd(n, x, y, z, 1e-6, 0.9, 1e-4, 1, 1) },
  { name: "f32_ema", bytes: reals(3), set: reals(2), run: ({ k, n, x, y }) => k.f32_ema(n, x, y, 0.99) },
  { name: "f32_maxpool 5x5", bytes: ({ n }) => 9 * n, run: ({ k, B, x, y, argmax }) => k.f32_maxpool(B * S, x, y, argmax, S, S, C, S, S, 5, 1, 2) },
  { name: "f32_upsample_nearest", bytes: reals(1.25), run: ({ k, B, x, y }) => k.f32_upsample_nearest((B / 4) * S * 2, x, y, S, S, C, 2) },
  { name: "f32_upsample_nearest_backward", bytes: reals(1.25), run: ({ k, B, x, y }) => k.f32_upsample_nearest_backward((B / 4) * S, x, y, S, S, C, 2) },
  { name: "f32_fire_integer", bytes: ({ n }) => 5 * n, run: ({ k, n, x, s }) => k.f32_fire_integer(n, x, s, 1, n, 0.25, 1, 4) },
  { name: "f32_norm_fire_integer, sum kept", bytes: ({ n }) => 13 * n,
    run: ({ k, P, x, y, z, a, b, s }) => k.f32_norm_fire_integer(Math.ceil(P / 64), x, a, b, y, z, s, 0, 0, 1, P, C, 0.25, 1, 4) },
  { name: "f32_fire_integer_backward", bytes: ({ n }) => 9 * n, run: ({ k, n, s, y, z }) => k.f32_fire_integer_backward(n, s, y, z, 1, n, 0.25, 1) },
  { name: "spikes_to_f32", bytes: ({ n }) => 5 * n, run: ({ k, n, s, y }) => k.spikes_to_f32(n, s, y) },
  { name: "spike_events", bytes: ({ n, P, fired }) => n + 2 * fired + 8 * P, run: ({ k, P, s, events, spans }) => k.spike_events(Math.ceil(P / 64), s, events, spans, P, C) },
  { name: "spike_channel_events", bytes: ({ n, fired, bands }) => n + 2 * fired + 8 * bands * C,
    run: ({ k, B, bands, s, bandEvents, bandSpans }) => k.spike_channel_events(bands, s, bandEvents, bandSpans, B, S, S, C, S, S, 1, 0, 0) },
  { name: "spike_gradient_blocks", bytes: reals(2), run: ({ k, B, x, y }) => k.spike_gradient_blocks(B * S, x, y, B, S, S, C, S, S, 0, 0) },
  { name: "nc4_pack, halo 3", bytes: ({ B, n }) => 4 * (n + B * WIDE * WIDE * C),
    run: ({ k, B, x, wide }) => k.nc4_pack((B * C) / 4, x, wide, S, S, C, WIDE, WIDE, 3, 3, 1) },
  { name: "nc4_pack_spikes, halo 3", bytes: ({ B, n }) => n + 4 * B * WIDE * WIDE * C,
    run: ({ k, B, s, wide }) => k.nc4_pack_spikes((B * C) / 4, s, wide, S, S, C, WIDE, WIDE, 3, 3, 1) },
];

export async function run(): Promise<unknown> {
  const results: { name: string; B: number; setMB: number; rate: number; copy: number; share: number }[] = [];
  for (const B of BATCHES) {
    const desk = await Desk.of({ threads: 1 }), on = lay(desk, B), { copy } = await limitsOf(desk.loaded.build, desk.loaded.memory);
    const halves = ROWS.map(({ bytes, set = bytes }) => Math.floor(set(on) / 128) * 64);
    const times = fastestRows(ROWS.map(({ run }, i) => ({ copy: () => copy(on.x + halves[i], on.x, halves[i]), kernel: () => run(on) })), 3);
    ROWS.forEach(({ name, bytes }, i) => {
      const rate = bytes(on) / times[i].kernel / 1e6, limit = (2 * halves[i]) / times[i].copy / 1e6;
      results.push({ name, B, setMB: (2 * halves[i]) / 1e6, rate, copy: limit, share: rate / limit });
    });
  }
  print(["GB/s", "batch", "set, MB", "kernel", "copy", "share of copy"],
    results.map(({ name, B, setMB, rate, copy, share }) => [name, String(B), setMB, rate, copy, share]));
  return results;
}
