/** What a second thread is worth: two hosts in one process, in turns. The workers of the one sleep while the other runs. */
import { loadKernels, withHost } from "../engine/index.ts";
import { spikeYOLO } from "../detection/index.ts";
import { dense, depthwise, describe, describeDepthwise, sparse, type Shape } from "./convolutions.ts";
import { Desk, fastest, fastestRows, print } from "./desk.ts";
import { trainingStep } from "./step.ts";

const SHAPE: Shape = { B: 1, S: 40, C: 256, N: 256, k: 3 }, LARGE: Shape = { ...SHAPE, k: 7 };
/** Whole training steps: of the small default network, of which more is JavaScript, and of a published size. */
const STEPS = [{ size: "tiny", batch: 8, side: 128, turns: 20 }, { size: "n", batch: 2, side: 320, turns: 3 }] as const;

interface Row { name: string; on(desk: Desk): () => unknown }

const ROWS: Row[] = [
  { name: `${describe(SHAPE)}, forward`, on: (desk) => dense(desk, SHAPE).forward },
  { name: `${describe(SHAPE)}, dX`, on: (desk) => dense(desk, SHAPE).inputGradient },
  { name: `${describe(SHAPE)}, dW`, on: (desk) => dense(desk, SHAPE).weightGradient },
  { name: `${describe(SHAPE)}, 10 % spikes, forward`, on: (desk) => sparse(desk, SHAPE, 0.1).forward },
  { name: `${describe(SHAPE)}, 10 % spikes, dW`, on: (desk) => sparse(desk, SHAPE, 0.1).weightGradient },
  { name: `${describeDepthwise(LARGE)}, forward`, on: (desk) => depthwise(desk, LARGE).forward },
  { name: `${describeDepthwise(LARGE)}, dW`, on: (desk) => depthwise(desk, LARGE).weightGradient },
];

export async function run(): Promise<unknown> {
  const results: { name: string; one: number; two: number }[] = [];
  const [single, double] = [await Desk.of({ threads: 1 }), await Desk.of({ threads: 2 })];
  const times = fastestRows(ROWS.map(({ on }) => ({ one: on(single), two: on(double) })));
  ROWS.forEach(({ name }, i) => results.push({ name, ...times[i] }));
  await double.loaded.stop();

  for (const { size, batch, side, turns } of STEPS) {
    const [one, two] = await Promise.all([1, 2].map(async (threads) => {
      const host = await loadKernels({ threads }), step = withHost(host, () => trainingStep(spikeYOLO[size], batch, side));
      return { host, step: () => withHost(host, () => step("auto")) };
    }));
    results.push({ name: `training step, ${size}, ${batch} of ${side} x ${side}`, ...fastest({ one: one.step, two: two.step }, turns) });
    await Promise.all([one, two].map(({ host }) => host.stop()));
  }

  print(["ms", "one thread", "two", "times"], results.map(({ name, one, two }) => [name, one, two, one / two]));
  return results;
}
