/** What integer weights are worth: int8 dense against float32 dense, int16 sparse against float32 sparse, on the same spikes over densities. One thread. */
import { Desk, fastest, print } from "./desk.ts";

const SHAPES = [
  { name: "3x3 256->256 @40", S: 40, C: 256, N: 256, k: 3 },
  { name: "3x3 64->64 @40", S: 40, C: 64, N: 64, k: 3 },
  { name: "1x1 256->512 @40", S: 40, C: 256, N: 512, k: 1 },
];
const DENSITIES = [0.05, 0.1, 0.3, 0.5];
const D = 4;

export async function run(): Promise<unknown> {
  const results = [];
  for (const { name, S, C, N, k: side } of SHAPES) {
    const desk = await Desk.of({ threads: 1 }), { k } = desk, taps = side * side, P = S * S, size = N * taps * C;
    const [x, w, y] = [desk.reals(P * C), desk.reals(size), desk.reals(P * N)];
    const [dense, sparse, dense8, sparse16] = [desk.reals(size), desk.reals(size), desk.bytes(size), desk.bytes(2 * size)];
    const [table, values, events, spans, sums] = [desk.bytes(4 * taps * P), desk.bytes(P * C), desk.bytes(2 * P * C), desk.bytes(8 * P), desk.bytes(4 * P * N)];
    k.conv_table(taps, table, 1, S, S, S, S, side, 1, side >> 1, 1);
    k.conv_pack(N / 8, w, dense, N, taps, C, 0);
    k.spike_conv_pack(N / 32, w, sparse, N, taps, C, 0);
    k.dot_i8_pack(N / 8, w, dense8, N, taps, C); // the bytes of reals are as good as any
    k.spike_conv_i16_pack(N / 64, w, sparse16, N, taps, C);
    for (const density of DENSITIES) {
      const s = desk.bytes(P * C), rows = side === 1 ? 0 : table;
      k.f32_fire_integer(P * C, desk.currents(P * C, density, D), s, 1, P * C, 0.25, 1, D);
      k.spikes_to_f32(P * C, s, x);
      k.spike_events(Math.ceil(P / 64), s, events, spans, P, C);
      const ms = fastest({
        dense: () => k.f32_conv(P, x, C, rows, P, taps, C, dense, 0, y, N, N),
        dense8: () => { k.spike_values(P * C, s, values); k.dot_i8(P, values, C, rows, P, taps, C, dense8, D, sums, N, N); },
        sparse: () => k.spike_conv(P, events, spans, rows, P, taps, C, sparse, 0, y, N, N),
        sparse16: () => k.spike_conv_i16(P, events, spans, rows, P, taps, C, sparse16, 1, sums, N, N),
        together: () => k.spike_conv_i16(P, events, spans, rows, P, taps, C, sparse16, 3, sums, N, N),
      }, 15);
      results.push({ name, density, build: desk.loaded.build, ...ms });
    }
  }
  print(["ms", "density", "dense f32", "dense i8", "times", "sparse f32", "sparse i16", "times", "3 taps together", "times"], results.map(({ name, density, dense, dense8, sparse, sparse16, together }) =>
    [name, `${100 * density} %`, dense, dense8, dense / dense8, sparse, sparse16, sparse / sparse16, together, sparse / together]));
  return results;
}
