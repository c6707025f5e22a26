/**
 * SpikeYOLO-n with about 30 % of its spikes not zero, as a trained network has it: the forward pass at 640 x 640 by each way of convolving spikes, in turns,
 * and a training step at 320 x 320.
 *
 * The densities are set, not assumed: running statistics are taken from the very picture, then the bias of the norm before each neuron is moved until
 * the convolution behind it meets that density; what they came to is measured and printed. Batch norm keeps those of the training step near it.
 */
import { loadKernels, noGrad, scope, Spikes, withKernels, type Tensor } from "../engine/index.ts";
import { SpikeYOLO, spikeYOLO } from "../detection/index.ts";
import { observeConvolutions } from "../nn/index.ts";
import { fastest, print } from "./desk.ts";
import { noise, trainingStep, WAYS, type Way } from "./step.ts";

const DENSITY = 0.3, PASSES = 8;

export async function run(): Promise<unknown> {
  const results = [];
  for (const threads of [1, 2]) {
    const host = await loadKernels({ threads }), picture = noise(1, 640);
    const model = new SpikeYOLO({ ...spikeYOLO.n, classes: 80, T: 1, D: 4, norm: { eps: 1e-3, momentum: 1 } });
    const densities = settle(model, () => model.forward(picture));
    console.log(`densities that convolutions of spikes meet: ${Object.entries(densities).map(([which, density]) => `${which} ${density.toFixed(2)}`).join(", ")}`);
    const forward = (way: Way) => withKernels(WAYS[way], () => scope(() => noGrad(() => { model.forward(picture); })));
    results.push({ name: "forward, 640 x 640", threads, ...densities, ...byPath(forward, 4) });
    results.push({ name: "training step, 2 of 320 x 320", threads, ...byPath(trainingStep(spikeYOLO.n, 2, 320), 3), peakMB: host.memory.peak / 1e6 });
    await host.stop();
  }
  print(["ms", "threads", "as dispatched", "all sparse", "all dense", "times"],
    results.map(({ name, threads, auto, sparse, dense }) => [name, String(threads), auto, sparse, dense, dense / auto]));
  return results;
}

const byPath = (run: (way: Way) => void, turns: number): Record<"auto" | "sparse" | "dense", number> =>
  fastest({ auto: () => run("auto"), sparse: () => run("sparse"), dense: () => run("dense") }, turns);

/** Density of what the convolutions of spikes read: least, mean and largest over the layers, after the biases were moved. */
export function settle(model: SpikeYOLO, forward: () => unknown): { least: number; mean: number; most: number } {
  model.train();
  for (let pass = 0; pass < PASSES; pass++) scope(() => move(firings(forward)));
  scope(() => noGrad(forward)); // running statistics of the network as it is now
  model.eval();
  const densities = noGrad(() => scope(() => firings(forward).map((s) => s.statistics().density)));
  return { least: Math.min(...densities), mean: densities.reduce((a, b) => a + b) / densities.length, most: Math.max(...densities) };
}

/** Spikes that convolutions read in one forward pass. */
function firings(forward: () => unknown): Spikes[] {
  const seen: Spikes[] = [];
  observeConvolutions((_, x) => { if (x instanceof Spikes) { x.statistics(); seen.push(x); } }, forward);
  return seen;
}

/** One Newton step for each norm: a normal current of variance 1 gains density by 0.35 per unit of bias where it crosses one half. */
function move(read: readonly Spikes[]): void {
  const changes = new Map(read.map((s) => [biasBehind(s), (DENSITY - s.statistics().density) / 0.35]));
  for (const [bias, change] of changes) bias.data.forEach((b, c, all) => { all[c] = b + change; });
}

/** The bias of the norm nearest to the neuron that fired. */
function biasBehind(s: Spikes): Tensor {
  const nodes = [s.node];
  for (const node of nodes) {
    if (node?.spec.name === "batchNorm") return node.inputs[2] as Tensor;
    nodes.push(...(node?.inputs ?? []).map((input) => input?.node));
  }
  throw new Error("bench: spikes with no norm behind them");
}
