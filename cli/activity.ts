/** How busy a network is: what its convolutions were given, layer by layer, summed over as many pictures as one likes. */
import { Spikes, type Value } from "../engine/index.ts";
import { energy, macsOf, type EnergyConvention, type EnergyLayer, type EnergyReport } from "../detection/index.ts";
import { observeConvolutions, type Conv2d, type Module } from "../nn/index.ts";

/** What reaches the convolutions of one part of the network. */
export interface StageActivity {
  /** First word of the paths of its modules, such as "stage4". */
  readonly stage: string;
  /** Mean integer over all spikes that its convolutions read, 0..D; undefined if they read none. */
  readonly rate: number | undefined;
  /** Share of those that are not zero. */
  readonly density: number | undefined;
  /** Per picture, over all timesteps. Of `macs`, `realMacs` read real numbers. */
  readonly macs: number;
  readonly realMacs: number;
  readonly synapticOperations: number;
  readonly millijoules: number;
  readonly denseMillijoules: number;
}

interface Counts { macs: number; sum: number; fired: number; spikes: number; real: boolean }

export class Activity {
  private counts = new Map<string, Counts>();
  private names: ReadonlyMap<Module, string> = new Map();
  private pictures = 0;

  constructor(private readonly model: Module, readonly convention: EnergyConvention = "clean") {}

  /** Counts what convolutions do in `run`, which handles so many pictures. Nothing of it counts if it throws. */
  watch<R>(pictures: number, run: () => R): R {
    this.names = new Map(this.model.namedModules().map(([name, module]) => [module, name])); // anew: chains may have been folded since
    const before = structuredClone(this.counts);
    try {
      const result = observeConvolutions((layer, x, y) => this.count(layer, x, y.shape), run);
      this.pictures += pictures;
      return result;
    } catch (error) {
      this.counts = before;
      throw error;
    }
  }

  /** Per picture, in the order in which the layers ran. */
  layers(): EnergyLayer[] {
    return [...this.counts].map(([name, { macs, sum, spikes, real }]) => ({
      name, macs: macs / this.pictures, rate: spikes ? sum / spikes : 0, kind: real ? "mac" : "accumulate",
    }));
  }

  energy(): EnergyReport { return energy(this.layers(), this.convention); }

  /** The mean over all spikes of all layers. */
  get rate(): number {
    const all = [...this.counts.values()], total = (value: (counts: Counts) => number): number => all.reduce((sum, counts) => sum + value(counts), 0);
    return total(({ sum }) => sum) / (total(({ spikes }) => spikes) || 1);
  }

  stages(): StageActivity[] {
    const costs = new Map(this.energy().layers.map((row) => [row.name, row]));
    const stages = new Map<string, { -readonly [K in keyof StageActivity]: StageActivity[K] } & { sum: number; fired: number; spikes: number }>();
    for (const [name, { sum, fired, spikes, real }] of this.counts) {
      const stage = name.split(".")[0], cost = costs.get(name)!;
      const row = stages.get(stage) ?? { stage, rate: undefined, density: undefined, macs: 0, realMacs: 0, synapticOperations: 0, millijoules: 0, denseMillijoules: 0, sum: 0, fired: 0, spikes: 0 };
      row.macs += cost.macs;
      if (real) row.realMacs += cost.macs;
      row.synapticOperations += cost.synapticOperations;
      row.millijoules += cost.picojoules / 1e9;
      row.denseMillijoules += cost.densePicojoules / 1e9;
      row.sum += sum; row.fired += fired; row.spikes += spikes;
      stages.set(stage, row);
    }
    return [...stages.values()].map(({ sum, fired, spikes, ...row }) => (spikes ? { ...row, rate: sum / spikes, density: fired / spikes } : row));
  }

  private count(layer: Conv2d, x: Value, y: readonly number[]): void {
    const name = this.names.get(layer) ?? "?", counts = this.counts.get(name) ?? { macs: 0, sum: 0, fired: 0, spikes: 0, real: !(x instanceof Spikes) };
    counts.macs += macsOf(layer, x.shape, y);
    if (x instanceof Spikes) {
      const { rate, density } = x.statistics();
      counts.sum += rate * x.size;
      counts.fired += density * x.size;
      counts.spikes += x.size;
    }
    this.counts.set(name, counts);
  }
}
