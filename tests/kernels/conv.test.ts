/** Dense convolution: every build against the float64 twin, the split of ranges, and the exact bits of the SIMD build. */
import { beforeAll, describe, expect, it } from "vitest";
import { benches, values, type Workbench } from "./harness.ts";

const UNIT = 2 ** -24; // half an ulp of 1 in float32

interface Conv {
  B: number; H: number; W: number; K: number; N: number; kh: number; kw: number;
  stride: number; padding: number; dilation: number; ldx: number; ldy: number; bias: boolean;
}

const conv = (given: Partial<Conv>): Conv => {
  const c = { B: 1, H: 5, W: 6, K: 5, N: 9, kh: 3, kw: 3, stride: 1, padding: 1, dilation: 1, bias: true, ...given };
  return { ldx: c.K, ldy: c.N, ...c };
};
const output = (size: number, k: number, { stride, padding, dilation }: Conv): number =>
  Math.floor((size + 2 * padding - dilation * (k - 1) - 1) / stride) + 1;
const sizes = (c: Conv) => {
  const OH = output(c.H, c.kh, c), OW = output(c.W, c.kw, c);
  return { OH, OW, taps: c.kh * c.kw, inputs: c.B * c.H * c.W, outputs: c.B * OH * OW };
};
const name = (c: Conv): string =>
  `${c.B}x${c.H}x${c.W} ${c.K}->${c.N} ${c.kh}x${c.kw} stride ${c.stride} padding ${c.padding} dilation ${c.dilation} ldx ${c.ldx} ldy ${c.ldy}${c.bias ? " bias" : ""}`;

/** `rows` rows of `width` values, `ld` apart; the gap holds NaN, so that reading it shows. */
function strided(rows: number, width: number, ld: number, seed: number, map: (v: number) => number): Float64Array {
  const dense = values(rows * width, seed);
  return Float64Array.from({ length: rows * ld }, (_, i) => (i % ld < width ? map(dense[Math.floor(i / ld) * width + (i % ld)]) : NaN));
}

interface Placed { x: number; dy: number; w: number; bias: number; packed: number; packedT: number; table: number; tableT: number; y: number; dx: number; dwt: number; dw: number }

/** Inputs, tables and packed weights of one convolution in one build; outputs are NaN. */
function place(bench: Workbench, c: Conv, map: (v: number) => number = (v) => v): Placed {
  const { OH, OW, taps, inputs, outputs } = sizes(c);
  const { kernels: k } = bench;
  bench.clear();
  const placed: Placed = {
    x: bench.real(strided(inputs, c.K, c.ldx, 1, map)),
    dy: bench.real(strided(outputs, c.N, c.ldy, 2, map)),
    w: bench.real(values(c.N * taps * c.K, 3).map(map)),
    bias: c.bias ? bench.real(values(c.N, 4).map(map)) : 0,
    packed: bench.real(Math.ceil(c.N / 8) * 8 * taps * c.K),
    packedT: bench.real(Math.ceil(c.K / 8) * 8 * taps * c.N),
    table: bench.ints(taps * outputs),
    tableT: bench.ints(taps * inputs),
    y: bench.real(outputs * c.ldy),
    dx: bench.real(inputs * c.ldx),
    dwt: bench.real(taps * c.K * c.N),
    dw: bench.real(taps * c.K * c.N),
  };
  k.conv_table(taps, placed.table, c.B, c.H, c.W, OH, OW, c.kw, c.stride, c.padding, c.dilation);
  k.conv_table_transposed(taps, placed.tableT, c.B, c.H, c.W, OH, OW, c.kw, c.stride, c.padding, c.dilation);
  k.conv_pack(Math.ceil(c.N / 8), placed.w, placed.packed, c.N, taps, c.K, 0);
  k.conv_pack_transposed(Math.ceil(c.K / 8), placed.w, placed.packedT, c.N, taps, c.K);
  return placed;
}

