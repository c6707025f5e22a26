/** What sparsity is worth: spike convolutions, lists included, against the dense kernel on the same values, over densities. One thread. */
import { Desk, fastest, print } from "./desk.ts";

const SHAPES = [
  { name: "3x3 256->256 @40", S: 40, C: 256, N: 256, k: 3 },
  { name: "3x3 64->64 @40", S: 40, C: 64, N: 64, k: 3 },
  { name: "1x1 256->512 @40", S: 40, C: 256, N: 512, k: 1 },
];
const DENSITIES = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1];

export async function run(): Promise<unknown> {
  const results = [];
  for (const { name, S, C, N, k: side } of SHAPES) {
    const desk = await Desk.of({ threads: 1 }), { k } = desk, taps = side * side, P = S * S, pad = side >> 1, Hp = S + 2 * pad, places = Hp * Hp, bands = Math.ceil(places / 192);
    const [x, w, dy, y, dwt, blocks] = [desk.reals(P * C), desk.reals(N * taps * C), desk.reals(P * N), desk.reals(P * N), desk.reals(N * taps * C), desk.reals(places * N)];
    const [dense, sparse, table] = [desk.reals(N * taps * C), desk.reals(N * taps * C), desk.bytes(4 * taps * P)];
    const [events, spans, bandEvents, bandSpans] = [desk.bytes(2 * P * C), desk.bytes(8 * P), desk.bytes(2 * 192 * bands * C), desk.bytes(8 * bands * C)];
    k.conv_table(taps, table, 1, S, S, S, S, side, 1, pad, 1);
    k.conv_pack(N / 8, w, dense, N, taps, C);
    k.spike_conv_pack(N / 32, w, sparse, N, taps, C);
    for (const density of DENSITIES) {
      const s = desk.spikes(P * C, density);
      const ms = fastest({
        dense: () => { k.spikes_to_f32(P * C, s, x); k.f32_conv(P, x, C, table, P, taps, C, dense, 0, y, N, N); },
        sparse: () => { k.spike_events(Math.ceil(P / 64), s, events, spans, P, C); k.spike_conv(P, events, spans, side === 1 ? 0 : table, P, taps, C, sparse, 0, y, N, N); },
        denseDw: () => { k.spikes_to_f32(P * C, s, x); k.f32_conv_weight_grad(taps * C, x, C, table, P, C, dy, N, N, dwt); },
        sparseDw: () => {
          k.spike_channel_events(bands, s, bandEvents, bandSpans, 1, S, S, C, Hp, Hp);
          k.spike_gradient_blocks(Hp, dy, blocks, 1, S, S, N, Hp, Hp, pad, pad);
          k.spike_weight_grad(C, bandEvents, bandSpans, 0, places, places, taps, side, Hp, C, blocks, dwt, N);
        },
      }, 9);
      results.push({ name, density, ...ms });
    }
  }
  print(["ms", "density", "dense", "sparse", "times", "dense dw", "sparse dw", "times"], results.map(({ name, density, dense, sparse, denseDw, sparseDw }) =>
    [name, `${100 * density} %`, dense, sparse, dense / sparse, denseDw, sparseDw, denseDw / sparseDw]));
  return results;
}
