/** The network as a whole: its sizes and its memory. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { backward, loadKernels, Random, scope, type Host } from "../../engine/index.ts";
import { detectionLoss, SpikeYOLO, spikeYOLO } from "../../detection/index.ts";
import { EMA, SGD } from "../../nn/index.ts";
import { noise } from "./noise.ts";

let host: Host;
beforeAll(async () => { host = await loadKernels({ threads: 1 }); });
afterAll(() => host.stop());


describe("sizes", () => {
  class Counted extends SpikeYOLO { override initialize(): void {} }
  // facts of the public reference at 80 classes; its table says 48.1 and 68.8 M for m and l, which its code does not reach
  test.each([["n", 13_271_632], ["s", 23_153_024], ["m", 47_841_856], ["l", 68_478_400]] as const)("%s has %i parameters at 80 classes", async (size, expected) => {
    host = await loadKernels({ threads: 1 }); // each in a memory of its own
    expect(new Counted({ ...spikeYOLO[size], classes: 80 }).parameterCount).toBe(expected);
  });

  test("small has the parameters of width 0.125 at 3 classes", () => {
    expect(new Counted({ ...spikeYOLO.small, classes: 3 }).parameterCount).toBe(1_749_545);
  });
});

describe("memory", () => {
  test("a training step takes nothing after the first with objects and the first without: in use after step 50 is what it was after step 3", async () => {
    host = await loadKernels({ threads: 1 });
    const model = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 3 }), optimizer = new SGD(model.parameters(), { lr: 0.01, momentum: 0.9, nesterov: true }), ema = new EMA(model);
    const random = new Random(2), marks: { inUse: number; reserved: number }[] = [];
    for (let step = 1; step <= 50; step++) {
      const n = step <= 2 ? 6 : step === 3 ? 0 : random.integer(0, 6); // objects come and go
      const boxes = {
        image: Int32Array.from({ length: n }, () => random.integer(0, 2)), class: Int32Array.from({ length: n }, () => random.integer(0, 3)),
        xywh: Float32Array.from({ length: 4 * n }, (_, i) => (i % 4 < 2 ? random.uniform(0.3, 0.7) : random.uniform(0.2, 0.6))),
      };
      scope(() => backward(detectionLoss(model.forward(noise(2, 64, step)), boxes).total));
      optimizer.step({ clip: 10 });
      ema.update();
      if (step === 3 || step === 50) marks.push({ inUse: host.memory.inUse, reserved: host.memory.reserved });
    }
    expect(marks[1]).toEqual(marks[0]);
  });
});

test("it refuses images whose sides the strides do not divide, and names them", () => {
  const model = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 3 });
  expect(() => scope(() => model.forward(noise(1, 40)))).toThrow("SpikeYOLO: expected images [B, H, W, 3] or a sequence [T, B, H, W, 3] with sides that are multiples of 32, got [1, 40, 40, 3]");
});
