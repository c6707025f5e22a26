import { afterEach, expect, test } from "vitest";
import { SNNYOLOv3, snnYOLOv3, SpikeYOLO, spikeYOLO, type Detector } from "../../detection/index.ts";
import { backward, loadKernels, Random, scope, type Host, type Kept } from "../../engine/index.ts";

let host: Host | undefined;
afterEach(() => host?.stop());

const random = new Random(9);
const images = { shape: [2, 64, 64, 3], data: Float32Array.from({ length: 2 * 64 * 64 * 3 }, () => random.uniform()) };
const boxes = { image: Int32Array.of(0, 1), class: Int32Array.of(0, 1), xywh: Float32Array.of(0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.3, 0.3) };

interface Left { losses: number[]; gradients: Map<string, number[]>; statistics: Map<string, number[]>; kept: number }

interface Saving { checkpointing?: boolean; activations?: Kept }
const nets = {
  SpikeYOLO: (T: number, saving: Saving): Detector => new SpikeYOLO({ ...spikeYOLO.small, classes: 2, T, ...saving }),
  "SNN-YOLOv3": (T: number, saving: Saving): Detector => new SNNYOLOv3({ ...snnYOLOv3.small, classes: 2, T, ...saving }),
  "SNN-YOLOv3 with a pyramid and a hard reset": (T: number, saving: Saving): Detector => new SNNYOLOv3({ ...snnYOLOv3.released, width: 0.125, depth: [1, 2, 1, 1, 1], classes: 2, T, ...saving }),
};
type Net = keyof typeof nets;

/** Two steps without an optimiser between them, so that gradients add up and running statistics move twice. */
async function steps(saving: Saving, options: { net?: Net; T: number; threads: number }): Promise<Left> {
  host = await loadKernels({ threads: options.threads, dispatch: "fixed" });
  const model = nets[options.net ?? "SpikeYOLO"](options.T, saving), losses: number[] = [];
  let kept = 0;
  for (let step = 0; step < 2; step++) {
    scope(() => {
      const before = host!.memory.inUse, prediction = model.forward(images);
      kept = host!.memory.inUse - before;
      const { total } = model.loss(prediction, boxes);
      backward(total);
      losses.push(total.item());
    });
  }
  const gradients = new Map(model.namedParameters().filter(([, { grad }]) => grad).map(([name, { grad }]) => [name, Array.from(grad!.data)] as const));
  const statistics = new Map(model.namedBuffers().map(([name, { data }]) => [name, Array.from(data)] as const));
  await host.stop();
  return { losses, gradients, statistics, kept };
}

const runs: { net: Net; T: number; threads: number }[] = [
  { net: "SpikeYOLO", T: 1, threads: 1 }, { net: "SpikeYOLO", T: 2, threads: 2 }, { net: "SNN-YOLOv3", T: 1, threads: 1 }, { net: "SNN-YOLOv3", T: 4, threads: 2 },
  { net: "SNN-YOLOv3 with a pyramid and a hard reset", T: 3, threads: 1 },
];
test.each(runs)("blocks that run again leave the same losses, gradients and running statistics, to the bit: %o", async (options) => {
  const all = await steps({}, options), again = await steps({ checkpointing: true }, options);
  expect(again.losses).toEqual(all.losses);
  expect([...again.gradients.keys()]).toEqual([...all.gradients.keys()]);
  for (const [name, gradient] of all.gradients) expect(again.gradients.get(name), name).toEqual(gradient);
  for (const [name, values] of all.statistics) expect(again.statistics.get(name), name).toEqual(values);
  expect(again.kept).toBeLessThan(0.5 * all.kept);
});

const cosine = (a: readonly number[], b: readonly number[]): number => {
  const dot = (x: readonly number[], y: readonly number[]): number => x.reduce((sum, value, i) => sum + value * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

test("outputs kept in sixteen bits leave the same losses and nearly the same gradients, in less memory", async () => {
  const options = { T: 1, threads: 1 }, whole = await steps({}, options), half = await steps({ activations: "f16" }, options);
  expect(half.losses).toEqual(whole.losses);
  expect(half.statistics).toEqual(whole.statistics);
  const [a, b] = [whole, half].map(({ gradients }) => [...gradients.values()].flat());
  expect(a).not.toEqual(b);
  expect(cosine(a, b)).toBeGreaterThan(0.9999);
  expect(half.kept).toBeLessThan(0.7 * whole.kept);
  const again = await steps({ activations: "f16", checkpointing: true }, options);
  expect(again.gradients).toEqual(half.gradients);
}, 120_000);
