/** Dense and depthwise kernels: GFLOP/s (2 per multiply-accumulate), one thread and all. */
import { Desk, fastest, print } from "./desk.ts";

interface Shape { name: string; B: number; S: number; C: number; N: number; k: number }
const SHAPES: Shape[] = [
  { name: "3x3 256->256 @40", B: 1, S: 40, C: 256, N: 256, k: 3 },
  { name: "1x1 256->512 @40", B: 1, S: 40, C: 256, N: 512, k: 1 },
  { name: "3x3 32->32 @32 B8", B: 8, S: 32, C: 32, N: 32, k: 3 },
];

export async function run(): Promise<unknown> {
  const rows = [];
  for (const threads of [1, 2]) {
    const desk = await Desk.of({ threads }), { k } = desk;
    for (const { name, B, S, C, N, k: side } of SHAPES) {
      const taps = side * side, P = B * S * S, pad = side >> 1;
      const [x, w, dy, y, dx] = [desk.reals(P * C), desk.reals(N * taps * C), desk.reals(P * N), desk.reals(P * N), desk.reals(P * C)];
      const [packed, turned, dwt, table, back] = [desk.reals(N * taps * C), desk.reals(N * taps * C), desk.reals(N * taps * C), desk.bytes(4 * taps * P), desk.bytes(4 * taps * P)];
      k.conv_table(taps, table, B, S, S, S, S, side, 1, pad, 1);
      k.conv_table_transposed(taps, back, B, S, S, S, S, side, 1, pad, 1);
      k.conv_pack(Math.ceil(N / 8), w, packed, N, taps, C);
      k.conv_pack_transposed(Math.ceil(C / 8), w, turned, N, taps, C);
      const ms = fastest({
        forward: () => k.f32_conv(P, x, C, table, P, taps, C, packed, 0, y, N, N),
        dx: () => k.f32_conv(P, dy, N, back, P, taps, N, turned, 0, dx, C, C),
        dw: () => k.f32_conv_weight_grad(taps * C, x, C, table, P, C, dy, N, N, dwt),
      });
      const rate = (time: number): number => (2 * P * taps * C * N) / time / 1e6;
      rows.push({ name, threads, forward: rate(ms.forward), dx: rate(ms.dx), dw: rate(ms.dw) });
    }
    for (const side of [3, 7]) {
      const S = 40, C = 256, H = S + side - 1, taps = side * side;
      const [x4, w4, dy, y, dw] = [desk.reals(H * H * C), desk.reals(taps * C), desk.reals(S * S * C), desk.reals(S * S * C), desk.reals(taps * C)];
      const ms = fastest({
        forward: () => k.f32_depthwise(C / 4, x4, w4, 0, y, C, H, H, S, S, side, side, 1, 1),
        dw: () => k.f32_depthwise_weight_grad(C / 4, x4, dy, dw, 1, C, H, H, S, S, side, side, 1, 1),
      });
      const rate = (time: number): number => (2 * S * S * taps * C) / time / 1e6;
      rows.push({ name: `depthwise ${side}x${side} 256 @40`, threads, forward: rate(ms.forward), dx: rate(ms.forward), dw: rate(ms.dw) });
    }
    await desk.loaded.stop();
  }
  print(["GFLOP/s", "threads", "forward", "dx", "dw"], rows.map(({ name, threads, forward, dx, dw }) => [name, String(threads), forward, dx, dw]));
  return rows;
}
