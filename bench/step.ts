/** A training step of the default network, sparse as dispatched against forced dense, on one thread and on two. */
import { backward, loadKernels, Random, scope, withSpikePath, type SpikePath } from "../engine/index.ts";
import { detectionLoss, SpikeYOLO, spikeYOLO, type SpikeYOLOSize } from "../detection/index.ts";
import { fastest, print } from "./desk.ts";

/** Pictures of noise, B of S x S. */
export function noise(B: number, S: number): { shape: number[]; data: Float32Array } {
  const random = new Random(1);
  return { shape: [B, S, S, 3], data: Float32Array.from({ length: B * S * S * 3 }, () => random.uniform()) };
}

/** Forward, loss and backward of a fresh network on noise, on the host of now. */
export function trainingStep(size: SpikeYOLOSize, B: number, S: number): (path: SpikePath) => void {
  const model = new SpikeYOLO({ ...size, classes: 3 }), images = noise(B, S);
  const boxes = {
    image: Int32Array.from([0, B >> 1, B - 1]), class: Int32Array.from([0, 1, 2]),
    xywh: Float32Array.from([0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.6, 0.6, 0.5, 0.3]),
  };
  return (path) => withSpikePath(path, () => scope(() => backward(detectionLoss(model.forward(images), boxes).total)));
}

export async function run(): Promise<unknown> {
  const results = [], B = 8;
  for (const threads of [1, 2]) {
    const host = await loadKernels({ threads }), step = trainingStep(spikeYOLO.tiny, B, 128);
    results.push({ threads, ...fastest({ auto: () => step("auto"), dense: () => step("dense") }), peakMB: host.memory.peak / 1e6 });
    await host.stop();
  }
  print(["threads", "sparse ms", "dense ms", "times", "images/s", "peak MB"],
    results.map(({ threads, auto, dense, peakMB }) => [String(threads), auto, dense, dense / auto, (1000 * B) / auto, peakMB]));
  return results;
}
