/** Layers that stand still: nothing of them moves, all behind them does. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { SpikeYOLO, spikeYOLO } from "../../detection/index.ts";
import { LAYERS } from "../../detection/spikeyolo.ts";
import { backward, loadKernels, Random, scope, type Host } from "../../engine/index.ts";
import { restore, SGD, tensorsOf } from "../../nn/index.ts";

let host: Host;
beforeAll(async () => { host = await loadKernels({ threads: 1 }); });
afterAll(() => host.stop());

const random = new Random(4), images = { shape: [2, 64, 64, 3], data: Float32Array.from({ length: 2 * 64 * 64 * 3 }, () => random.uniform()) };
const boxes = { image: Int32Array.of(0, 1), class: Int32Array.of(0, 1), xywh: Float32Array.of(0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.3, 0.3) };

/** Three steps; what moved of weights and statistics, by stage, and what the last forward pass kept. */
function moved(freeze: number): { stages: Map<string, { moved: number; stood: number }>; kept: number } {
  const config = { ...spikeYOLO.tiny, classes: 2, norm: { eps: 1e-3, momentum: 1 } }, awake = new SpikeYOLO(config), model = new SpikeYOLO({ ...config, freeze });
  scope(() => awake.forward(images)); // statistics of these pictures, without which layers that stand still are silent
  restore(model, tensorsOf(awake));
  const optimizer = new SGD(model.parameters(), { lr: 0.01, weightDecay: 0.01 });
  const before = new Map([...tensorsOf(model)].map(([name, { data }]) => [name, data.slice()] as const));
  let kept = 0;
  for (let step = 0; step < 3; step++) {
    model.train();
    scope(() => {
      const start = host.memory.inUse, prediction = model.forward(images);
      kept = host.memory.inUse - start;
      backward(model.loss(prediction, boxes).total);
    });
    optimizer.step();
  }
  const stages = new Map<string, { moved: number; stood: number }>();
  for (const [name, { data }] of tensorsOf(model)) {
    const stage = name.split(".")[0], count = stages.get(stage) ?? { moved: 0, stood: 0 };
    count[before.get(name)!.every((value, i) => value === data[i]) ? "stood" : "moved"]++;
    stages.set(stage, count);
  }
  return { stages, kept };
}

test("the first layers of the reference's numbering keep weights and statistics to the bit, the others train", () => {
  const all = moved(0), backbone = moved(10);
  for (const [stage, count] of backbone.stages) {
    const layer = LAYERS[stage as keyof typeof LAYERS];
    if (layer < 10) expect(count, stage).toEqual({ moved: 0, stood: all.stages.get(stage)!.moved + all.stages.get(stage)!.stood });
    else expect(count, stage).toEqual(all.stages.get(stage));
  }
  expect(backbone.stages.get("stem")!.stood).toBeGreaterThan(0);
  expect(all.stages.get("stem")!.moved).toBeGreaterThan(0);
  expect(backbone.kept).toBeLessThan(0.6 * all.kept);
});

test("before the head everything can stand still", () => {
  expect([...moved(26).stages].filter(([, { moved }]) => moved > 0).map(([stage]) => stage)).toEqual(["head"]);
});
