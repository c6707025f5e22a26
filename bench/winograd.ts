/**
 * The input gradient of 3x3 convolutions by taps and by Winograd, packing and transforming the weights included in both; and of
 * strided convolutions with pixels in order of the picture and in order of their phase, putting them in place included.
 */
import { loadKernels, Random, type Host } from "../engine/index.ts";
import { geometryOf, outputTable, outputTableByPhase, type Geometry } from "../engine/ops/geometry.ts";
import { winograd } from "../engine/ops/winograd.ts";
import { fastest, print } from "./desk.ts";

interface Shape { B: number; S: number; C: number; N: number; k?: number; stride?: number }
const PLAIN: Shape[] = [
  { B: 1, S: 40, C: 256, N: 256 }, { B: 1, S: 80, C: 64, N: 256 }, { B: 8, S: 32, C: 32, N: 32 }, { B: 1, S: 20, C: 256, N: 256 },
  { B: 1, S: 10, C: 512, N: 512 }, { B: 8, S: 10, C: 512, N: 512 }, { B: 1, S: 12, C: 256, N: 256 }, { B: 1, S: 8, C: 256, N: 256 }, { B: 1, S: 8, C: 32, N: 32 },
  { B: 1, S: 64, C: 8, N: 8 }, { B: 1, S: 64, C: 4, N: 16 }, { B: 1, S: 64, C: 16, N: 4 }, { B: 1, S: 64, C: 4, N: 4 },
];
const STRIDED: Shape[] = [
  { B: 1, S: 80, C: 64, N: 128, k: 3, stride: 2 }, { B: 8, S: 32, C: 32, N: 64, k: 3, stride: 2 }, { B: 1, S: 20, C: 256, N: 512, k: 3, stride: 2 },
  { B: 1, S: 80, C: 64, N: 64, k: 7, stride: 2 }, { B: 8, S: 128, C: 3, N: 16, k: 7, stride: 4 }, { B: 1, S: 40, C: 128, N: 256, k: 1, stride: 2 }, { B: 1, S: 64, C: 4, N: 4, k: 3, stride: 2 },
];

export async function run(): Promise<unknown> {
  const rows = [];
  for (const threads of [1, 2]) {
    const host = await loadKernels({ threads });
    for (const shape of PLAIN) {
      const { g, dense, pack, dy, dx, packed } = setup(host, shape), table = outputTable(g);
      const picture = (pointer: number, channels: number) => ({ pointer, B: g.B, H: g.H, W: g.W, channels });
      const ms = fastest({
        before: () => { pack(); dense(table, dx); },
        after: () => host.memory.withWorkspace(() => { pack(); winograd(picture(dy, g.out), packed, true, 0, picture(dx, g.C), 1); }),
      });
      rows.push({ threads, name: nameOf(shape), ...ms });
    }
    for (const shape of STRIDED) {
      const { g, dense, dx } = setup(host, shape), natural = outputTable(g), sorted = host.memory.persistent(4 * g.inputPixels * g.C);
      const ms = fastest({
        before: () => dense(natural, dx),
        after: () => { const { table, places } = outputTableByPhase(g); dense(table, sorted); host.kernels.f32_gather_rows(g.inputPixels, sorted, places, dx, g.C); },
      });
      rows.push({ threads, name: nameOf(shape), ...ms });
    }
    await host.stop();
  }
  print(["dX", "threads", "before, ms", "after, ms", "times"], rows.map(({ name, threads, before, after }) => [name, String(threads), before, after, before / after]));
  return rows;
}

const nameOf = ({ B, S, C, N, k = 3, stride = 1 }: Shape): string => `${k}x${k}${stride > 1 ? `/${stride}` : ""} ${C}->${N} @${S} B${B}`;

function setup({ memory, kernels: k }: Host, { B, S, C, N, k: side = 3, stride = 1 }: Shape) {
  const padding = side >> 1, out = Math.floor((S + 2 * padding - side) / stride) + 1;
  const g: Geometry = geometryOf([B, S, S, C], [N, side, side, C], [B, out, out, N], { stride, padding, dilation: 1, groups: 1 });
  const random = new Random(1), panels = Math.ceil(C / 8);
  const reals = (size: number): number => {
    const pointer = memory.persistent(4 * size), view = new Float32Array(memory.wasm.buffer, pointer, size);
    for (let i = 0; i < size; i++) view[i] = random.uniform(-1, 1);
    return pointer;
  };
  const w = reals(N * g.taps * C), dy = reals(g.outputPixels * N), dx = reals(g.inputPixels * C), packed = reals(8 * panels * g.taps * N);
  const pack = (): void => k.conv_pack_transposed(panels, w, packed, N, g.taps, C);
  const dense = (table: number, to: number): void => k.f32_conv(g.inputPixels, dy, N, table, g.inputPixels, g.taps, N, packed, 0, to, C, C);
  pack();
  return { g, dy, dx, packed, pack, dense };
}
