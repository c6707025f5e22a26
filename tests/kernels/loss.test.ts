import { describe, expect, it } from "vitest";
import { differences, expectAgreement, expectSame, reals, run, type Setup } from "./agreement.ts";
import { SIZES, benches, relativeError, values } from "./harness.ts";

const all = await benches();
const { fast, plain, twin } = all;
const every = [...fast, plain, twin];
const BINS = [2, 3, 4, 5, 7, 8, 16, 17];
const ROWS = [1, 3, 17];

/** n rows or elements, the given inputs, and one output of `size` reals; trailing scalars. */
const call = (n: number, size: number, inputs: ArrayLike<number>[], ...scalars: number[]): Setup => (bench) => {
  const pointers = inputs.map((x) => bench.real(x)), y = bench.real(size);
  return { n, args: [...pointers, y, ...scalars], writes: [reals(y, size)] };
};
const logits = (size: number, seed = 1): Float64Array => values(size, seed).map((x) => Math.fround(6 * x));

describe("softmax and its expectation", () => {
  it("agree with the reference and the twin, at every shape and split", () => {
    for (const bins of [1, ...BINS]) {
      for (const rows of ROWS) {
        const n = rows * bins, x = logits(n), dy = values(n, 2), [y] = run(twin, "f32_softmax", call(rows, n, [x], bins)), [mean] = run(twin, "f32_expectation", call(rows, rows, [x], bins));
        expectAgreement(all, "f32_softmax", call(rows, n, [x], bins), { fast: 1e-6, twin: 1e-6 });
        expectAgreement(all, "f32_softmax_backward", call(rows, n, [Float64Array.from(y, Math.fround), dy], bins), { fast: 3e-7, twin: 3e-7, scale: 1 });
        expectAgreement(all, "f32_expectation", call(rows, rows, [x], bins), { fast: 1e-6, twin: 1e-6 });
        expectAgreement(all, "f32_expectation_backward", call(rows, n, [x, Float64Array.from(mean, Math.fround), dy.subarray(0, rows)], bins), { fast: 3e-7, twin: 3e-7, scale: bins });
      }
    }
  });

  it("do not overflow on large logits, ignore minus infinity, and pass NaN on within its row only", () => {
    for (const bench of every) {
      const [y] = run(bench, "f32_softmax", call(3, 15, [[1e30, 1e30, -1e30, 1, 0, -Infinity, 7, -Infinity, -Infinity, -Infinity, NaN, 0, 0, 0, 0]], 5));
      expectSame(y, [0.5, 0.5, 0, 0, 0, 0, 1, 0, 0, 0, NaN, NaN, NaN, NaN, NaN], bench.loaded.build);
    }
  });

  it("are the same bit for bit in every SIMD build", () => {
    const x = logits(17 * 16), [want] = run(fast[0], "f32_softmax", call(17, 17 * 16, [x], 16));
    for (const bench of fast) expectSame(run(bench, "f32_softmax", call(17, 17 * 16, [x], 16))[0], want, bench.loaded.build);
  });

  it("have the gradients that central differences find", () => {
    const rows = 3, bins = 7, n = rows * bins, x = logits(n), dy = values(n, 2);
    const softmax = (at: Float64Array): ArrayLike<number> => run(twin, "f32_softmax", call(rows, n, [at], bins))[0];
    expect(relativeError(run(twin, "f32_softmax_backward", call(rows, n, [softmax(x), dy], bins))[0], differences(softmax, x, dy))).toBeLessThan(1e-8);
    const expectation = (at: Float64Array): ArrayLike<number> => run(twin, "f32_expectation", call(rows, rows, [at], bins))[0];
    const [dx] = run(twin, "f32_expectation_backward", call(rows, n, [x, expectation(x), dy.subarray(0, rows)], bins));
    expect(relativeError(dx, differences(expectation, x, dy.subarray(0, rows)))).toBeLessThan(1e-8);
  });
});