/** y, dx and dw of one convolution; gaps of y and dx are still NaN. */
function run(bench: Workbench, c: Conv, map?: (v: number) => number): { y: Float64Array; dx: Float64Array; dw: Float64Array } {
  const { taps, inputs, outputs } = sizes(c);
  const { kernels: k } = bench, at = place(bench, c, map);
  k.f32_conv(outputs, at.x, c.ldx, at.table, outputs, taps, c.K, at.packed, at.bias, at.y, c.ldy, c.N);
  k.f32_conv(inputs, at.dy, c.ldy, at.tableT, inputs, taps, c.N, at.packedT, 0, at.dx, c.ldx, c.K);
  k.f32_conv_weight_grad(taps * c.K, at.x, c.ldx, at.table, outputs, c.K, at.dy, c.ldy, c.N, at.dwt);
  k.conv_unpack_weight_grad(c.N, at.dwt, at.dw, c.N, taps * c.K);
  return { y: bench.readReal(at.y, outputs * c.ldy), dx: bench.readReal(at.dx, inputs * c.ldx), dw: bench.readReal(at.dw, taps * c.K * c.N) };
}

/** |got - want| <= (terms + 2) * 2^-24 * sum of |terms|: no summation order in float32 can be further off. */
function expectWithin(got: Float64Array, want: Float64Array, magnitude: Float64Array, terms: number, what: string): void {
  for (let i = 0; i < want.length; i++) {
    if (Number.isNaN(want[i]) && Number.isNaN(got[i])) continue;
    const error = Math.abs(got[i] - want[i]);
    if (!(error <= (terms + 2) * UNIT * magnitude[i])) expect.fail(`${what}[${i}]: got ${got[i]}, want ${want[i]} (terms ${terms}, magnitude ${magnitude[i]})`);
  }
}

/** Position of the first element whose bits differ, or -1. */
const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).findIndex((v, i) => !Object.is(v, b[i]));

let fast: Workbench[], plain: Workbench, twin: Workbench;
beforeAll(async () => { ({ fast, plain, twin } = await benches()); });

const CHANNELS = [1, 3, 4, 5, 7, 8, 17, 64];
const channelCases = CHANNELS.flatMap((K, i) => CHANNELS.map((N, j) =>
  conv({ K, N, H: 3 + (i % 3), W: 4 + (j % 4), bias: (i + j) % 2 === 0, ldx: K + (j % 3), ldy: N + 2 * (i % 2), stride: 1 + (i + j) % 2 })));
const geometries = [
  ...[1, 3, 5, 7].flatMap((k) => [1, 2, 4].flatMap((stride) => [0, 1, 2, 3].map((padding) => conv({ H: 8, W: 9, kh: k, kw: k, stride, padding })))),
  conv({ dilation: 2, padding: 2, H: 7, W: 8 }),
  conv({ dilation: 2, padding: 1, stride: 2, H: 9, W: 8, B: 2 }),
  conv({ kh: 1, kw: 3, padding: 0 }),
  conv({ kh: 5, kw: 1, padding: 0, stride: 2 }),
  conv({ kh: 7, kw: 7, padding: 3, stride: 4, K: 3, N: 16, H: 17, W: 13, B: 2 }),
  conv({ B: 3, K: 4, N: 8, ldx: 12, ldy: 24, bias: false }),
  conv({ B: 2, K: 17, N: 33, H: 12, W: 11, ldx: 40, ldy: 64 }),
  conv({ K: 2, N: 3, H: 40, W: 40, B: 2 }),
  conv({ K: 17, N: 64, H: 12, W: 11, B: 2 }),
  conv({ K: 30, N: 70, H: 9, W: 10, kh: 1, kw: 1, padding: 0, ldx: 32, ldy: 77 }),
  conv({ K: 9, N: 129, H: 10, W: 10, stride: 2, bias: false }),
];

