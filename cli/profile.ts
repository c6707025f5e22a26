/** `spiketrain profile`: what each layer of trained weights does with some pictures, as a table, as JSON and as a picture. */
import { energyConventions, foldFor, profile, titleOf, type LayerProfile, type Profile } from "../detection/index.ts";
import { host } from "../engine/index.ts";
import { writeAtomically } from "./atomic-file.ts";
import { inOrder } from "./data.ts";
import { drawFigure, expectDrawable } from "./figures/draw.ts";
import { profileFigure } from "./figures/profile.ts";
import type { Values } from "./options.ts";
import { foldedSaid } from "./predict.ts";
import type { Progress } from "./progress.ts";
import { UserError } from "./user-error.ts";
import { openFor, readWeights } from "./weights.ts";

export async function profileCommand({ weights, split = "val", batch = 1, json, picture, fold = "none", T, D, neuron, ...other }: Values<"profile">, progress: Progress, signal: AbortSignal): Promise<void> {
  if (weights === undefined) throw new UserError("profile: weights is missing; give weights=RUN_FOLDER or weights=CHECKPOINT");
  if (picture !== undefined) await expectDrawable(picture);
  const run = await readWeights(weights, { T, D, neuron }), settings = { ...run.options, ...other, batch };
  const { set } = await openFor(run, settings, split, "profile");
  for (const line of run.news) progress.say(line);
  for await (const { images } of inOrder(set, settings, signal)) {
    const model = run.model(), { build, threads, arithmetic } = host();
    if (fold !== "none") progress.say(foldedSaid(foldFor(model, images, { folding: fold }), fold, "these pictures"));
    const result = profile(model, images);
    for (const line of showProfile(result)) progress.say(line);
    if (json !== undefined) {
      await writeAtomically(json, `${JSON.stringify({ data: set.name, images: images.shape, node: process.version, build, threads, arithmetic, ...result }, undefined, 1)}\n`);
      progress.say(`wrote ${json}`);
    }
    if (picture !== undefined) {
      const { T, D } = run.options, [B, H, W] = images.shape.slice(-4);
      await drawFigure(picture, profileFigure(result, {
        title: `${run.size ? titleOf(run.size) : `${run.family.title} of its own size`}, ${run.family.timing(T, D)}: spikes and time of each layer, in the order in which they run`,
        lines: [`${set.name}, ${B} ${B === 1 ? "picture" : "pictures"} of ${W} x ${H}`, `Node ${process.versions.node}, ${build} build, ${threads} ${threads === 1 ? "thread" : "threads"}, least of 5 turns`],
      }));
      progress.say(`wrote ${picture}`);
    }
    return;
  }
  throw new UserError(`profile: ${set.name} has no pictures to show`);
}

type Cell = LayerProfile | Profile["total"];
const spikesOf = (of: (spikes: NonNullable<LayerProfile["spikes"]>) => string) => (cell: Cell): string => ("spikes" in cell && cell.spikes ? of(cell.spikes) : "");
const layerOf = (of: (layer: LayerProfile) => string) => (cell: Cell): string => ("name" in cell ? of(cell) : "");

/** Every column: what stands above it, and what it shows of a layer and of the sums. */
const COLUMNS: readonly { readonly head: string; readonly left?: true; cell(cell: Cell): string }[] = [
  { head: "layer", left: true, cell: (cell) => ("name" in cell ? cell.name : "total") },
  { head: "in", cell: layerOf(({ input }) => frame(input)) },
  { head: "out", cell: layerOf(({ output }) => frame(output)) },
  { head: "reads", left: true, cell: layerOf(({ spikes }) => spikes?.neuron ?? "reals") },
  { head: "rate", cell: spikesOf(({ rate }) => rate.toFixed(3)) },
  { head: "", left: true, cell: spikesOf(({ state }) => ({ alive: "", dead: "DEAD", saturated: "SATURATED" })[state]) },
  { head: "density", cell: spikesOf(({ density }) => percent(density)) },
  { head: "open", cell: spikesOf(({ open }) => (open === undefined ? "-" : percent(open))) },
  { head: "MACs", cell: ({ macs }) => millions(macs) },
  { head: "synaptic ops", cell: ({ synapticOperations }) => millions(synapticOperations) },
  { head: "energy", cell: ({ picojoules }) => microjoules(picojoules.clean) },
  { head: "sheet", cell: ({ picojoules }) => microjoules(picojoules.sheet) },
  { head: "kernel", left: true, cell: layerOf(({ kernel }) => kernel) },
  { head: "ms", cell: ({ milliseconds: { chosen } }) => ms(chosen) },
  { head: "dense", cell: ({ milliseconds: { dense } }) => (dense === undefined ? "" : ms(dense)) },
  { head: "sparse", cell: ({ milliseconds: { sparse } }) => (sparse === undefined ? "" : ms(sparse)) },
  { head: "kept", cell: ({ bytesKept }) => kilobytes(bytesKept) },
];

/** One line a layer, aligned, then the sums, then what the columns mean, then layers that say nothing. */
export function showProfile({ layers, total }: Profile): string[] {
  const rows = [COLUMNS.map(({ head }) => head), ...[...layers, total].map((cell) => COLUMNS.map((column) => column.cell(cell)))];
  const widths = COLUMNS.map((_, c) => Math.max(...rows.map((cells) => cells[c].length))), shown = COLUMNS.flatMap((_, c) => (widths[c] > 0 ? [c] : []));
  const table = rows.map((cells) => shown.map((c) => (COLUMNS[c].left ? cells[c].padEnd(widths[c]) : cells[c].padStart(widths[c]))).join("  ").trimEnd());
  const silent = layers.filter(({ spikes }) => spikes && spikes.state !== "alive");
  return [
    ...table,
    "rate: mean integer; MACs, synaptic operations and energy per picture; milliseconds for the whole batch, lists included; bytes kept for a backward pass",
    ...Object.entries({ energy: energyConventions.clean, sheet: energyConventions.sheet }).map(([column, convention]) => `${column}: ${convention}`),
    ...silent.map(({ name, spikes }) => `${spikes!.state}: ${name} reads spikes of mean ${spikes!.rate.toFixed(3)} of ${spikes!.D}`),
  ];
}

const frame = ([, H, W, C]: readonly number[]): string => `${H}x${W}x${C}`;
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const millions = (n: number): string => `${(n / 1e6).toFixed(2)} M`;
const microjoules = (pJ: number): string => `${(pJ / 1e6).toFixed(2)} uJ`;
const ms = (n: number): string => n.toFixed(3);
const kilobytes = (n: number): string => `${Math.round(n / 1024)} kB`;
