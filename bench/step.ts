/** A training step of the default network, sparse as dispatched against forced dense, on one thread and on all. */
import { backward, loadKernels, Random, scope, withSpikePath, type SpikePath } from "../engine/index.ts";
import { detectionLoss, SpikeYOLO, spikeYOLO } from "../detection/index.ts";
import { fastest, print } from "./desk.ts";

export async function run(): Promise<unknown> {
  const results = [], random = new Random(1), B = 8, S = 128;
  const images = { shape: [B, S, S, 3], data: Float32Array.from({ length: B * S * S * 3 }, () => random.uniform()) };
  const boxes = { image: Int32Array.from([0, 3, 5]), class: Int32Array.from([0, 1, 2]), xywh: Float32Array.from([0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.6, 0.6, 0.5, 0.3]) };
  for (const threads of [1, 2]) {
    const host = await loadKernels({ threads }), model = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 3 });
    const step = (path: SpikePath) => () => withSpikePath(path, () => scope(() => backward(detectionLoss(model.forward(images), boxes).total)));
    results.push({ threads, ...fastest({ auto: step("auto"), dense: step("dense") }), peakMB: host.memory.peak / 1e6 });
    await host.stop();
  }
  print(["threads", "sparse ms", "dense ms", "times", "images/s", "peak MB"], results.map(({ threads, auto, dense, peakMB }) => [String(threads), auto, dense, dense / auto, (1000 * B) / auto, peakMB]));
  return results;
}
