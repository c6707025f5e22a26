/**
 * Folding: which chains of linear layers run as one 3x3 convolution of their spikes, and which in factors.
 *
 * Folded, a chain accumulates 9 * in * out weights where something fired; in factors it has some eight times fewer, most of which meet real numbers
 * at every pixel. So the fewer spikes, the sooner folding pays: a cost, in milliseconds or in energy, decides chain by chain from the spikes that each one reads.
 * Either form gives the same values but for rounding (`Foldable`), so the choice shows in time alone, and in the last bits.
 */
import { Spikes, type Shape, type SpikeStatistics } from "../engine/index.ts";
import { Foldable, type Part } from "./chains.ts";
import { observeConvolutions } from "./layers.ts";
import type { Module } from "./module.ts";
import { milliseconds } from "./rates.ts";

/** What a chain reads: how busy its spikes are, and the shape [N, H, W, in] of its frames. */
export interface ChainSpikes extends SpikeStatistics {
  readonly frames: Shape;
  /** Real numbers, where the network has no neurons. */
  readonly real?: boolean;
}

/** What a part of a chain costs where the chain reads such spikes, in any unit that adds up. */
export type Cost = (part: Part, spikes: ChainSpikes) => number;

/** Of one chain, by its path in the model, such as "stage4.0.conv1". */
export interface FoldingCost { readonly name: string; readonly folded: number; readonly factors: number }

export type FoldOptions =
  /** Every chain, or those with these paths. */
  | { readonly where?: "all" | readonly string[] }
  /** Those that cost less folded, with the spikes that each one reads (`readByChains`). The cost is that of time on this machine unless another is given. */
  | { readonly where: "cheaper"; readonly spikes: Readonly<Record<string, ChainSpikes>>; readonly cost?: Cost };

/**
 * Folds chains of linear layers below a module into one convolution each, and unfolds the others; gives the paths of the folded ones. Exact in eval mode, for the
 * weights of now; a step of training unfolds.
 */
export function fold(module: Module, options: FoldOptions = {}): string[] {
  const { where = "all" } = options, chains = foldables(module);
  const chosen = options.where === "cheaper" ? cheaper(foldingCosts(module, options.spikes, options.cost)) : where === "all" ? [...chains.keys()] : where as readonly string[];
  for (const name of chosen) if (!chains.has(name)) throw new Error(`fold: the model has no chain ${JSON.stringify(name)}; it has ${[...chains.keys()].join(", ") || "none"}`);
  for (const [name, chain] of chains) if (chosen.includes(name)) chain.fold(); else chain.unfold();
  return [...chosen];
}

/** Runs every chain in factors again. */
export function unfold(module: Module): void { for (const chain of foldables(module).values()) chain.unfold(); }

/** Paths of the chains that run folded now. */
export const foldedChains = (module: Module): string[] => [...foldables(module)].flatMap(([name, { folded }]) => (folded ? [name] : []));

/** Every chain with its path; the module's own is "". */
function foldables(module: Module): Map<string, Foldable> {
  return new Map([["", module] as [string, Module], ...module.namedModules()].filter((entry): entry is [string, Foldable] => entry[1] instanceof Foldable));
}

const cheaper = (costs: readonly FoldingCost[]): string[] => costs.filter(({ folded, factors }) => folded < factors).map(({ name }) => name);

/** What each chain costs in either form. */
export function foldingCosts(module: Module, spikes: Readonly<Record<string, ChainSpikes>>, cost: Cost = milliseconds()): FoldingCost[] {
  return [...foldables(module)].map(([name, chain]) => {
    const read = Object.hasOwn(spikes, name) ? spikes[name] : undefined;
    if (!read) throw new Error(`fold: no spikes are known of chain ${JSON.stringify(name)}; measure those of all chains with readByChains(model, () => model.forward(images))`);
    if (![read.density, read.rate].every((x) => x >= 0 && x < Infinity)) throw new Error(`fold: chain ${JSON.stringify(name)}: expected a density and a rate of 0 or more, got ${read.density} and ${read.rate}`);
    const total = (form: "folded" | "factors"): number => chain.work(form, read.frames).reduce((sum, part) => sum + cost(read.real ? { ...part, reads: "reals" } : part, read), 0);
    return { name, folded: total("folded"), factors: total("factors") };
  });
}

/** What reals are as spikes: nowhere zero. */
const FULL: SpikeStatistics = { rate: 1, density: 1, open: 1 };

/** The spikes that chains read while `run` runs, whichever form they run in: means over all of them, and the frames of the last. */
export function readByChains(module: Module, run: () => unknown): Record<string, ChainSpikes> {
  const nameOf = new Map([...foldables(module)].map(([name, chain]) => [chain.reader, name] as const));
  const sums: Record<string, ChainSpikes & { size: number }> = {};
  observeConvolutions((layer, x) => {
    const name = nameOf.get(layer);
    if (name === undefined) return;
    const real = !(x instanceof Spikes), now = real ? FULL : x.statistics(), before = sums[name] ?? { rate: 0, density: 0, open: 0, size: 0 }, size = before.size + x.size;
    const mean = (which: keyof SpikeStatistics): number => before[which] + ((now[which] - before[which]) * x.size) / size;
    sums[name] = { rate: mean("rate"), density: mean("density"), open: mean("open"), frames: x.shape, size, ...(real && { real }) };
  }, run);
  return Object.fromEntries(Object.entries(sums).map(([name, { size: _, ...spikes }]) => [name, spikes]));
}
