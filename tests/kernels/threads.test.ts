/** Several threads on one memory: the same bits for any number of them, in a whole training step. */
import { createHash } from "node:crypto";
import { afterAll, describe, expect, test } from "vitest";
import { backward, loadKernels, Random, scope, type Host } from "../../engine/index.ts";
import { detectionLoss, SpikeYOLO, spikeYOLO } from "../../detection/index.ts";

const images = { shape: [4, 96, 96, 3], data: Float32Array.from({ length: 4 * 96 * 96 * 3 }, (_, i) => ((i * 2654435761) >>> 8) / 16777216) };
const boxes = { image: Int32Array.from([0, 1, 3]), class: Int32Array.from([0, 1, 2]), xywh: Float32Array.from([0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.6, 0.6, 0.5, 0.3]) };

describe("threads", () => {
  const hosts: Host[] = [];
  afterAll(() => Promise.all(hosts.map((host) => host.stop())));

  async function gradients(threads: number): Promise<string> {
    const host = await loadKernels({ build: "simd", threads });
    hosts.push(host);
    expect(host.threads).toBe(threads);
    const model = new SpikeYOLO({ ...spikeYOLO.small, classes: 3 });
    for (let step = 0; step < 2; step++) scope(() => backward(detectionLoss(model.forward(images), boxes).total));
    const hash = createHash("sha256");
    for (const parameter of model.parameters()) if (parameter.grad) hash.update(Uint8Array.from(new Uint8Array(parameter.grad.data.slice().buffer)));
    return hash.digest("hex");
  }

  test("a training step gives the same gradients, to the bit, on 1, 2 and 3 threads", async () => {
    const alone = await gradients(1);
    expect(await gradients(2)).toBe(alone);
    expect(await gradients(3)).toBe(alone);
  }, 120_000);

  test("workers that have gone to sleep are woken for the next task", async () => {
    const host = await loadKernels({ threads: 2 });
    hosts.push(host);
    const n = 1 << 20, random = new Random(1), { memory, kernels } = host;
    const [x, y] = [memory.persistent(4 * n), memory.persistent(4 * n)];
    new Float32Array(memory.wasm.buffer, x, n).forEach((_, i, all) => { all[i] = random.uniform(); });
    for (let round = 0; round < 20; round++) {
      if (round % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 20)); // far longer than workers spin
      new Float32Array(memory.wasm.buffer, y, n).fill(0);
      kernels.f32_scale(n, x, y, round);
      const [X, Y] = [new Float32Array(memory.wasm.buffer, x, n), new Float32Array(memory.wasm.buffer, y, n)];
      expect(Y.every((value, i) => value === Math.fround(X[i] * round))).toBe(true);
    }
  });

  test("a number of threads that is none is refused", async () => {
    await expect(loadKernels({ threads: 0 })).rejects.toThrow("threads must be a whole number from 1 to 64, got 0");
  });
});
