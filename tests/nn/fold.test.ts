/** Which chains fold: what either form costs, who decides, and that the decision holds on the clock where it is not close. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { loadKernels, noGrad, Random, scope, Spikes, spikesOf, tensor, withHost, type Host } from "../../engine/index.ts";
import { picojoules, SpikeYOLO, spikeYOLO, foldFor } from "../../detection/index.ts";
import {
  fold, foldedChains, foldingCosts, measuredRates, milliseconds, Module, observeConvolutions, readByChains, RepConv, SepRepConv, unfold, type ChainSpikes, type PartRates,
} from "../../nn/index.ts";

vi.setConfig({ testTimeout: 60_000 });

let host: Host;
beforeAll(async () => { host = await loadKernels({ threads: 1 }); });
afterAll(() => host.stop());

const norm = { eps: 1e-3, momentum: 0.03 };
const read = (density: number, frames: number[], rate = density): ChainSpikes => ({ density, rate, open: 0, frames });

/** Two chains that read the same spikes. */
class Pair extends Module {
  readonly wide = new RepConv(8, 24, norm);
  readonly back = new SepRepConv(8, 4, norm);
}

describe("the cost of a chain", () => {
  const rates: PartRates = {
    dense: { pointwise: 2, wider: 3 }, sparse: { pointwise: { idle: 4, busy: 10 }, wider: { idle: 8, busy: 20 } }, depthwise: 5, rows: 7, pack: { reals: 0.5, spikes: 0.25 }, call: 1000,
  };
  test("in time is that of its parts by the rates, each by the faster kernel", () => {
    const cost = (density: number, sums: "real" | "integer" = "real") => foldingCosts(new RepConv(8, 24, norm), { "": read(density, [2, 5, 3, 8]) }, milliseconds(sums, rates))[0];
    const pixels = 30, padded = 2 * 7 * 5, ns = (...parts: number[]): number => parts.reduce((a, b) => a + b) / 1e6;
    const rest = [1000 + 7 * pixels * 8, 1000 + 7 * padded * 8, 1000 + 0.5 * 72 + 5 * pixels * 72, 1000 + 0.5 * 192 + 2 * pixels * 192, 1000 + 7 * pixels * 24];
    const sparse = cost(0.1);
    expect(sparse.name).toBe("");
    expect(sparse.folded).toBeCloseTo(ns(1000 + 0.25 * 1728 + pixels * 1728 * (8 / 8 + 20 * 0.1)), 12); // 3, as the dense kernel: either
    expect(cost(0.05).folded).toBeCloseTo(ns(1000 + 0.25 * 1728 + pixels * 1728 * 2), 12);
    expect(cost(0.5).folded).toBeCloseTo(ns(1000 + 0.25 * 1728 + pixels * 1728 * 3), 12); // dense
    expect(cost(0.5, "integer").folded).toBeCloseTo(ns(1000 + 0.25 * 1728 + pixels * 1728 * 11), 12); // exact sums gather always
    expect(cost(0.05).factors).toBeCloseTo(ns(1000 + 0.25 * 64 + pixels * 64 * (4 / 8 + 0.5), ...rest), 12);
    expect(cost(0.5).factors).toBeCloseTo(ns(1000 + 0.25 * 64 + pixels * 64 * 2, ...rest), 12);
  });

  test("in energy is an accumulation for each unit of each spike, and a product for each real", () => {
    const chain = new SepRepConv(8, 4, norm), [{ folded, factors }] = foldingCosts(chain, { "": read(0.3, [1, 6, 6, 8], 0.5) }, picojoules);
    expect(folded).toBeCloseTo(36 * 9 * 32 * 0.5 * 0.9, 6);
    expect(factors).toBeCloseTo(64 * 32 * 0.5 * 0.9 + 36 * 9 * 4 * 4.6, 6);
  });
});

describe("folding where it is cheaper", () => {
  test("folds the chain for which it pays and leaves the one for which it does not, whatever they were", () => {
    const pair = new Pair(), frames = [1, 8, 8, 8];
    for (const before of [unfold, fold]) {
      before(pair);
      expect(fold(pair, { where: "cheaper", spikes: { wide: read(0.02, frames), back: read(0.9, frames) }, cost: picojoules })).toEqual(["wide"]);
      expect(foldedChains(pair)).toEqual(["wide"]);
      expect([pair.wide.folded !== undefined, pair.back.folded]).toEqual([true, undefined]);
      expect(fold(pair, { where: "cheaper", spikes: { wide: read(3, frames), back: read(0.01, frames) }, cost: picojoules })).toEqual(["back"]);
    }
  });

  test("a list of paths folds those and no others", () => {
    const pair = new Pair();
    expect(fold(pair)).toEqual(["wide", "back"]);
    fold(pair, { where: ["back"] });
    expect(foldedChains(pair)).toEqual(["back"]);
    unfold(pair);
    expect(foldedChains(pair)).toEqual([]);
  });

  test("wrong paths, chains of which nothing is known, and densities that are none are named", () => {
    const pair = new Pair(), spikes = { wide: read(0.1, [1, 4, 4, 8]) };
    expect(() => fold(pair, { where: ["wider"] })).toThrow('fold: the model has no chain "wider"; it has wide, back');
    expect(() => fold(pair, { where: "cheaper", spikes })).toThrow('fold: no spikes are known of chain "back"; measure those of all chains with readByChains(model, () => model.forward(images))');
    expect(() => fold(pair, { where: "cheaper", spikes: { ...spikes, back: read(NaN, [1, 4, 4, 8]) } })).toThrow('fold: chain "back": expected a density and a rate of 0 or more, got NaN and NaN');
    expect(foldedChains(pair)).toEqual([]);
  });
});

