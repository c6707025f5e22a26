/**
 * Chains of SpikeYOLO folded and in factors, at densities that are set: what the cost model says of either form, what the clock says, and whether both
 * decide alike. What a wrong decision loses is the time of the form taken over that of the faster one.
 */
import { loadKernels, noGrad, Random, scope, spikesOf, tensor, withSpikePath } from "../engine/index.ts";
import { fold, foldingCosts, measuredRates, milliseconds, RepConv, SepRepConv, type SpikeSums } from "../nn/index.ts";
import { fastestRows, print } from "./desk.ts";

const norm = { eps: 1e-3, momentum: 0.03 };
/** Of the default network at 128 x 128, and of n at 320 and 640; B frames of S x S. */
const CHAINS = [
  { Chain: RepConv, B: 8, S: 8, in: 64, out: 192 }, { Chain: RepConv, B: 8, S: 8, in: 192, out: 64 },
  { Chain: SepRepConv, B: 8, S: 16, in: 64, out: 32 }, { Chain: SepRepConv, B: 8, S: 8, in: 128, out: 64 },
  { Chain: RepConv, B: 1, S: 20, in: 192, out: 576 }, { Chain: RepConv, B: 1, S: 40, in: 192, out: 576 }, { Chain: SepRepConv, B: 1, S: 40, in: 384, out: 192 },
] as const;
const DENSITIES = [0.02, 0.05, 0.1, 0.2, 0.4];

export async function run(): Promise<unknown> {
  const results = [];
  for (const threads of [1, 2]) {
    const host = await loadKernels({ threads });
    for (const sums of ["real", "integer"] as const) results.push(...scope(() => noGrad(() => compare(sums, threads))));
    await host.stop();
  }
  print(["chain", "threads", "sums", "density", "folded ms", "in factors", "said: folded", "in factors", "folds", "loses"], results.map(({ name, threads, sums, density, measured, said, folds, loses }) => [
    name, String(threads), sums, density.toFixed(2), measured.folded, measured.factors, said.folded, said.factors, folds ? "yes" : "no", loses === 0 ? "" : `${(100 * loses).toFixed(0)} %`,
  ]));
  const lost = results.filter(({ loses }) => loses > 0);
  console.log(`the model takes the faster form in ${results.length - lost.length} of ${results.length}; at worst it loses ${(100 * Math.max(0, ...lost.map(({ loses }) => loses))).toFixed(0)} %`);
  return results;
}

function compare(sums: SpikeSums, threads: number) {
  const cost = milliseconds(sums, measuredRates(sums)), random = new Random(1);
  const rows = CHAINS.flatMap(({ Chain, B, S, in: I, out }) => {
    const [folded, factors] = ["folded", "factors"].map(() => {
      const chain = new Chain(I, out, norm);
      chain.initialize(new Random(2));
      return chain.eval() as RepConv | SepRepConv;
    });
    fold(folded);
    return DENSITIES.map((density) => {
      const frames = [B, S, S, I], values = Float32Array.from({ length: B * S * S * I }, (_, i) => (random.uniform() < density ? 1 + Number(i % 3 === 0) : 0));
      const s = spikesOf(tensor(values, frames), { D: 4 }), [said] = foldingCosts(factors, { "": { ...s.statistics(), frames } }, cost);
      const run = (chain: RepConv | SepRepConv) => (): void => { withSpikePath(sums === "real" ? "auto" : sums, () => scope(() => { chain.forward(s.unlisted()); })); };
      return { name: `${Chain.name} ${I}->${out} @${S}${B > 1 ? ` B${B}` : ""}`, threads, sums, density, said, runs: { folded: run(folded), factors: run(factors) } };
    });
  });
  const times = fastestRows(rows.map(({ runs }) => runs), 2);
  return rows.map(({ runs: _, said, ...row }, i) => {
    const measured = times[i], folds = said.folded < said.factors, taken = folds ? measured.folded : measured.factors;
    return { ...row, said, measured, folds, loses: taken / Math.min(measured.folded, measured.factors) - 1 };
  });
}
