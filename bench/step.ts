/** A training step of the default network, at initialisation or (`weights=RUN`) trained, sparse as dispatched against forced dense, on one thread and on two. */
import { backward, loadKernels, noGrad, Random, scope, Spikes, withKernels, type KernelChoice } from "../engine/index.ts";
import { observeConvolutions } from "../nn/index.ts";
import { inOrder, openSplit } from "../cli/data.ts";
import { modelOf, readRun } from "../cli/saved-run.ts";
import { UserError } from "../cli/user-error.ts";
import { detectionLoss, SpikeYOLO, spikeYOLO, type SpikeYOLOSize } from "../detection/index.ts";
import { fastest, print } from "./desk.ts";

/** Pictures of noise, B of S x S. */
export function noise(B: number, S: number): { shape: number[]; data: Float32Array } {
  const random = new Random(1);
  return { shape: [B, S, S, 3], data: Float32Array.from({ length: B * S * S * 3 }, () => random.uniform()) };
}

/** Kernels as they are dispatched, gathers alone, or such as gain nothing from zeros and closed windows. */
export const WAYS = { auto: {}, sparse: { forward: "sparse", dw: "sparse" }, dense: { forward: "dense", dx: "whole", dw: "dense" } } as const satisfies Record<string, KernelChoice>;
export type Way = keyof typeof WAYS;

/** Pairs of steps by either way in turn: a step is long enough for something to come between in most of them. */
const TURNS = 120;

/** Forward, loss and backward of a fresh network on noise, on the host of now. */
export function trainingStep(size: SpikeYOLOSize, B: number, S: number): (way: Way) => void {
  const model = new SpikeYOLO({ ...size, classes: 3 }), images = noise(B, S);
  const boxes = {
    image: Int32Array.from([0, B >> 1, B - 1]), class: Int32Array.from([0, 1, 2]),
    xywh: Float32Array.from([0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.6, 0.6, 0.5, 0.3]),
  };
  return (way) => withKernels(WAYS[way], () => scope(() => backward(detectionLoss(model.forward(images), boxes).total)));
}

/** The same of a trained network on the pictures that it was trained on, which fire less. The optimiser takes no part. */
async function trainedStep(weights: string, batch: number): Promise<{ step: (way: Way) => void; density: number }> {
  const saved = await readRun(weights, "best"), settings = { ...saved.options, batch }, set = await openSplit(settings, "train", { classes: saved.classes });
  const model = modelOf(saved).train();
  for await (const { images, boxes } of inOrder(set, settings)) {
    let size = 0, fired = 0;
    scope(() => observeConvolutions((_, x) => { if (x instanceof Spikes) { size += x.size; fired += x.statistics().density * x.size; } }, () => noGrad(() => model.forward(images))));
    return { step: (way) => withKernels(WAYS[way], () => scope(() => backward(detectionLoss(model.forward(images), boxes).total))), density: fired / size };
  }
  throw new Error(`bench: ${weights} has no pictures to train on`);
}

export async function run([given]: readonly string[] = []): Promise<unknown> {
  const results = [], B = 8, weights = /^weights=(.+)$/.exec(given ?? "")?.[1];
  if (given && !weights) throw new UserError(`bench: step takes weights=RUN, got ${given}`);
  for (const threads of [1, 2]) {
    const host = await loadKernels({ threads });
    const { step, density } = weights ? await trainedStep(weights, B) : { step: trainingStep(spikeYOLO.tiny, B, 128), density: undefined };
    results.push({ threads, density, ...fastest({ auto: () => step("auto"), dense: () => step("dense") }, TURNS), peakMB: host.memory.peak / 1e6 });
    await host.stop();
  }
  if (weights) console.log(`${(100 * results[0].density!).toFixed(0)} % of what convolutions read is not zero`);
  print(["threads", "sparse ms", "dense ms", "times", "images/s", "peak MB"],
    results.map(({ threads, auto, dense, peakMB }) => [String(threads), auto, dense, dense / auto, (1000 * B) / auto, peakMB]));
  return results;
}
