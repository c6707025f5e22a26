/**
 * Dense and depthwise kernels, one thread and two: GFLOP/s (2 per multiply-accumulate), and what share that is of the peak: so many threads times the
 * multiply-adds on registers of one, measured in turns with the kernel.
 */
import { dense, depthwise, depthwiseFlopsOf, describe, describeDepthwise, flopsOf, type DepthwiseShape, type Shape } from "./convolutions.ts";
import { Desk, fastestRows, print } from "./desk.ts";
import { limitsOf } from "./limits.ts";

/** One kernel on one shape: the operations of a run, and the run, laid out on a desk. */
interface Row { name: string; flops: number; on(desk: Desk): () => unknown }

const SHAPES: Shape[] = [
  { B: 1, S: 40, C: 256, N: 256, k: 3 },
  { B: 1, S: 40, C: 256, N: 512, k: 1 },
  { B: 8, S: 32, C: 32, N: 32, k: 3 },
];
const DEPTHWISE: DepthwiseShape[] = [{ B: 1, S: 40, C: 256, k: 3 }, { B: 1, S: 40, C: 256, k: 7 }];

const ROWS: Row[] = [
  ...SHAPES.flatMap((shape) => [
    { name: `${describe(shape)}, forward`, flops: flopsOf(shape), on: (desk: Desk) => dense(desk, shape).forward },
    { name: `${describe(shape)}, dX`, flops: flopsOf(shape), on: (desk: Desk) => dense(desk, shape).inputGradient },
    { name: `${describe(shape)}, dW`, flops: flopsOf(shape), on: (desk: Desk) => dense(desk, shape).weightGradient },
  ]),
  ...DEPTHWISE.flatMap((shape) => [
    { name: `${describeDepthwise(shape)}, forward and dX`, flops: depthwiseFlopsOf(shape), on: (desk: Desk) => depthwise(desk, shape).forward },
    { name: `${describeDepthwise(shape)}, dW`, flops: depthwiseFlopsOf(shape), on: (desk: Desk) => depthwise(desk, shape).weightGradient },
  ]),
];

export async function run(): Promise<unknown> {
  const results: { name: string; threads: number; rate: number; peak: number; share: number }[] = [];
  for (const threads of [1, 2]) {
    const desk = await Desk.of({ threads }), { multiplyAdd, flops: most } = await limitsOf(desk.loaded.build);
    const times = fastestRows(ROWS.map(({ on }) => ({ peak: multiplyAdd, kernel: on(desk) })));
    ROWS.forEach(({ name, flops }, i) => {
      const rate = flops / times[i].kernel / 1e6, limit = (threads * most) / times[i].peak / 1e6;
      results.push({ name, threads, rate, peak: limit, share: rate / limit });
    });
    await desk.loaded.stop();
  }
  print(["GFLOP/s", "threads", "kernel", "peak", "share of peak"], results.map(({ name, threads, rate, peak, share }) => [name, String(threads), rate, peak, share]));
  return results;
}
