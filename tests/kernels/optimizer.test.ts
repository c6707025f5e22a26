import { describe, expect, it } from "vitest";
import { SPECIAL, expectAgreement, expectSame, reals, run, type Setup } from "./agreement.ts";
import { SIZES, benches, values } from "./harness.ts";

const all = await benches();
const { fast, plain, twin } = all;

interface Step { lr: number; momentum: number; decay: number; clip: number; nesterov: number }
const sgd = (w: Float64Array, dw: Float64Array, m: Float64Array, { lr, momentum, decay, clip, nesterov }: Step): Setup => (bench) => {
  const W = bench.real(w), M = bench.real(m);
  return { n: w.length, args: [W, bench.real(dw), M, lr, momentum, decay, clip, nesterov], writes: [reals(W, w.length), reals(M, w.length)] };
};
const ema = (w: Float64Array, average: Float64Array, d: number): Setup => (bench) => {
  const A = bench.real(average);
  return { n: w.length, args: [bench.real(w), A, d], writes: [reals(A, w.length)] };
};

describe("sgd", () => {
  const recipe = { lr: 0.01, momentum: 0.937, decay: 5e-4, clip: 0.3, nesterov: 1 };

  it("is the same bit for bit in every build, at every size and split", () => {
    for (const n of SIZES) for (const nesterov of [0, 1]) expectAgreement(all, "f32_sgd", sgd(values(n, 1), values(n, 2), values(n, 3), { ...recipe, nesterov }));
  });

  it("treats NaN, infinities and denormals alike in every build", () => {
    const x = Float64Array.from(SPECIAL.map(Math.fround)), y = x.slice().reverse();
    expectAgreement({ fast, plain }, "f32_sgd", sgd(x, y, x, recipe));
  });

  it("takes these steps on one weight: plain, with momentum, with Nesterov's, with decay and clipping", () => {
    const one = (value: number): Float64Array => Float64Array.of(value);
    const step = { lr: 0.5, momentum: 0.5, decay: 0, clip: 1, nesterov: 0 };
    for (const bench of [...fast, plain, twin]) {
      const after = (of: Partial<Step>): number[] => run(bench, "f32_sgd", sgd(one(2), one(1), one(4), { ...step, ...of })).map((x) => x[0]);
      expectSame(after({ momentum: 0 }), [1.5, 1], "g = 1, m = 1, w = 2 - 1/2");
      expectSame(after({}), [0.5, 3], "m = 4/2 + 1, w = 2 - 3/2");
      expectSame(after({ nesterov: 1 }), [0.75, 3], "w = 2 - (1 + 3/2)/2");
      expectSame(after({ decay: 0.25, clip: 0.5 }), [0.5, 3], "g = 1/2 + 2/4");
    }
  });
});

describe("ema", () => {
  it("is the same bit for bit in every build, at every size and split", () => {
    for (const n of SIZES) expectAgreement(all, "f32_ema", ema(values(n, 1), values(n, 2), 0.875));
    expectAgreement({ fast, plain }, "f32_ema", ema(values(17, 1), values(17, 2), 0.9999));
  });

  it("does not move an average that equals the weights, but for one rounding", () => {
    const w = values(1000, 1);
    for (const bench of [...fast, plain]) {
      const [average] = run(bench, "f32_ema", ema(w, w, 0.9999));
      for (let i = 0; i < w.length; i++) expect(Math.abs(average[i] - w[i])).toBeLessThanOrEqual(1.2e-7 * Math.abs(w[i]));
    }
  });

  it("moves a quarter of the way at d = 3/4", () => {
    for (const bench of [...fast, plain, twin]) expectSame(run(bench, "f32_ema", ema(Float64Array.of(8), Float64Array.of(4), 0.75))[0], [5], bench.loaded.build);
  });
});
