/** Chains of linear layers and the one convolution that they fold into. */
import { afterAll, describe, expect, test } from "vitest";
import { loadKernels, noGrad, Random, scope, spikesOf, tensor, withSpikePath, type SpikePath, type Tensor } from "../../engine/index.ts";
import { BatchNorm2d, fold, RepConv, SepRepConv, unfold } from "../../nn/index.ts";

const norm = { eps: 1e-3, momentum: 0.03 };
const chains = { RepConv: () => new RepConv(5, 7, norm), SepRepConv: () => new SepRepConv(5, 7, norm) };

/** Weights, and norms whose running statistics are far from 0 and 1, so that borders matter. */
function lively<C extends RepConv | SepRepConv>(chain: C): C {
  const random = new Random(3);
  chain.initialize(random);
  for (const [, part] of chain.namedModules()) {
    if (!(part instanceof BatchNorm2d)) continue;
    for (const values of [part.weight.data, part.bias.data, part.runningMean.data]) values.forEach((_, c) => { values[c] = random.uniform(-1, 1); });
    part.runningVariance.data.forEach((_, c) => { part.runningVariance.data[c] = random.uniform(0.2, 2); });
  }
  return chain.eval() as C;
}

const input = (): number[] => { const random = new Random(5); return Array.from({ length: 2 * 4 * 3 * 5 }, () => Math.max(0, random.integer(-3, 5))); };
const run = (chain: RepConv | SepRepConv, path: SpikePath): Float64Array =>
  Float64Array.from(scope(() => noGrad(() => withSpikePath(path, () => Array.from((chain.forward(spikesOf(tensor(input(), [2, 4, 3, 5]), { D: 4 })) as Tensor).data)))));
const apart = (a: Float64Array, b: Float64Array): number => Math.max(...a.map((x, i) => Math.abs(x - b[i]))) / Math.max(...a.map(Math.abs));

describe.each([["reference64", 1e-12], ["reference", 3e-6], [undefined, 3e-6]] as const)("folding on %s", (build, tolerance) => {
  const hosts: { stop(): Promise<void> }[] = [];
  afterAll(async () => { for (const host of hosts) await host.stop(); });

  for (const [name, make] of Object.entries(chains)) {
    test(`a ${name} and the one 3x3 convolution that it folds into give the same values, borders included`, async () => {
      hosts.push(await loadKernels({ build }));
      const chain = lively(make()), factors = run(chain, "dense");
      fold(chain);
      for (const path of ["dense", "sparse"] as const) expect(apart(factors, run(chain, path))).toBeLessThan(tolerance);
      chain.folded!.bias!.data[3] += 0.01;
      expect(apart(factors, run(chain, "dense"))).toBeGreaterThan(1e-4);
      unfold(chain);
      expect(apart(factors, run(chain, "dense"))).toBe(0);
    });

    test(`a folded ${name} gives the same bits with integers as multipliers and in binary steps`, async () => {
      hosts.push(await loadKernels({ build }));
      const chain = lively(make()), factors = run(chain, "dense");
      fold(chain);
      expect(run(chain, "integer")).toEqual(run(chain, "binary"));
      expect(apart(factors, run(chain, "integer"))).toBeLessThan(1e-5);
    });
  }

  test("a folded chain has the parameters that it had, and a step of training unfolds it", async () => {
    hosts.push(await loadKernels({ build }));
    const chain = lively(chains.RepConv()), before = chain.namedParameters().map(([name]) => name);
    fold(chain);
    expect(chain.namedParameters().map(([name]) => name)).toEqual(before);
    expect(chain.namedModules().map(([name]) => name)).toContain("folded");
    chain.train();
    scope(() => { chain.forward(spikesOf(tensor(input(), [2, 4, 3, 5]), { D: 4 })); });
    expect(chain.folded).toBeUndefined();
  });
});
