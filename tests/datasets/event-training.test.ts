/** Events to a trained network, the whole way. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventScenes, type EventBatch } from "../../datasets/index.ts";
import { detectionLoss, SpikeYOLO, spikeYOLO } from "../../detection/index.ts";
import { backward, loadKernels, scope, type Host } from "../../engine/index.ts";
import { ilifGen1, SGD } from "../../nn/index.ts";

let host: Host;
beforeAll(async () => { host = await loadKernels({ threads: 1 }); });
afterAll(() => host.stop());

const camera = { width: 76, height: 60 };
const modelOf = (T: number) => new SpikeYOLO({ ...spikeYOLO.tiny, classes: 2, T, neuron: ilifGen1(4) });

describe("SpikeYOLO with the neurons of its Gen1 release", () => {
  test("learns one batch of event frames", { timeout: 120_000 }, async () => {
    const model = modelOf(2), optimizer = new SGD(model.parameters(), { lr: 0.02, momentum: 0.9, nesterov: true });
    let batch: EventBatch | undefined;
    for await (const first of eventScenes({ size: 2, T: 2, camera }).batches({ batch: 2, imgsz: 64 })) { batch = first; break; }
    const { images, boxes } = batch!, losses: number[] = [];
    expect(images.shape).toEqual([2, 2, 64, 64, 3]);
    for (let step = 0; step < 24; step++) scope(() => {
      const { total } = detectionLoss(model.forward(images), boxes);
      losses.push(total.item());
      backward(total);
      optimizer.step({ clip: 10 });
    });
    expect(losses.every(Number.isFinite)).toBe(true);
    expect(losses.at(-1)!).toBeLessThan(0.85 * losses[0]);
  });
});
