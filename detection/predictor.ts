/** From images to detections, in each of the forms in which one trained network runs. */
import { noGrad, observeKernels, scope, Spikes, withSpikePath, type SpikePath } from "../engine/index.ts";
import { fold, milliseconds, observeConvolutions, readByChains, type Cost } from "../nn/index.ts";
import { PICOJOULE_PER_ACCUMULATE, PICOJOULE_PER_MAC } from "./energy.ts";
import { nonMaxSuppression, predictionNms, type Detection, type NmsOptions } from "./nms.ts";
import type { Detector } from "./detector.ts";
import type { DetectorInput } from "./spikeyolo.ts";

/**
 * How spikes are convolved at inference:
 *
 *   real      as in validation: float32 sums, dense or sparse
 *   integer   exact int32 sums, the integers of the neurons as multipliers
 *   binary    exact int32 sums over T x D timesteps of 0/1 spikes: sparse additions only
 *
 * `integer` and `binary` give the same bits: both are sums of the same weights on a power-of-two grid. Their membranes step T times, not T x D: the D steps
 * of one timestep are summed first, and what is there once per timestep (the power of two that ends an exact sum, biases, norms, the neuron) follows the sum.
 *
 * Folded, only the first convolution of the network multiplies, as it reads the picture. In factors, a RepConv and a SepRepConv accumulate
 * in their first 1x1 alone, the one that reads spikes; what follows reads its sums, which are reals, and multiplies: the depthwise 3x3 of
 * both, the second 1x1 of a RepConv, its inner norm, and the border that its padding takes from that norm (of a SepRepConv, the border's 1x1). Those run once per
 * timestep, by the same kernels on the same bits in either form, so the forms stay equal to the last bit. `kernelList` shows it.
 */
export type InferenceForm = "real" | "integer" | "binary";
const PATHS: Record<InferenceForm, SpikePath> = { real: "auto", integer: "integer", binary: "binary" };

export interface PredictOptions { readonly form?: InferenceForm; readonly nms?: NmsOptions }

/** Detections of each image of the batch, in pixels of the network's image, most confident first. The model is used in eval mode. */
export function predict(model: Detector, images: DetectorInput, { form = "real", nms = predictionNms }: PredictOptions = {}): Detection[][] {
  return evaluating(model, form, () => {
    const decoded = model.detect(images);
    return nonMaxSuppression(decoded.data, decoded.shape as [number, number, number], nms);
  });
}

/** One convolution as a form runs it. */
export interface KernelRow {
  /** Its path in the model; with " (border)" behind it, the padding of a folded norm, a convolution of one pixel. */
  readonly name: string;
  readonly reads: "spikes" | "reals";
  /** Such as "binary 3x3". */
  readonly kernel: string;
  /** Whether it multiplies weights by what it reads. */
  readonly multiplies: boolean;
}

/** The convolutions of a form in the order in which they run on these images. */
export function kernelList(model: Detector, images: DetectorInput, { form = "real" }: Pick<PredictOptions, "form"> = {}): KernelRow[] {
  const names = new Map(model.namedModules().map(([name, module]) => [module, name] as const)), rows: KernelRow[] = [], ran: string[] = [];
  const row = (name: string, reads: KernelRow["reads"], kernel: string): void => { rows.push({ name, reads, kernel, multiplies: reads === "reals" || !kernel.startsWith("binary ") }); };
  evaluating(model, form, () => observeKernels(({ kernel }) => ran.push(kernel), () => observeConvolutions((layer, x) => {
    const name = names.get(layer) ?? "?", [kernel, ...before] = ran.splice(0).reverse();
    for (const border of before.reverse()) row(`${name} (border)`, "reals", border);
    row(name, x instanceof Spikes ? "spikes" : "reals", kernel);
  }, () => model.detect(images))));
  return rows;
}

/** `auto` folds where it costs less. */
export type Folding = "auto" | "all" | "none";

/** The cost in energy (energy.ts): an accumulation for each unit of each spike, a multiply-accumulate for each real. */
export const picojoules: Cost = ({ kind, reads, macs }, { rate }) => (kind === "rows" ? 0 : macs * (reads === "spikes" ? rate * PICOJOULE_PER_ACCUMULATE : PICOJOULE_PER_MAC));

/**
 * Folds the RepConvs of a trained network for a form, all or those of which these images say that it costs less, and unfolds the others; gives the
 * paths of the folded ones. The cost is time on this machine (so the last bits of what follows may differ from one machine to the next), unless another is given.
 */
export function foldFor(model: Detector, images: DetectorInput, { folding = "auto", form = "real", cost }: { folding?: Folding; form?: InferenceForm; cost?: Cost } = {}): string[] {
  if (folding !== "auto") return fold(model, { where: folding === "all" ? "all" : [] });
  return fold(model, { where: "cheaper", spikes: evaluating(model, form, () => readByChains(model, () => model.detect(images))), cost: cost ?? milliseconds(form) });
}

/** Runs in eval mode without gradients, spikes convolved as the form has it. */
function evaluating<R>(model: Detector, form: InferenceForm, run: () => R): R {
  const { training } = model;
  model.eval();
  try {
    return scope(() => noGrad(() => withSpikePath(PATHS[form], run)));
  } finally {
    model.train(training);
  }
}

/** How many detections of either list have no equal in the other: class, score and corners, to the last bit. */
export function countDifferences(a: readonly Detection[], b: readonly Detection[]): number {
  const keys = ({ x1, y1, x2, y2, score, class: c }: Detection): string => [x1, y1, x2, y2, score, c].join();
  const left = new Map<string, number>();
  for (const detection of a) left.set(keys(detection), (left.get(keys(detection)) ?? 0) + 1);
  let unmatched = 0;
  for (const detection of b) {
    const n = left.get(keys(detection)) ?? 0;
    if (n === 0) unmatched++;
    else left.set(keys(detection), n - 1);
  }
  for (const n of left.values()) unmatched += n;
  return unmatched;
}