describe("numbers that are not finite", () => {
  const cases = [conv({}), conv({ H: 3, W: 7, K: 17, N: 8 }), conv({ B: 2, H: 4, W: 5, K: 4, N: 3, kh: 5, kw: 5, padding: 2 }), conv({ H: 9, W: 6, stride: 2 }), conv({ kh: 1, kw: 1, padding: 0, K: 9 })];
  it.each(cases.map((c) => [name(c), c] as const))("in an input, a weight or a gradient reach the same outputs in every build, and padding never meets them: %s", (_, c) => {
    const { inputs, outputs, taps } = sizes(c), x = inputs * c.K, dy = outputs * c.N, w = c.N * taps * c.K;
    const kind = (v: number): number => (Number.isNaN(v) ? 0 : Math.abs(v) === Infinity ? Math.sign(v) : 2);
    for (const at of [0, x - 1, x + 1, x + dy - 1, x + dy, x + dy + (w >> 1), x + dy + w - 1]) { // x, then dy, then w, as they are placed
      for (const bad of [Infinity, -Infinity, NaN]) {
        const plant = (): ((v: number) => number) => { let i = 0; return (v) => (i++ === at ? bad : v); };
        const want = run(plain, c, plant());
        expect([want.y, want.dx, want.dw].some((all) => Array.from(all).some((v) => kind(v) !== 2))).toBe(true);
        for (const bench of fast) {
          const got = run(bench, c, plant());
          for (const part of ["y", "dx", "dw"] as const) expect(Array.from(got[part], kind), `${bench.loaded.build} ${part}, ${bad} at ${at}`).toEqual(Array.from(want[part], kind));
        }
      }
    }
  });
});

describe("f32_conv and its gradients", () => {
  it("runs in at least the plain SIMD build", () => expect(fast.map((b) => b.loaded.build)).toContain("simd"));

  it.each([...channelCases, ...geometries].map((c) => [name(c), c] as const))("agrees with float64: %s", (_, c) => {
    const want = run(twin, c), magnitude = run(twin, c, Math.abs);
    const { taps, outputs } = sizes(c);
    for (const bench of [...fast, plain]) {
      const got = run(bench, c);
      expectWithin(got.y, want.y, magnitude.y, taps * c.K + 1, `${bench.loaded.build} y`);
      expectWithin(got.dx, want.dx, magnitude.dx, taps * c.N, `${bench.loaded.build} dx`);
      expectWithin(got.dw, want.dw, magnitude.dw, outputs, `${bench.loaded.build} dw`);
    }
  });

  it("gives in the SIMD build the bits of the plain loop: one running sum per element, bias first", () => {
    const simd = fast.find((b) => b.loaded.build === "simd")!;
    for (const c of [...channelCases, ...geometries]) {
      const got = run(simd, c), want = run(plain, c);
      expect(difference(got.y.map((v) => v + 0), want.y.map((v) => v + 0)), `y of ${name(c)}`).toBe(-1); // -0 counts as 0
      expect(difference(got.dx.map((v) => v + 0), want.dx.map((v) => v + 0)), `dx of ${name(c)}`).toBe(-1);
      expect(difference(got.dw.map((v) => v + 0), want.dw.map((v) => v + 0)), `dw of ${name(c)}`).toBe(-1);
    }
  });

  it("has gradients that are its transposes: <dy, conv(x, w)> = <dx, x> = <dw, w>", () => {
    const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, v, i) => sum + v * b[i], 0);
    for (const c of [...channelCases, ...geometries].map((c) => ({ ...c, ldx: c.K, ldy: c.N, bias: false }))) {
      const { taps, inputs, outputs } = sizes(c), { y, dx, dw } = run(twin, c);
      const want = dot(values(outputs * c.N, 2), y);
      expect(dot(values(inputs * c.K, 1), dx)).toBeCloseTo(want, 8);
      expect(dot(values(c.N * taps * c.K, 3), dw)).toBeCloseTo(want, 8);
    }
  });

  it("writes nothing between the rows of a wide output", () => {
    const c = conv({ ldy: 24, ldx: 11 });
    for (const bench of fast) {
      const { y, dx } = run(bench, c);
      y.forEach((v, i) => expect(Number.isNaN(v)).toBe(i % c.ldy >= c.N));
      dx.forEach((v, i) => expect(Number.isNaN(v)).toBe(i % c.ldx >= c.K));
    }
  });

  it("makes the same tables in every build", () => {
    for (const c of geometries) {
      const { taps, inputs, outputs } = sizes(c);
      const tables = [...fast, plain, twin].map((bench) => {
        const at = place(bench, c);
        return [bench.readInts(at.table, taps * outputs), bench.readInts(at.tableT, taps * inputs)];
      });
      for (const [table, transposed] of tables) {
        expect(difference(table, tables[0][0]), name(c)).toBe(-1);
        expect(difference(transposed, tables[0][1]), name(c)).toBe(-1);
      }
    }
  });

  it("has a table that names the pixel under each tap and -1 in the padding", () => {
    for (const bench of [...fast, plain]) {
      bench.clear();
      const table = bench.ints(9 * 2);
      bench.kernels.conv_table(9, table, 1, 2, 3, 1, 2, 3, 2, 1, 1); // 2x3 image, 1x2 output
      expect(Array.from(bench.readInts(table, 18))).toEqual([-1, -1, -1, -1, -1, -1, -1, 1, 0, 2, 1, -1, -1, 4, 3, 5, 4, -1]);
    }
  });
});