describe("on this machine", () => {
  const drawn = (density: number, frames: number[]): Spikes => {
    const random = new Random(5);
    return spikesOf(tensor(Float32Array.from({ length: frames.reduce((a, b) => a * b) }, (_, i) => (random.uniform() < density ? 1 + Number(i % 3 === 0) : 0)), frames), { D: 4 });
  };
  // not close: several times faster one way, and several times the other
  test.each([
    ["a RepConv back from three times as many channels, which hardly anything reaches, is folded", () => new RepConv(192, 64, norm), [8, 8, 8, 192], 0.01, true],
    ["a SepRepConv that much reaches is not", () => new SepRepConv(384, 192, norm), [1, 24, 24, 384], 0.4, false],
  ] as const)("%s, and the clock agrees", (_, make, frames, density, folds) => scope(() => noGrad(() => {
    const [chain, folded] = [make(), make()].map((chain) => { chain.initialize(new Random(2)); return chain.eval() as RepConv | SepRepConv; });
    const s = drawn(density, [...frames]), spikes = { "": { ...s.statistics(), frames } };
    expect(fold(chain, { where: "cheaper", spikes })).toEqual(folds ? [""] : []);
    unfold(chain);
    fold(folded);
    const least = { chain: Infinity, folded: Infinity };
    for (let turn = 0; turn < 15; turn++) for (const [name, one] of Object.entries({ chain, folded })) {
      const start = performance.now();
      scope(() => { one.forward(s.unlisted()); });
      least[name as keyof typeof least] = Math.min(least[name as keyof typeof least], performance.now() - start);
    }
    expect(least.folded < least.chain).toBe(folds);
  })));

  test("rates are measured once, and leave the memory as it was; with fixed dispatch they are constants", async () => {
    const before = host.memory.inUse, rates = withHost(host, () => measuredRates());
    expect(withHost(host, () => measuredRates())).toBe(rates);
    expect(host.memory.inUse).toBe(before);
    for (const rate of [rates.dense.pointwise, rates.dense.wider, rates.sparse.pointwise.busy, rates.sparse.wider.busy, rates.depthwise, rates.rows, rates.call]) expect(rate).toBeGreaterThan(0);
    const [a, b] = [await loadKernels({ threads: 1, dispatch: "fixed" }), await loadKernels({ threads: 1, arithmetic: "strict" })].map((other) => withHost(other, () => measuredRates("integer")));
    expect(a).toBe(b);
    host = await loadKernels({ threads: 1 });
  });
});

describe("the spikes that chains read", () => {
  const random = new Random(1), images = [0, 1].map(() => ({ shape: [1, 64, 64, 3], data: Float32Array.from({ length: 64 * 64 * 3 }, () => random.uniform()) }));
  const awake = (): SpikeYOLO => {
    const model = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 3, T: 2, norm: { eps: 1e-3, momentum: 1 } });
    scope(() => noGrad(() => { for (const image of images) model.forward(image); }));
    return model.eval() as SpikeYOLO;
  };

  test("are those of their first 1x1, in means over all that ran, and the same when they are folded", () => {
    const model = awake(), forward = (): void => scope(() => noGrad(() => { for (const image of images) model.forward(image); }));
    const chains = readByChains(model, forward), sums = new Map<string, { sum: number; fired: number; size: number; frames: readonly number[] }>();
    const names = new Map(model.namedModules().map(([name, module]) => [module, name]));
    observeConvolutions((layer, x) => {
      const [, name] = /^(.*)\.(?:reduce|pointwise)$/.exec(names.get(layer)!) ?? [];
      if (name === undefined || !(x instanceof Spikes)) return;
      const values = x.values(), before = sums.get(name) ?? { sum: 0, fired: 0, size: 0 };
      sums.set(name, { sum: before.sum + values.reduce((a, b) => a + b, 0), fired: before.fired + values.filter(Boolean).length, size: before.size + x.size, frames: x.shape });
    }, forward);
    expect(Object.keys(chains).length).toBeGreaterThan(10);
    for (const [name, { rate, density, frames }] of Object.entries(chains)) {
      const { sum, fired, size, frames: shape } = sums.get(name)!;
      expect(Math.abs(rate - sum / size) + Math.abs(density - fired / size)).toBeLessThan(1e-12);
      expect(frames).toEqual(shape);
    }
    const first = Object.keys(chains)[0];
    fold(model, { where: [first] });
    expect(readByChains(model, forward)[first]).toEqual(chains[first]); // what comes before is as it was
  });

  test("decide for a whole network by energy: where few fire, as one convolution; and all or none by request", () => {
    const model = awake(), all = foldFor(model, images[0], { folding: "all" });
    expect(all.length).toBeGreaterThan(10);
    expect(foldFor(model, images[0], { folding: "none" })).toEqual([]);
    const chosen = foldFor(model, images[0], { form: "integer", cost: picojoules });
    expect(foldedChains(model)).toEqual(chosen);
    expect(chosen.length).toBeGreaterThan(0);
    unfold(model);
    const spikes = scope(() => noGrad(() => readByChains(model, () => model.forward(images[0]))));
    const total = (names: readonly string[]): number => foldingCosts(model, spikes, picojoules).reduce((sum, { name, folded, factors }) => sum + (names.includes(name) ? folded : factors), 0);
    expect(total(chosen)).toBeLessThan(total([]));
    expect(total(chosen)).toBeLessThanOrEqual(total(all));
    expect(foldFor(model, images[0])).toEqual(foldedChains(model)); // by time
    expect(model.training).toBe(false);
  });
});
