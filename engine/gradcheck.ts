/**
 * Gradients against central differences, in float64.
 *
 *   dL/dx[i]  must equal  (L(x + eps e_i) - L(x - eps e_i)) / (2 eps)      with L = <u, f(x)> for a random u
 *
 * Tolerances as in torch.autograd.gradcheck: |analytic - numeric| <= atol + rtol |numeric|.
 */
import { backward } from "./backward.ts";
import { host } from "./host.ts";
import { noGrad, scope } from "./op.ts";
import { Random } from "./random.ts";
import { show, sizeOf, type Shape } from "./shape.ts";
import { tensor, type Tensor } from "./tensor.ts";

export interface GradcheckOptions { eps?: number; atol?: number; rtol?: number; seed?: number }

/** An input of the checked function: its values, or only its shape (values are then drawn from [-1, 1]). */
export interface CheckedInput { shape: Shape; values?: ArrayLike<number> }

/** Throws a sentence that names the first wrong element, if a gradient of `f` with respect to any input is wrong. */
export function gradcheck(f: (...inputs: Tensor[]) => Tensor, inputs: readonly CheckedInput[], { eps = 1e-6, atol = 1e-5, rtol = 1e-3, seed = 0 }: GradcheckOptions = {}): void {
  if (host().bytes !== 8) throw new Error(`gradcheck: needs float64, got build "${host().build}"; load the kernels with { build: "reference64" }`);
  const random = new Random(seed);
  const draw = (n: number) => Float64Array.from({ length: n }, () => random.uniform(-1, 1));
  const values = inputs.map(({ shape, values }) => (values ? Float64Array.from(values) : draw(sizeOf(shape))));
  const make = (requiresGrad: boolean) => inputs.map(({ shape }, i) => tensor(values[i], shape, { requiresGrad }));

  let weights: Float64Array | undefined;
  const analytic = scope(() => {
    const leaves = make(true), y = f(...leaves);
    weights = draw(y.size);
    backward(y, [tensor(weights, y.shape)]);
    return leaves.map((leaf) => (leaf.grad ? Float64Array.from(leaf.grad.data) : new Float64Array(leaf.size)));
  });
  const value = (): number => scope(() => noGrad(() => {
    const y = f(...make(false)).data;
    let total = 0;
    for (let i = 0; i < y.length; i++) total += y[i] * weights![i];
    return total;
  }));

  inputs.forEach(({ shape }, input) => {
    for (let i = 0; i < values[input].length; i++) {
      const kept = values[input][i];
      values[input][i] = kept + eps;
      const above = value();
      values[input][i] = kept - eps;
      const below = value();
      values[input][i] = kept;
      const numeric = (above - below) / (2 * eps), got = analytic[input][i];
      if (!(Math.abs(got - numeric) <= atol + rtol * Math.abs(numeric))) {
        throw new Error(`gradcheck: input ${input} ${show(shape)} element ${i}: backward gives ${got}, central difference ${numeric}`);
      }
    }
  });
}
