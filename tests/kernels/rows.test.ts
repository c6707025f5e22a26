import { describe, expect, it } from "vitest";
import type { Kernels } from "../../kernels/signatures.ts";
import { differences, expectAgreement, expectSame, expectSplits, reals, run, type Setup } from "./agreement.ts";
import { SIZES, benches, relativeError, values, type Workbench } from "./harness.ts";

const all = await benches();
const { fast, plain, twin } = all;

/** [rows, width]: few and many of each. */
const SHAPES = [[1, 1], [3, 5], [4, 4], [5, 3], [7, 16], [8, 17], [17, 8], [64, 7], [1000, 1]] as const;

describe("rows", () => {
  const cases: { name: keyof Kernels; setup: (rows: number, C: number) => Setup }[] = [
    { // columns 1..C of rows of C + 2, into columns 2.. of rows of C + 5
      name: "f32_copy_columns",
      setup: (rows, C) => (bench) => {
        const x = bench.real(values(rows * (C + 2))), y = bench.real(new Float64Array(rows * (C + 5))), at = (p: number, i: number): number => p + bench.loaded.bytes * i;
        return { n: rows, args: [at(x, 1), C + 2, at(y, 2), C + 5, C], writes: Array.from({ length: rows }, (_, row) => reals(at(y, row * (C + 5) + 2), C)) };
      },
    },
    {
      name: "f32_mul_row",
      setup: (rows, C) => (bench) => { const y = bench.real(rows * C); return { n: rows, args: [bench.real(values(rows * C, 1)), bench.real(values(C, 2)), y, C], writes: [reals(y, rows * C)] }; },
    },
    {
      name: "f32_affine_row",
      setup: (rows, C) => (bench) => {
        const y = bench.real(rows * C);
        return { n: rows, args: [bench.real(values(rows * C, 1)), bench.real(values(C, 2)), bench.real(values(C, 3)), y, C], writes: [reals(y, rows * C)] };
      },
    },
    {
      name: "f32_gather_rows",
      setup: (rows, C) => (bench) => {
        const y = bench.real(rows * C), index = Array.from({ length: rows }, (_, row) => (row * 7) % 5);
        return { n: rows, args: [bench.real(values(5 * C)), bench.ints(index), y, C], writes: [reals(y, rows * C)] };
      },
    },
    {
      name: "f32_scatter_rows",
      setup: (rows, C) => (bench) => {
        const dx = bench.real(new Float64Array(5 * C)), index = Array.from({ length: rows }, (_, row) => (row * 7) % 5);
        return { n: 1, args: [bench.real(values(rows * C)), bench.ints(index), dx, rows, C], writes: [reals(dx, 5 * C)] };
      },
    },
    {
      name: "f32_norm_backward",
      setup: (rows, C) => (bench) => {
        const dx = bench.real(rows * C);
        return {
          n: rows,
          args: [bench.real(values(rows * C, 1)), bench.real(values(rows * C, 2)), bench.real(values(C, 3)), bench.real(values(C, 4)), bench.real(values(C, 5)), dx, C],
          writes: [reals(dx, rows * C)],
        };
      },
    },
    {
      name: "f32_norm_affine",
      setup: (rows, C) => (bench) => {
        const [scale, shift] = [bench.real(C), bench.real(C)], [gamma, beta, mean] = [1, 2, 3].map((seed) => bench.real(values(C, seed)));
        return { n: C, args: [gamma, beta, mean, bench.real(values(C, 4).map((v) => v * v / rows)), 1e-3, scale, shift], writes: [reals(scale, C), reals(shift, C)] };
      },
    },
    {
      name: "f32_norm_running",
      setup: (rows, C) => (bench) => {
        const [mean, variance, runningMean, runningVariance] = [1, 2, 3, 4].map((seed) => bench.real(values(C, seed)));
        return { n: C, args: [mean, variance, runningMean, runningVariance, 0.03, (rows + 1) / rows], writes: [reals(runningMean, C), reals(runningVariance, C)] };
      },
    },
    {
      name: "f32_norm_coefficients",
      setup: (rows, C) => (bench) => {
        const [a, b, k] = [bench.real(C), bench.real(C), bench.real(C)], [gamma, mean, sum, dot] = [1, 2, 3, 4].map((seed) => bench.real(values(C, seed)));
        return { n: C, args: [gamma, mean, bench.real(values(C, 5).map((v) => v * v)), 1e-3, sum, dot, rows === 5 ? 0 : rows, a, b, k], writes: [a, b, k, dot].map((p) => reals(p, C)) };
      },
    },
    {
      name: "f32_normed_weight_grad",
      setup: (out, C) => (bench) => {
        const [dw, ofLine] = [bench.real(out * C), bench.real(2 * C)], [dA, w] = [1, 2].map((seed) => bench.real(values(out * C, seed)));
        return { n: C, args: [dA, w, bench.real(values(3 * C, 3)), bench.real(values(2 * out, 4)), dw, ofLine, out, C], writes: [reals(dw, out * C), reals(ofLine, 2 * C)] };
      },
    },
    {
      name: "f32_normed_coefficients",
      setup: (rows, C) => (bench) => {
        const results = [1, 2, 3, 4].map(() => bench.real(C)), [gamma, mean] = [1, 2].map((seed) => bench.real(values(C, seed)));
        return { n: C, args: [bench.real(values(2 * C, 3)), gamma, mean, bench.real(values(C, 5).map((v) => v * v)), 1e-3, rows, ...results, C], writes: results.map((p) => reals(p, C)) };
      },
    },
  ];
  for (const { name, setup } of cases) {
    it(`${name} is the same bit for bit in every build, at every shape and split`, () => {
      for (const [rows, C] of SHAPES) expectAgreement(all, name, setup(rows, C));
    });
  }

  it("affine_row may write over its input", () => {
    const x = values(5 * 7, 1), scale = values(7, 2), shift = values(7, 3);
    for (const bench of [...fast, plain]) {
      const over = (inPlace: boolean): Setup => (b) => { const X = b.real(x), y = inPlace ? X : b.real(35); return { n: 5, args: [X, b.real(scale), b.real(shift), y, 7], writes: [reals(y, 35)] }; };
      expectSame(run(bench, "f32_affine_row", over(true))[0], run(bench, "f32_affine_row", over(false))[0], bench.loaded.build);
    }
  });

  it("scatter_rows adds rows that share an index, and is the gradient of gather_rows", () => {
    const index = [2, 0, 2, 2, 1], x = values(4 * 3, 1), dy = values(5 * 3, 2);
    const gather = (at: Float64Array): ArrayLike<number> => run(twin, "f32_gather_rows", (b) => { const y = b.real(15); return { n: 5, args: [b.real(at), b.ints(index), y, 3], writes: [reals(y, 15)] }; })[0];
    const [dx] = run(twin, "f32_scatter_rows", (b) => { const d = b.real(new Float64Array(12)); return { n: 1, args: [b.real(dy), b.ints(index), d, 5, 3], writes: [reals(d, 12)] }; });
    expect(relativeError(dx, differences(gather, x, dy))).toBeLessThan(1e-9);
    expectSame(Array.from(dx).slice(9), [0, 0, 0], "a row that nobody read");
  });
});