describe("distribution focal loss", () => {
  const targets = (rows: number, bins: number): Float64Array => values(rows, 3).map((t) => Math.fround(((t + 1) / 2) * (bins - 1) * 0.999));

  it("agrees with the reference and the twin, at every shape and split", () => {
    for (const bins of BINS) {
      for (const rows of ROWS) {
        const x = logits(rows * bins), t = targets(rows, bins);
        expectAgreement(all, "f32_dfl", call(rows, rows, [x, t], bins), { fast: 1e-6, twin: 1e-6 });
        expectAgreement(all, "f32_dfl_backward", call(rows, rows * bins, [x, t, values(rows, 4)], bins), { fast: 3e-7, twin: 3e-7, scale: 1 });
      }
    }
  });

  it("is the cross entropy with the one bin that an integral target names", () => {
    for (const bench of every) {
      const [y] = run(bench, "f32_dfl", call(2, 2, [[0, 0, 0, 0, 9, 9, 9, 9], [0, 2]], 4));
      expect(relativeError(y, [Math.log(4), Math.log(4)])).toBeLessThan(2e-7);
    }
  });

  it("stays inside the row for a target that is out of range", () => {
    for (const bench of every) {
      const [y] = run(bench, "f32_dfl", call(4, 4, [new Float64Array(16), [3, 5, -1, NaN]], 4));
      expect(Array.from(y, Number.isFinite), bench.loaded.build).toEqual([true, true, true, false]);
    }
    expectAgreement(all, "f32_dfl_backward", call(4, 16, [new Float64Array(16), [3, 5, -1, 0.5], [1, 1, 1, 1]], 4));
  });

  it("has the gradient that central differences find", () => {
    const rows = 3, bins = 6, x = logits(rows * bins), t = targets(rows, bins), dy = values(rows, 4);
    const forward = (at: Float64Array): ArrayLike<number> => run(twin, "f32_dfl", call(rows, rows, [at, t], bins))[0];
    expect(relativeError(run(twin, "f32_dfl_backward", call(rows, rows * bins, [x, t, dy], bins))[0], differences(forward, x, dy))).toBeLessThan(1e-8);
  });
});

describe("binary cross entropy with logits", () => {
  it("agrees with the reference and the twin, at every size and split", () => {
    for (const n of SIZES) {
      const x = logits(n), target = values(n, 2).map((t) => Math.abs(t));
      expectAgreement(all, "f32_bce_with_logits", call(n, n, [x, target]), { fast: 3e-7, twin: 3e-7 });
      expectAgreement(all, "f32_bce_with_logits_backward", call(n, n, [x, target, values(n, 3)]), { fast: 3e-7, twin: 3e-7 });
    }
  });

  it("keeps a relative error below 4 ulp down to the smallest losses", () => {
    const x = Float64Array.from({ length: 8601 }, (_, i) => Math.fround(-86 + i / 100)), zero = new Float64Array(x.length);
    const [want] = run(twin, "f32_bce_with_logits", call(x.length, x.length, [x, zero]));
    for (const bench of [...fast, plain]) {
      const [got] = run(bench, "f32_bce_with_logits", call(x.length, x.length, [x, zero]));
      let worst = 0;
      for (let i = 0; i < x.length; i++) worst = Math.max(worst, Math.abs(got[i] / want[i] - 1));
      expect(worst, bench.loaded.build).toBeLessThan(4 * 2 ** -24);
    }
  });

  it("does not overflow on large logits, and passes NaN on", () => {
    for (const bench of every) expectSame(run(bench, "f32_bce_with_logits", call(4, 4, [[1e30, -1e30, 1e30, NaN], [1, 0, 0.5, 0]]))[0], [0, 0, bench === twin ? 5e29 : Math.fround(5e29), NaN], bench.loaded.build);
  });

  it("has the gradient that central differences find", () => {
    const x = logits(17), target = values(17, 2).map(Math.abs), dy = values(17, 3);
    const forward = (at: Float64Array): ArrayLike<number> => run(twin, "f32_bce_with_logits", call(17, 17, [at, target]))[0];
    expect(relativeError(run(twin, "f32_bce_with_logits_backward", call(17, 17, [x, target, dy]))[0], differences(forward, x, dy))).toBeLessThan(1e-8);
  });
});

