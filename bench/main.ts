/**
 * `npm run bench -- NAME`: prints a table, ends with one line of JSON. What was measured on which machine is kept in RESULTS.md.
 *
 *   ops        GFLOP/s of the dense and depthwise kernels, and their share of the multiply-add peak
 *   memory     GB/s of the kernels that do little with each byte, and their share of a copy
 *   sparsity   spike convolutions against dense ones, over densities, patterns and arithmetics, or on the spikes of a run; bench/sparsity.ts has its options
 *   peers      ours beside onnxruntime-web, TensorFlow.js and, where a python3 has it, PyTorch; the first run installs the first two in bench/peers
 *   threads    two threads against one
 *   step       a training step of the default network, at initialisation or as a run left it: step weights=RUN
 *   model      SpikeYOLO-n: forward and training step, by each way of convolving spikes
 *   network    SpikeYOLO-n and `small` beside eager PyTorch: forward, and forward with backward (network small: that one alone)
 *   bccd       a training run on BCCD beside the log of the reference's: the first iterations from its initial weights, and the epochs of runs=RUN,RUN
 *   yolov3     SNN-YOLOv3 at full size, 416 x 416 in four timesteps: a picture as dispatched and forced dense, and the memory of the process
 *   decoding   SNN-YOLOv3 on embedded pictures: current mean decoding against rate decoding, mAP over epochs
 *   footprint  memory of a training step of SpikeYOLO-n: kept for backward, linear memory, process
 *   winograd   input gradients by Winograd and of strided convolutions, against taps
 *   masked     input gradients of 1x1 convolutions through open windows alone, against the dense product
 *   integers   int8 dense and int16 sparse convolutions against float32
 *   fold       RepConvs in factors and as one convolution: what the cost model says, and the clock
 *   ablation   SpikeYOLO's ablations, each trained from several seeds: ablation quick
 *   metrics    COCO's metrics of 500,000 detections, beside pycocotools where a python3 has it
 *   datasets   drawing, decoding, fitting and varying pictures
 *   loader     the share of time that training waits for pictures, by who reads them
 *
 * Times are minima, and what is compared runs in turns: a shared machine slows down for seconds at a time. Ratios carry over, milliseconds do not. Everything
 * runs in any Node from 20 on: after `npm run build`, `npx -y node@24 dist/bench/main.js ops` measures another one. To compare a change, run the bench before and
 * after it more than once. A new row is one entry in the table of its file.
 */
import { cpus } from "node:os";
import { isForUser } from "../cli/user-error.ts";

/** Every bench by name; each takes the words after its name, and returns what its JSON line holds. */
const BENCHES: Record<string, () => Promise<{ run(args: readonly string[]): Promise<unknown> }>> = {
  ops: () => import("./ops.ts"),
  memory: () => import("./memory.ts"),
  sparsity: () => import("./sparsity.ts"),
  peers: () => import("./peers/main.ts"),
  threads: () => import("./threads.ts"),
  step: () => import("./step.ts"),
  network: () => import("./peers/network.ts"),
  bccd: () => import("./bccd.ts"),
  winograd: () => import("./winograd.ts"),
  masked: () => import("./masked.ts"),
  integers: () => import("./integers.ts"),
  model: () => import("./model.ts"),
  fold: () => import("./fold.ts"),
  ablation: () => import("./ablation.ts"),
  metrics: () => import("./metrics.ts"),
  yolov3: () => import("./yolov3.ts"),
  decoding: () => import("./decoding.ts"),
  footprint: () => import("./footprint.ts"),
  datasets: () => import("./datasets.ts"),
  loader: () => import("./loader.ts"),
};

const [name = "", ...args] = process.argv.slice(2);
if (!Object.hasOwn(BENCHES, name)) {
  console.error(`bench: expected one of ${Object.keys(BENCHES).join(", ")}, got "${name}"`);
  process.exitCode = 2;
} else {
  const { run } = await BENCHES[name]();
  try {
    const results = await run(args);
    console.log(JSON.stringify({ bench: name, node: process.version, cpu: cpus()[0].model, cores: cpus().length, results }));
  } catch (error) {
    if (!isForUser(error)) throw error;
    console.error(error.message);
    process.exitCode = 2;
  }
}