describe("f32_gemm", () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 64, 100].map((n) => [n]))("agrees with float64 on %i rows", (n) => {
    for (const [i, K] of CHANNELS.entries()) for (const [j, N] of CHANNELS.entries()) {
      const c = conv({ B: 1, H: 1, W: n, kh: 1, kw: 1, padding: 0, K, N, ldx: K + i % 3, ldy: N + j % 2, bias: (i + j) % 2 === 0 });
      const gemm = (bench: Workbench, map?: (v: number) => number): Float64Array => {
        const at = place(bench, c, map);
        bench.kernels.f32_gemm(n, at.x, c.ldx, K, at.packed, at.bias, at.y, c.ldy, N);
        return bench.readReal(at.y, n * c.ldy);
      };
      const want = gemm(twin), magnitude = gemm(twin, Math.abs);
      for (const bench of [...fast, plain]) expectWithin(gemm(bench), want, magnitude, K + 1, `${bench.loaded.build} ${K}->${N}`);
    }
  });

  it("is the 1x1 convolution, to the bit, and so is its weight gradient without a table", () => {
    const c = conv({ kh: 1, kw: 1, padding: 0, K: 17, N: 19, H: 9, W: 11, ldx: 20 });
    const { outputs } = sizes(c);
    for (const bench of [...fast, plain, twin]) {
      const byTable = run(bench, c), at = place(bench, c), { kernels: k } = bench;
      k.f32_gemm(outputs, at.x, c.ldx, c.K, at.packed, at.bias, at.y, c.ldy, c.N);
      k.f32_conv_weight_grad(c.K, at.x, c.ldx, 0, outputs, c.K, at.dy, c.ldy, c.N, at.dwt);
      k.conv_unpack_weight_grad(c.N, at.dwt, at.dw, c.N, c.K);
      expect(difference(bench.readReal(at.y, outputs * c.ldy), byTable.y)).toBe(-1);
      expect(difference(bench.readReal(at.dw, c.K * c.N), byTable.dw)).toBe(-1);
    }
  });
});