describe("time", () => {
  const T = 3;
  const repeat = (x: Float64Array, a: number): Setup => (bench) => {
    const n = x.length, stride = n + 2, y = bench.real(T * stride), at = (t: number): number => y + bench.loaded.bytes * t * stride;
    return { n, args: [bench.real(x), y, T, stride, a], writes: [0, 1, 2].map((t) => reals(at(t), n)) };
  };
  const sumOver = (x: Float64Array, n: number, a: number): Setup => (bench) => { const y = bench.real(n); return { n, args: [bench.real(x), y, T, x.length / T, a], writes: [reals(y, n)] }; };

  it("repeat and sum_over are the same bit for bit in every build, at every size and split", () => {
    for (const n of SIZES) {
      expectAgreement(all, "f32_repeat", repeat(values(n), 0.375));
      expectAgreement(all, "f32_sum_over", sumOver(values(T * (n + 2)), n, 0.375));
    }
  });

  it("repeat and sum_over are each other's gradient", () => {
    const x = values(5, 1), dy = values(T * 5, 2);
    const forward = (at: Float64Array): number[] => run(twin, "f32_repeat", repeat(at, 0.5)).flatMap((y) => Array.from(y));
    expect(relativeError(run(twin, "f32_sum_over", sumOver(dy, 5, 0.5))[0], differences(forward, x, dy))).toBeLessThan(1e-9);
  });
});

