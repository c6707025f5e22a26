/** The child of footprint.ts: forward and backward of SpikeYOLO-n once in a process of its own, and what that took, as one line of JSON. */
import { detectionLoss, SpikeYOLO, spikeYOLO } from "../detection/index.ts";
import { backward, loadKernels, scope } from "../engine/index.ts";
import { observeConvolutions } from "../nn/index.ts";
import { noise } from "./step.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as { threads: number; B: number; S: number; model?: object };
const { memory, stop } = await loadKernels({ threads: options.threads, dispatch: "fixed" });
const model = new SpikeYOLO({ ...spikeYOLO.n, classes: 80, ...options.model }), parameters = memory.inUse;
const boxes = { image: Int32Array.of(0, options.B - 1), class: Int32Array.of(0, 1), xywh: Float32Array.of(0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2) };
const figures = scope(() => {
  const start = memory.inUse;
  let outputs = 0;
  const { total } = observeConvolutions((_, __, y) => { outputs += y.size; }, () => detectionLoss(model.forward(noise(options.B, options.S)), boxes));
  const kept = memory.inUse - start;
  backward(total);
  return { outputs, kept };
});
const { peak, reserved } = memory;
await stop();
console.log(JSON.stringify({ ...figures, parameters, peak, reserved, rss: process.resourceUsage().maxRSS * 1024 }));
