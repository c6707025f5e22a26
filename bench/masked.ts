/** What closed windows are worth: the input gradient of 1x1 convolutions for open ones alone, against the dense product, over shares of open windows. One thread, weights packed in both. */
import { Random } from "../engine/random.ts";
import { Desk, fastest, print } from "./desk.ts";

const SHAPES = [{ S: 40, C: 256, N: 512 }, { S: 40, C: 64, N: 64 }, { S: 40, C: 64, N: 256 }, { S: 20, C: 256, N: 64 }, { S: 64, C: 16, N: 32 }];
const OPEN = [0.1, 0.3, 0.5, 0.7];

export async function run(): Promise<unknown> {
  const results = [];
  for (const { S, C, N } of SHAPES) {
    const desk = await Desk.of({ threads: 1 }), { k } = desk, random = new Random(1), P = S * S;
    const [w, dy, dx, packed, wt] = [desk.reals(N * C), desk.reals(P * N), desk.reals(P * C), desk.reals(N * C), desk.reals(N * C)];
    for (const open of OPEN) {
      const s = desk.bytes(P * C), bytes = new Uint8Array(desk.loaded.memory.buffer, s, P * C);
      for (let i = 0; i < bytes.length; i++) bytes[i] = random.uniform() < open ? 16 : 0;
      const ms = fastest({
        dense: () => { k.conv_pack_transposed(Math.ceil(C / 8), w, packed, N, 1, C); k.f32_gemm(P, dy, N, N, packed, 0, dx, C, C); },
        masked: () => { k.conv_unpack_weight_grad(C, w, wt, C, N); k.f32_gemm_masked(P, s, dy, wt, dx, C, N); },
      }, 21);
      results.push({ name: `1x1 ${C}->${N} @${S}`, open, ...ms });
    }
  }
  print(["dX, ms", "open", "dense", "masked", "times"], results.map(({ name, open, dense, masked }) => [name, `${100 * open} %`, dense, masked, dense / masked]));
  return results;
}