describe("complete IoU", () => {
  /** Boxes of sides 1 to 5 within reach of each other: some overlap, some contain each other, some do not meet. */
  const boxes = (n: number, seed: number): Float64Array => {
    const at = values(2 * n, seed), size = values(2 * n, seed + 1);
    return Float64Array.from({ length: 4 * n }, (_, i) => {
      const row = Math.floor(i / 4), axis = i % 2, low = 4 * at[2 * row + axis];
      return Math.fround(i % 4 < 2 ? low : low + 3 + 2 * size[2 * row + axis]);
    });
  };
  const forward = (a: ArrayLike<number>, b: ArrayLike<number>): Setup => call(a.length / 4, a.length / 4, [a, b]);
  const backward = (a: ArrayLike<number>, b: ArrayLike<number>, dy: ArrayLike<number>, which: [boolean, boolean] = [true, true]): Setup => (bench) => {
    const da = which[0] ? bench.real(a.length) : 0, db = which[1] ? bench.real(b.length) : 0;
    return { n: dy.length, args: [bench.real(a), bench.real(b), bench.real(dy), da, db], writes: [da, db].filter(Boolean).map((p) => reals(p, a.length)) };
  };

  it("agrees with the reference and the twin, at every size and split", () => {
    for (const n of SIZES) {
      expectAgreement(all, "f32_ciou", forward(boxes(n, 1), boxes(n, 5)), { fast: 1.2e-7, twin: 1.2e-7 });
      expectAgreement(all, "f32_ciou_backward", backward(boxes(n, 1), boxes(n, 5), values(n, 9)), { fast: 1.2e-7, twin: 1.2e-7 });
      expectAgreement(all, "f32_giou", forward(boxes(n, 1), boxes(n, 5)), { fast: 1.2e-7, twin: 1.2e-7 });
      expectAgreement(all, "f32_giou_backward", backward(boxes(n, 1), boxes(n, 5), values(n, 9)), { fast: 1.2e-7, twin: 1.2e-7 });
    }
  });

  it("generalised is 1 for equal boxes, and by hand for two squares and for boxes apart", () => {
    const a = [0, 0, 2, 2, /**/ 0, 0, 2, 2, /**/ 0, 0, 1, 1], b = [0, 0, 2, 2, /**/ 1, 1, 3, 3, /**/ 3, 0, 4, 1];
    for (const bench of every) expect(relativeError(run(bench, "f32_giou", forward(a, b))[0], [1, 1 / 7 - 2 / 9, -2 / 4]), bench.loaded.build).toBeLessThan(2e-7);
  });

  it("generalised has the gradients that central differences find, of either box alone too", () => {
    const n = 17, a = boxes(n, 1), b = boxes(n, 5), dy = values(n, 9), [da, db] = run(twin, "f32_giou_backward", backward(a, b, dy));
    expect(relativeError(da, differences((x) => run(twin, "f32_giou", forward(x, b))[0], a, dy))).toBeLessThan(1e-7);
    expect(relativeError(db, differences((y) => run(twin, "f32_giou", forward(a, y))[0], b, dy))).toBeLessThan(1e-7);
    expectSame(run(twin, "f32_giou_backward", backward(a, b, dy, [false, true]))[0], db, "second alone");
  });

  it("is 1 for equal boxes, and by hand for two squares, for crossed bars and for boxes apart", () => {
    const a = [0, 0, 2, 2, /**/ 0, 0, 2, 2, /**/ 0, 0, 4, 2, /**/ 0, 0, 1, 1], b = [0, 0, 2, 2, /**/ 1, 1, 3, 3, /**/ 0, 0, 2, 4, /**/ 3, 0, 4, 1];
    const v = (4 / Math.PI ** 2) * (Math.atan(0.5) - Math.atan(2)) ** 2;
    const want = [1, 1 / 7 - 2 / 18, 1 / 3 - (2 / 32 + (v * v) / (v - 1 / 3 + 1)), -9 / 17];
    for (const bench of every) expect(relativeError(run(bench, "f32_ciou", forward(a, b))[0], want), bench.loaded.build).toBeLessThan(2e-7);
  });

  it("is 1 for two equal boxes however large", () => {
    for (const bench of every) expectSame(run(bench, "f32_ciou", forward([0, 0, 1e10, 1e10], [0, 0, 1e10, 1e10]))[0], [1], bench.loaded.build);
  });

  it("is finite for boxes without area and for inverted ones", () => {
    const a = [1, 1, 1, 1, /**/ 0, 0, 0, 5, /**/ 3, 3, 1, 1, /**/ 0, 0, 5, 0], b = [1, 1, 1, 1, /**/ 0, 0, 2, 2, /**/ 0, 0, 2, 2, /**/ 0, 0, 5, 0];
    for (const bench of every) {
      for (const y of run(bench, "f32_ciou", forward(a, b))[0] as Float64Array) expect(Number.isFinite(y), bench.loaded.build).toBe(true);
      for (const d of run(bench, "f32_ciou_backward", backward(a, b, [1, 1, 1, 1]))) for (const g of d as Float64Array) expect(Number.isFinite(g), bench.loaded.build).toBe(true);
    }
  });

  it("has the gradients that central differences find when alpha is held", () => {
    const n = 17, a = boxes(n, 1), b = boxes(n, 5), dy = values(n, 9);
    /** v and alpha = v / (v - IoU + 1 + eps) of each pair. */
    const aspect = (x: Float64Array, y: Float64Array): { v: number[]; alpha: number[] } => {
      const eps = 1e-7, v: number[] = [], alpha: number[] = [];
      for (let i = 0; i < 4 * n; i += 4) {
        const w1 = x[i + 2] - x[i], h1 = x[i + 3] - x[i + 1] + eps, w2 = y[i + 2] - y[i], h2 = y[i + 3] - y[i + 1] + eps;
        const inter = Math.max(0, Math.min(x[i + 2], y[i + 2]) - Math.max(x[i], y[i])) * Math.max(0, Math.min(x[i + 3], y[i + 3]) - Math.max(x[i + 1], y[i + 1]));
        v.push((4 / Math.PI ** 2) * (Math.atan(w2 / h2) - Math.atan(w1 / h1)) ** 2);
        alpha.push(v[i / 4] / (v[i / 4] - inter / (w1 * h1 + w2 * h2 - inter + eps) + 1 + eps));
      }
      return { v, alpha };
    };
    const { v } = aspect(a, b);
    /** d(ciou + alpha * v0) = d(iou - rho2/c2) - alpha dv at v = v0: what moves alpha cancels. */
    const held = (x: Float64Array, y: Float64Array): Float64Array => (run(twin, "f32_ciou", forward(x, y))[0] as Float64Array).map((c, i) => c + aspect(x, y).alpha[i] * v[i]);
    const [da, db] = run(twin, "f32_ciou_backward", backward(a, b, dy));
    expect(relativeError(da, differences((x) => held(x, b), a, dy))).toBeLessThan(1e-7);
    expect(relativeError(db, differences((y) => held(a, y), b, dy))).toBeLessThan(1e-7);
  });

  it("computes the gradient of either box alone", () => {
    const a = boxes(5, 1), b = boxes(5, 5), dy = values(5, 9);
    for (const bench of every) {
      const both = run(bench, "f32_ciou_backward", backward(a, b, dy));
      expectSame(run(bench, "f32_ciou_backward", backward(a, b, dy, [true, false]))[0], both[0], bench.loaded.build);
      expectSame(run(bench, "f32_ciou_backward", backward(a, b, dy, [false, true]))[0], both[1], bench.loaded.build);
    }
  });

  it("shares the gradient of equal edges equally, as PyTorch does", () => {
    for (const bench of every) { // equal boxes, no aspect and no distance term: only the overlap and the areas pull
      const [da, db] = run(bench, "f32_ciou_backward", backward([0, 0, 2, 2], [0, 0, 2, 2], [1]));
      expectSame(da, db, bench.loaded.build);
      expect(relativeError(da, [0, 0, 0, 0]), bench.loaded.build).toBeLessThan(1e-6);
    }
  });
});
