/** `spiketrain profile`: what each layer of trained weights does with some pictures, as a table and as JSON. */
import { foldFor, profile, type LayerProfile, type Profile } from "../detection/index.ts";
import { host } from "../engine/index.ts";
import { writeAtomically } from "./atomic-file.ts";
import { inOrder, openSplit } from "./data.ts";
import type { Values } from "./options.ts";
import { foldedSaid } from "./predict.ts";
import type { Progress } from "./progress.ts";
import { modelOf, readRun } from "./saved-run.ts";
import { UserError } from "./user-error.ts";

export async function profileCommand({ weights, split = "val", batch = 1, json, fold = "none", ...other }: Values<"profile">, progress: Progress, signal: AbortSignal): Promise<void> {
  if (weights === undefined) throw new UserError("profile: weights is missing; give weights=RUN_FOLDER or weights=CHECKPOINT");
  const run = await readRun(weights, "best"), settings = { ...run.options, ...other, batch };
  const set = await openSplit(settings, split, { classes: run.classes });
  for await (const { images } of inOrder(set, settings, signal)) {
    const model = modelOf(run);
    if (fold !== "none") progress.say(foldedSaid(foldFor(model, images, { folding: fold }), fold, "these pictures"));
    const result = profile(model, images);
    for (const line of showProfile(result)) progress.say(line);
    if (json !== undefined) {
      const { build, threads, arithmetic } = host();
      await writeAtomically(json, `${JSON.stringify({ data: set.name, images: images.shape, node: process.version, build, threads, arithmetic, ...result }, undefined, 1)}\n`);
      progress.say(`wrote ${json}`);
    }
    return;
  }
  throw new UserError(`profile: ${set.name} has no pictures to show`);
}

const HEAD = ["layer", "in", "out", "rate", "density", "open", "MACs", "synaptic ops", "energy", "kernel", "ms", "dense", "sparse", "kept"];

/** One line a layer, aligned, then the sums. */
export function showProfile({ layers, total }: Profile): string[] {
  const rows = [HEAD, ...layers.map(row), [
    "total", "", "", "", "", "", millions(total.macs), millions(total.synapticOperations), microjoules(total.picojoules.clean), "",
    ms(total.milliseconds.chosen), ms(total.milliseconds.dense), ms(total.milliseconds.sparse), kilobytes(total.bytesKept),
  ]];
  const widths = HEAD.map((_, c) => Math.max(...rows.map((cells) => cells[c].length)));
  const table = rows.map((cells) => cells.map((cell, c) => (c === 0 || c === 9 ? cell.padEnd(widths[c]) : cell.padStart(widths[c]))).join("  ").trimEnd());
  const silent = layers.filter(({ spikes }) => spikes && spikes.state !== "alive");
  return [
    ...table,
    "MACs, synaptic operations and energy (4.6 pJ a MAC, 0.9 pJ an accumulation) per picture; milliseconds for the whole batch, lists included; bytes kept for a backward pass",
    ...silent.map(({ name, spikes }) => `${spikes!.state}: ${name} reads spikes of mean ${spikes!.rate.toFixed(3)} of ${spikes!.D}`),
  ];
}

function row({ name, input, output, spikes, macs, synapticOperations, picojoules, kernel, milliseconds, bytesKept }: LayerProfile): string[] {
  const { dense, sparse } = milliseconds, shape = ([, H, W, C]: readonly number[]): string => `${H}x${W}x${C}`;
  return [
    name, shape(input), shape(output), spikes ? spikes.rate.toFixed(3) : "reals", spikes ? percent(spikes.density) : "", spikes ? percent(spikes.open) : "",
    millions(macs), millions(synapticOperations), microjoules(picojoules.clean), kernel,
    ms(milliseconds.chosen), dense === undefined ? "" : ms(dense), sparse === undefined ? "" : ms(sparse), kilobytes(bytesKept),
  ];
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const millions = (n: number): string => `${(n / 1e6).toFixed(2)} M`;
const microjoules = (pJ: number): string => `${(pJ / 1e6).toFixed(2)} uJ`;
const ms = (n: number): string => n.toFixed(3);
const kilobytes = (n: number): string => `${Math.round(n / 1024)} kB`;
