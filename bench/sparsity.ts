/** What sparsity is worth: spike convolutions, lists included, against the dense kernel on the same values, over densities. One thread. */
import { describe, sparse, type Shape } from "./convolutions.ts";
import { Desk, fastest, print } from "./desk.ts";

const SHAPES: Shape[] = [
  { B: 1, S: 40, C: 256, N: 256, k: 3 },
  { B: 1, S: 40, C: 64, N: 64, k: 3 },
  { B: 1, S: 40, C: 256, N: 512, k: 1 },
];
const DENSITIES = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1];

export async function run(): Promise<unknown> {
  const results = [];
  for (const shape of SHAPES) {
    for (const density of DENSITIES) {
      const spikes = sparse(await Desk.of({ threads: 1 }), shape, density);
      const ms = fastest({
        dense: () => { spikes.toReals(); spikes.reals.forward(); },
        sparse: spikes.forward,
        denseDw: () => { spikes.toReals(); spikes.reals.weightGradient(); },
        sparseDw: spikes.weightGradient,
      }, 5);
      results.push({ name: describe(shape), density, ...ms });
    }
  }
  print(["ms", "density", "dense", "sparse", "times", "dense dw", "sparse dw", "times"], results.map(({ name, density, dense, sparse, denseDw, sparseDw }) =>
    [name, `${100 * density} %`, dense, sparse, dense / sparse, denseDw, sparseDw, denseDw / sparseDw]));
  return results;
}