describe("sums", () => {
  const blocks = (total: number): number => Math.ceil(total / 4096);
  const sum = (x: Float64Array): Setup => (bench) => { const partial = bench.real(blocks(x.length)); return { n: blocks(x.length), args: [bench.real(x), partial, x.length], writes: [reals(partial, blocks(x.length))] }; };

  it("sum and sum_squares agree with the twin to a few ulp of the largest block, at every size and split", () => {
    for (const n of [...SIZES, 4095, 4096, 4097, 10000]) {
      for (const name of ["f32_sum", "f32_sum_squares"] as const) expectAgreement(all, name, sum(values(n).map((x) => x + 1)), { fast: 1.2e-7, twin: 1.2e-7 });
    }
  });

  it("a sum of large numbers of both signs keeps the small difference that is left", () => {
    const x = Float64Array.from({ length: 4096 }, (_, i) => (i % 2 ? -1e7 : 1e7 + 1));
    for (const bench of [...fast, plain]) expectSame(run(bench, "f32_sum", sum(x))[0], [2048], bench.loaded.build);
  });
});

describe("column statistics", () => {
  const rowBlocks = (rows: number): number => Math.ceil(rows / 256);
  const shapes = [...SHAPES, [256, 4], [257, 5], [1023, 19], [2, 64]] as const;
  const spread = (n: number, seed: number): Float64Array => values(n, seed).map((x) => Math.fround(x + 3)); // a mean that is not small

  it("column sums and dots agree with the twin to 1e-6, at every shape and split", () => {
    for (const [rows, C] of shapes) {
      const n = rowBlocks(rows), x = spread(rows * (C + 1), 1), mean = values(C, 2).map((m) => Math.fround(m / 10 + 3)), dy = values(rows * C, 3);
      /** `outputs` partials of [n, C] behind the inputs. */
      const columns = (inputs: Float64Array[], outputs: number, tail: number[]): Setup => (bench) => {
        const args = inputs.map((values) => bench.real(values)), partials = Array.from({ length: outputs }, () => bench.real(n * C));
        return { n, args: [...args, ...partials, ...tail], writes: partials.map((partial) => reals(partial, n * C)) };
      };
      const bounds = { fast: 1e-6, twin: 1e-6 };
      expectAgreement(all, "f32_column_sums", columns([x], 1, [rows, C, C + 1]), bounds);
      expectAgreement(all, "f32_column_dots", columns([x, mean, dy], 2, [rows, C]), bounds);
    }
  });

  it("combine_moments is the same bit for bit in every build, at every shape and split", () => {
    for (const [rows, C] of shapes) {
      const size = rowBlocks(rows) * C;
      expectAgreement(all, "f32_combine_moments", (bench) => {
        const mean = bench.real(C), variance = bench.real(C);
        return { n: C, args: [bench.real(spread(size, 1)), bench.real(values(size, 2)), bench.real(values(size, 3).map((v) => 300 + v)), mean, variance, rows, C], writes: [reals(mean, C), reals(variance, C)] };
      });
    }
  });

  it("combine_columns is the same bit for bit in every build", () => {
    for (const [blocks, C] of SHAPES) {
      expectAgreement(all, "f32_combine_columns", (bench) => { const y = bench.real(C); return { n: C, args: [bench.real(values(blocks * C)), y, blocks, C, 0.125], writes: [reals(y, C)] }; });
    }
  });

  /** A column of x, statistics as batch norm takes them: mean and biased variance. */
  function statistics(bench: Workbench, x: Float64Array, rows: number, C: number): { mean: ArrayLike<number>; variance: ArrayLike<number> } {
    bench.clear();
    const { kernels } = bench, n = rowBlocks(rows), X = bench.real(x), mean = bench.real(C), variance = bench.real(C);
    const [means, rests, squares] = [0, 1, 2].map(() => bench.real(n * C));
    kernels.f32_column_moments(n, X, means, rests, squares, rows, C);
    kernels.f32_combine_moments(C, means, rests, squares, mean, variance, rows, C);
    return { mean: bench.readReal(mean, C), variance: bench.readReal(variance, C) };
  }

  it("mean and variance agree with the twin to 1e-6, at every shape, and the moments with themselves for any split", () => {
    for (const [rows, C] of shapes) {
      const x = spread(rows * C, 4), want = statistics(twin, x, rows, C), n = rowBlocks(rows);
      for (const bench of [...fast, plain]) {
        const got = statistics(bench, x, rows, C);
        expect(relativeError(got.mean, want.mean), bench.loaded.build).toBeLessThan(1e-6);
        expect(relativeError(got.variance, want.variance), bench.loaded.build).toBeLessThan(1e-6);
        expectSplits(bench, "f32_column_moments", (b) => {
          const X = b.real(x), partials = [0, 1, 2].map(() => b.real(n * C));
          return { n, args: [X, ...partials, rows, C], writes: partials.map((partial) => reals(partial, n * C)) };
        });
      }
    }
  });

  it("mean and variance of 25600 rows are right to 1e-6", () => {
    const rows = 25600, C = 8, x = spread(rows * C, 4), want = statistics(twin, x, rows, C);
    for (const bench of [...fast, plain]) {
      const got = statistics(bench, x, rows, C);
      expect(relativeError(got.mean, want.mean), bench.loaded.build).toBeLessThan(1e-6);
      expect(relativeError(got.variance, want.variance), bench.loaded.build).toBeLessThan(1e-6);
    }
  });

  it("a mean of 4000 costs the variance no digits, also where the mean drifts from block to block", () => {
    const rows = 2560, C = 5, x = values(rows * C, 7).map((v, i) => Math.fround(v + 4000 + Math.floor(i / C / 256) / 4)), want = statistics(twin, x, rows, C);
    const plainly = Array.from({ length: C }, (_, c) => {
      const column = x.filter((_, i) => i % C === c), mean = column.reduce((a, b) => a + b) / rows;
      return column.reduce((sum, v) => sum + (v - mean) ** 2, 0) / rows;
    });
    expect(relativeError(want.variance, plainly)).toBeLessThan(1e-12);
    for (const bench of [...fast, plain]) expect(relativeError(statistics(bench, x, rows, C).variance, plainly), bench.loaded.build).toBeLessThan(2e-6);
  });

  it("norm_backward with batch norm's coefficients is what central differences find", () => {
    const rows = 6, C = 3, eps = 1e-3, x = values(rows * C, 5), dy = values(rows * C, 6), { kernels } = twin;
    const forward = (at: Float64Array): ArrayLike<number> => {
      const { mean, variance } = statistics(twin, at, rows, C), scale = Array.from(variance, (v) => 1 / Math.sqrt(v + eps));
      return run(twin, "f32_affine_row", (b) => {
        const y = b.real(rows * C);
        return { n: rows, args: [b.real(at), b.real(scale), b.real(scale.map((s, c) => -mean[c] * s)), y, C], writes: [reals(y, rows * C)] };
      })[0];
    };
    const { mean, variance } = statistics(twin, x, rows, C);
    twin.clear();
    const X = twin.real(x), dY = twin.real(dy), m = twin.real(mean), sums = twin.real(C), dots = twin.real(C), partials = [twin.real(C), twin.real(C)];
    kernels.f32_column_dots(1, X, m, dY, partials[0], partials[1], rows, C);
    kernels.f32_combine_columns(C, partials[0], sums, 1, C, 1 / rows);
    kernels.f32_combine_columns(C, partials[1], dots, 1, C, 1 / rows);
    const sum = twin.readReal(sums, C), dot = twin.readReal(dots, C), r = Array.from(variance, (v) => 1 / Math.sqrt(v + eps));
    // dx = r (dy - mean(dy) - (x - mean) r^2 mean(dy (x - mean)))
    const b = r.map((rc, c) => -(rc ** 3) * dot[c]), k = r.map((rc, c) => -rc * sum[c] - b[c] * mean[c]), dx = twin.real(rows * C);
    kernels.f32_norm_backward(rows, X, dY, twin.real(r), twin.real(b), twin.real(k), dx, C);
    expect(relativeError(twin.readReal(dx, rows * C), differences(forward, x, dy))).toBeLessThan(1e-7);
  });
});
