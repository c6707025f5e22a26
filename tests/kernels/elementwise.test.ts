import { describe, expect, it } from "vitest";
import type { Kernels } from "../../kernels/signatures.ts";
import { SPECIAL, differences, expectAgreement, expectSame, reals, run, type Setup } from "./agreement.ts";
import { SIZES, benches, relativeError, values } from "./harness.ts";

const all = await benches();
const { fast, plain, twin } = all;

/** A kernel of `inputs` arrays and one output, called (n, ...inputs, output, ...scalars). */
const pointwise = (inputs: Float64Array[], ...scalars: number[]): Setup => (bench) => {
  const n = inputs[0].length, pointers = inputs.map((x) => bench.real(x)), y = bench.real(n);
  return { n, args: [...pointers, y, ...scalars], writes: [reals(y, n)] };
};

const cases: { name: keyof Kernels; setup: (x: Float64Array, y: Float64Array) => Setup }[] = [
  { name: "f32_fill", setup: (x) => (bench) => { const y = bench.real(x.length); return { n: x.length, args: [y, 0.375], writes: [reals(y, x.length)] }; } },
  { name: "f32_copy", setup: (x) => pointwise([x]) },
  { name: "f32_add", setup: (x, y) => pointwise([x, y]) },
  { name: "f32_sub", setup: (x, y) => pointwise([x, y]) },
  { name: "f32_mul", setup: (x, y) => pointwise([x, y]) },
  { name: "f32_scale", setup: (x) => pointwise([x], -1.625) },
  { name: "f32_axpy", setup: (x, y) => (bench) => { const X = bench.real(x), Y = bench.real(y); return { n: x.length, args: [X, Y, -1.625], writes: [reals(Y, x.length)] }; } },
  { name: "f32_sigmoid_backward", setup: (x, y) => pointwise([x, y]) },
  { name: "f32_exp_backward", setup: (x, y) => pointwise([x, y], 0.25) },
  { name: "f32_leaky", setup: (x) => pointwise([x], 0.1) },
  { name: "f32_leaky_backward", setup: (x, y) => pointwise([x, y], 0.1) },
];

/** Every pair of special values. */
const left = Float64Array.from(SPECIAL.flatMap((a) => SPECIAL.map(() => Math.fround(a))));
const right = Float64Array.from(SPECIAL.flatMap(() => SPECIAL.map((b) => Math.fround(b))));

describe("elementwise", () => {
  for (const { name, setup } of cases) {
    it(`${name} is the same bit for bit in every build, at every size and split`, () => {
      for (const n of SIZES) expectAgreement(all, name, setup(values(n, 1), values(n, 2)), { twin: 2e-7 });
    });
    it(`${name} treats NaN, infinities, zeros and denormals alike in every build`, () => {
      expectAgreement({ fast, plain }, name, setup(left, right));
    });
  }

  it("add, sub and mul may write over either input, scale over its own", () => {
    for (const bench of [...fast, plain]) {
      for (const name of ["f32_add", "f32_sub", "f32_mul"] as const) {
        const x = values(17, 3), y = values(17, 4), [want] = run(bench, name, pointwise([x, y]));
        const onto = (which: 0 | 1): Setup => (b) => { const p = [b.real(x), b.real(y)]; return { n: 17, args: [...p, p[which]], writes: [reals(p[which], 17)] }; };
        expectSame(run(bench, name, onto(0))[0], want, `${name} onto x`);
        expectSame(run(bench, name, onto(1))[0], want, `${name} onto y`);
      }
      const x = values(17, 3), [want] = run(bench, "f32_scale", pointwise([x], 3));
      expectSame(run(bench, "f32_scale", (b) => { const p = b.real(x); return { n: 17, args: [p, p, 3], writes: [reals(p, 17)] }; })[0], want, "f32_scale onto x");
    }
  });
});

describe("sigmoid", () => {
  it("agrees with the reference and the twin at every size and split", () => {
    for (const n of SIZES) expectAgreement(all, "f32_sigmoid", pointwise([values(n, 5).map((x) => 8 * x)]), { fast: 2.5e-7, twin: 2.5e-7 });
  });

  it("has a relative error below 4 ulp from -87 to 87, and 0 and 1 beyond", () => {
    const x = Float64Array.from({ length: 17401 }, (_, i) => Math.fround(-87 + i / 100));
    const [want] = run(twin, "f32_sigmoid", pointwise([x]));
    for (const bench of [...fast, plain]) {
      const [got] = run(bench, "f32_sigmoid", pointwise([x]));
      let worst = 0;
      for (let i = 0; i < x.length; i++) worst = Math.max(worst, Math.abs(got[i] / want[i] - 1));
      expect(worst, bench.loaded.build).toBeLessThan(4 * 2 ** -24);
    }
  });

  it("keeps NaN, and saturates at infinities and large numbers", () => {
    for (const bench of [...fast, plain]) {
      const [y] = run(bench, "f32_sigmoid", pointwise([Float64Array.of(NaN, Infinity, -Infinity, 200, -200, 0, -0, 1e-45)]));
      expectSame(y, [NaN, 1, 0, 1, 0, 0.5, 0.5, 0.5], `f32_sigmoid ${bench.loaded.build}`);
    }
  });

  it("is the same bit for bit in every SIMD build", () => {
    const x = values(1000, 6).map((v) => 100 * v), [want] = run(fast[0], "f32_sigmoid", pointwise([x]));
    for (const bench of fast) expectSame(run(bench, "f32_sigmoid", pointwise([x]))[0], want, bench.loaded.build);
  });

  it("has the gradient that central differences find", () => {
    const x = values(17, 7).map((v) => 3 * v), dy = values(17, 8);
    const forward = (at: Float64Array): ArrayLike<number> => run(twin, "f32_sigmoid", pointwise([at]))[0];
    const [dx] = run(twin, "f32_sigmoid_backward", pointwise([Float64Array.from(forward(x)), dy]));
    expect(relativeError(dx, differences(forward, x, dy))).toBeLessThan(1e-8);
  });
});

describe("exp", () => {
  it("agrees with the reference and the twin at every size and split, and stops at its limit", () => {
    for (const n of SIZES) expectAgreement(all, "f32_exp", pointwise([values(n, 6).map((x) => 8 * x)], 1000), { fast: 2.5e-7, twin: 2.5e-7 });
    for (const bench of [...fast, plain, twin]) expectSame(run(bench, "f32_exp", pointwise([Float64Array.of(0, 7, 1e9, Infinity, NaN)], 1000))[0], [1, 1000, 1000, 1000, NaN], bench.loaded.build);
  });

  it("has the gradient that central differences find, and none beyond its limit", () => {
    const x = values(17, 6), dy = values(17, 7), y = run(twin, "f32_exp", pointwise([x], 1.5))[0] as Float64Array;
    const dx = run(twin, "f32_exp_backward", pointwise([y, dy], 1.5))[0];
    expect(relativeError(dx, differences((at) => run(twin, "f32_exp", pointwise([at], 1.5))[0], x, dy))).toBeLessThan(1e-7);
    expect(Array.from(y).some((value) => value === 1.5)).toBe(true);
  });
});