describe("ranges", () => {
  const cases = [
    conv({ K: 17, N: 19, H: 7, W: 9, B: 2, ldx: 18, ldy: 21 }),
    conv({ K: 8, N: 8, H: 6, W: 7, stride: 2 }),
    conv({ K: 3, N: 64, H: 11, W: 13, kh: 5, kw: 5, padding: 2, stride: 4 }),
    conv({ K: 64, N: 5, H: 20, W: 30, kh: 1, kw: 1, padding: 0 }),
    conv({ K: 17, N: 70, H: 12, W: 11, ldy: 71 }),
  ];
  type Step = readonly [kernel: string, n: number, run: (begin: number, end: number) => void, out: number, size: number, item: (i: number) => number];

  /** Every kernel of this family on one case: items, a call, its output, and which item owns an element of it. */
  function steps(bench: Workbench, c: Conv): Step[] {
    const { OH, OW, taps, inputs, outputs } = sizes(c);
    const at = place(bench, c), { ranges: r } = bench.loaded, rows = taps * c.K;
    const geometry = [c.B, c.H, c.W, OH, OW, c.kw, c.stride, c.padding, c.dilation] as const;
    r.f32_conv_weight_grad(0, rows, at.x, c.ldx, at.table, outputs, c.K, at.dy, c.ldy, c.N, at.dwt);
    const dwt = bench.real(rows * c.N);
    return [
      ["conv_pack", Math.ceil(c.N / 8), (b, e) => r.conv_pack(b, e, at.w, at.packed, c.N, taps, c.K, 0), at.packed, Math.ceil(c.N / 8) * 8 * rows, (i) => Math.floor(i / (8 * rows))],
      ["conv_pack_transposed", Math.ceil(c.K / 8), (b, e) => r.conv_pack_transposed(b, e, at.w, at.packedT, c.N, taps, c.K), at.packedT, Math.ceil(c.K / 8) * 8 * taps * c.N, (i) => Math.floor(i / (8 * taps * c.N))],
      ["conv_table", taps, (b, e) => r.conv_table(b, e, at.table, ...geometry), at.table, taps * outputs, (i) => Math.floor(i / outputs)],
      ["conv_table_transposed", taps, (b, e) => r.conv_table_transposed(b, e, at.tableT, ...geometry), at.tableT, taps * inputs, (i) => Math.floor(i / inputs)],
      ["f32_conv", outputs, (b, e) => r.f32_conv(b, e, at.x, c.ldx, at.table, outputs, taps, c.K, at.packed, at.bias, at.y, c.ldy, c.N), at.y, outputs * c.ldy, (i) => (i % c.ldy < c.N ? Math.floor(i / c.ldy) : -1)],
      ["f32_conv of dy", inputs, (b, e) => r.f32_conv(b, e, at.dy, c.ldy, at.tableT, inputs, taps, c.N, at.packedT, 0, at.dx, c.ldx, c.K), at.dx, inputs * c.ldx, (i) => (i % c.ldx < c.K ? Math.floor(i / c.ldx) : -1)],
      ["f32_gemm", outputs, (b, e) => r.f32_gemm(b, e, at.x, c.ldx, c.K, at.packed, at.bias, at.y, c.ldy, c.N), at.y, outputs * c.ldy, (i) => (i % c.ldy < c.N ? Math.floor(i / c.ldy) : -1)],
      ["f32_conv_weight_grad", rows, (b, e) => r.f32_conv_weight_grad(b, e, at.x, c.ldx, at.table, outputs, c.K, at.dy, c.ldy, c.N, dwt), dwt, rows * c.N, (i) => Math.floor(i / c.N)],
      ["conv_unpack_weight_grad", c.N, (b, e) => r.conv_unpack_weight_grad(b, e, at.dwt, at.dw, c.N, rows), at.dw, rows * c.N, (i) => Math.floor(i / rows)],
    ];
  }
  /** Four-byte elements as bits, so that NaN, -0 and integers compare alike. */
  const bits = (bench: Workbench, out: number, size: number): Int32Array => bench.readInts(out, size);
  const poison = (bench: Workbench, out: number, size: number): void => { new Int32Array(bench.loaded.memory.buffer, out, size).fill(0x7fc0dead); };

  it.each(cases.map((c) => [name(c), c] as const))("may be split anywhere with the same bits, and touch only their own items: %s", (_, c) => {
    for (const bench of fast) {
      for (const [kernel, n, call, out, size, item] of steps(bench, c)) {
        const what = `${kernel} in ${bench.loaded.build}`;
        call(0, n);
        const whole = bits(bench, out, size);
        for (const pieces of [[1], [Math.floor(n / 2)], [Math.floor(n / 3), Math.floor(n / 3) + 1, n - 1], [3, 10, 15, 40, 41]]) {
          const cuts = [0, ...pieces.filter((cut) => cut > 0 && cut < n), n];
          poison(bench, out, size);
          for (let i = cuts.length - 1; i > 0; i--) call(cuts[i - 1], cuts[i]); // last piece first: order must not matter
          const split = bits(bench, out, size);
          expect(Array.from(split).findIndex((v, i) => item(i) >= 0 && v !== whole[i]), `${what} cut at ${pieces}`).toBe(-1);
        }
        const [begin, end] = [Math.floor(n / 3), Math.max(Math.floor(n / 3) + 1, n - 2)];
        poison(bench, out, size);
        call(begin, end);
        const part = bits(bench, out, size);
        expect(Array.from(part).findIndex((v, i) => v !== (item(i) >= begin && item(i) < end ? whole[i] : 0x7fc0dead)), `${what} over [${begin}, ${end})`).toBe(-1);
        call(0, n);
      }
    }
  });
});
