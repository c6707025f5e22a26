/** Winograd's four kernels: the bits of the plain loops, any split, and together the direct convolution and its input gradient. */
import { beforeAll, describe, expect, it } from "vitest";
import { benches, relativeError, SIZES, values, type Workbench } from "./harness.ts";
import { expectAgreement, expectSame, expectSplits, reals, type Setup } from "./agreement.ts";

let fast: Workbench[], plain: Workbench, twin: Workbench;
beforeAll(async () => { ({ fast, plain, twin } = await benches()); });

const POSITIONS = 36, LINE = 16;
const ERROR = 1e-5; // of the largest value
const padded = (multiple: number, n: number): number => Math.ceil(n / multiple) * multiple;
const planes = (rows: number, width: number): number => POSITIONS * (rows * width + LINE);

interface Case { B: number; H: number; W: number; K: number; N: number; padding: number; bias: boolean; round: number }
const of = (given: Partial<Case>): Case => ({ B: 1, H: 6, W: 7, K: 5, N: 9, padding: 1, bias: true, round: 64, ...given });
const name = (c: Case): string => `${c.B}x${c.H}x${c.W} ${c.K}->${c.N} padding ${c.padding}${c.bias ? " bias" : ""} rounds of ${c.round}`;
function sizes({ B, H, W, padding }: Case) {
  const OH = H + 2 * padding - 2, OW = W + 2 * padding - 2;
  return { OH, OW, inputs: B * H * W, outputs: B * OH * OW, tiles: B * Math.ceil(OH / 4) * Math.ceil(OW / 4) };
}

const cases = [
  ...SIZES.slice(0, 8).flatMap((K, i) => SIZES.slice(0, 8).map((N, j) => of({ K, N, H: 3 + (i % 5), W: 4 + (j % 5), padding: (i + j) % 3, bias: (i + 2 * j) % 3 > 0 }))),
  ...SIZES.slice(0, 7).flatMap((H) => SIZES.slice(0, 7).flatMap((W) => [0, 1, 2].map((padding) => of({ H, W, padding, K: 4, N: 8 })))).filter((c) => c.H + 2 * c.padding > 2 && c.W + 2 * c.padding > 2),
  of({ K: 1000, N: 1, H: 3, W: 3 }), of({ K: 1, N: 1000, H: 3, W: 3 }), of({ K: 129, N: 3 }), of({ K: 3, N: 130 }), of({ K: 65, N: 66, H: 3, W: 3 }),
  of({ B: 3, H: 9, W: 10, K: 17, N: 19, round: 4 }), of({ B: 2, H: 13, W: 5, round: 3, padding: 0 }), of({ B: 5, H: 2, W: 3, round: 1, padding: 2 }), of({ B: 3, H: 17, W: 15, round: 7 }),
];

/** x, weights, and y from them by Winograd and directly; then dx from y's gradient likewise. */
function both(bench: Workbench, c: Case) {
  const { OH, OW, inputs, outputs } = sizes(c), { B, H, W, K, N, padding } = c, { kernels: k } = bench;
  bench.clear();
  const x = bench.real(values(inputs * K, 1)), dy = bench.real(values(outputs * N, 2)), w = bench.real(values(N * 9 * K, 3));
  const bias = c.bias ? bench.real(values(N, 4)) : 0;
  const packed = bench.real(padded(8, N) * 9 * K), turned = bench.real(padded(8, K) * 9 * N);
  const table = bench.ints(9 * outputs), back = bench.ints(9 * inputs);
  k.conv_pack(Math.ceil(N / 8), w, packed, N, 9, K, 0);
  k.conv_pack_transposed(Math.ceil(K / 8), w, turned, N, 9, K);
  k.conv_table(9, table, B, H, W, OH, OW, 3, 1, padding, 1);
  k.conv_table_transposed(9, back, B, H, W, OH, OW, 3, 1, padding, 1);
  const direct = { y: bench.real(outputs * N), dx: bench.real(inputs * K) }, winograd = { y: bench.real(outputs * N), dx: bench.real(inputs * K) };
  k.f32_conv(outputs, x, K, table, outputs, 9, K, packed, bias, direct.y, N, N);
  k.f32_conv(inputs, dy, N, back, inputs, 9, N, turned, 0, direct.dx, K, K);
  convolve(bench, c.round, { B, H, W, K, packed, flip: 0, padding, bias, OH, OW, N }, x, winograd.y);
  convolve(bench, c.round, { B, H: OH, W: OW, K: N, packed: turned, flip: 1, padding: 2 - padding, bias: 0, OH: H, OW: W, N: K }, dy, winograd.dx);
  const read = ({ y, dx }: { y: number; dx: number }) => ({ y: bench.readReal(y, outputs * N), dx: bench.readReal(dx, inputs * K) });
  return { direct: read(direct), winograd: read(winograd) };
}

interface Convolution { B: number; H: number; W: number; K: number; packed: number; flip: number; padding: number; bias: number; OH: number; OW: number; N: number }

function convolve(bench: Workbench, round: number, { B, H, W, K, packed, flip, padding, bias, OH, OW, N }: Convolution, x: number, y: number): void {
  const { kernels: k } = bench, all = B * Math.ceil(OH / 4) * Math.ceil(OW / 4), most = Math.min(all, round);
  const u = bench.real(planes(padded(8, N), K)), v = bench.real(planes(most, padded(4, K))), m = bench.real(planes(most, padded(8, N)));
  k.winograd_weights(Math.ceil(N / 8), packed, u, N, K, flip);
  for (let first = 0; first < all; first += round) {
    const tiles = Math.min(round, all - first);
    k.f32_winograd_input(tiles, x, v, first, tiles, H, W, OH, OW, K, padding);
    k.f32_winograd_multiply(POSITIONS * Math.ceil(N / 8), v, u, m, tiles, K, N);
    k.f32_winograd_output(tiles, m, bias, y, first, tiles, OH, OW, N);
  }
}

describe("Winograd", () => {
  it.each(cases.map((c) => [name(c), c] as const))("is the direct convolution and its input gradient: %s", (_, c) => {
    const exact = both(twin, c);
    for (const side of ["y", "dx"] as const) expect(relativeError(exact.winograd[side], exact.direct[side]), `${side} in float64`).toBeLessThan(1e-13);
    const want = both(plain, c).winograd, got = fast.map((bench) => [bench.loaded.build, both(bench, c).winograd] as const);
    for (const [build, result] of [["reference", want], ...got] as const) for (const side of ["y", "dx"] as const) {
      expect(relativeError(result[side], exact.direct[side]), `${side} in ${build}`).toBeLessThan(ERROR);
      if (build === "simd") expectSame(result[side], want[side], `${side} in simd`);
    }
  });

  it("gives the same bits whatever the rounds", () => {
    for (const bench of [...fast, plain]) {
      const want = both(bench, of({ B: 2, H: 11, W: 9 })).winograd;
      for (const round of [1, 2, 5, 8, 17]) expectSame(both(bench, of({ B: 2, H: 11, W: 9, round })).winograd.y, want.y, `rounds of ${round} in ${bench.loaded.build}`);
    }
  });
});

describe("each kernel has the bits of the plain loop, for any split, and writes nothing else", () => {
  const agree = (kernel: Parameters<typeof expectAgreement>[1], setup: Setup): void => {
    expectAgreement({ fast: fast.filter((b) => b.loaded.build === "simd"), plain, twin }, kernel, setup);
    for (const bench of fast) expectSplits(bench, kernel, setup);
  };

  it.each(SIZES.slice(0, 8).flatMap((K) => [1, 7, 8, 17, 64].map((N) => [K, N] as const)))("winograd_weights %i -> %i", (K, N) => {
    for (const flip of [0, 1]) agree("winograd_weights", (bench) => {
      const w = bench.real(values(N * 9 * K)), packed = bench.real(padded(8, N) * 9 * K), u = bench.real(planes(padded(8, N), K));
      bench.kernels.conv_pack(Math.ceil(N / 8), w, packed, N, 9, K, 0);
      return { n: Math.ceil(N / 8), args: [packed, u, N, K, flip], writes: [reals(u, planes(padded(8, N), K))] };
    });
  });

  const pictures = [of({}), of({ B: 2, H: 9, W: 5, padding: 0 }), of({ H: 3, W: 17, padding: 2 }), of({ B: 3, H: 1, W: 1, padding: 1 })];
  it.each(SIZES.filter((C) => C < 1000).flatMap((C) => pictures.map((c) => [C, c] as const)))("f32_winograd_input of %i channels, %o", (K, c) => {
    const { OH, OW, inputs, tiles: all } = sizes(c), first = all > 1 ? 1 : 0, tiles = all - first;
    agree("f32_winograd_input", (bench) => {
      const x = bench.real(values(inputs * K)), size = planes(tiles, padded(4, K)), v = bench.real(size);
      return { n: tiles, args: [x, v, first, tiles, c.H, c.W, OH, OW, K, c.padding], writes: [reals(v, size)] };
    });
  });

  it.each(SIZES.slice(0, 8).flatMap((K) => [1, 8, 17, 64].map((N, i) => [K, N, 1 + 3 * i] as const)))("f32_winograd_multiply %i -> %i, %i tiles", (K, N, tiles) => {
    agree("f32_winograd_multiply", (bench) => {
      const v = bench.real(values(planes(tiles, padded(4, K)), 1)), u = bench.real(values(planes(padded(8, N), K), 2));
      const size = planes(tiles, padded(8, N)), m = bench.real(size);
      return { n: POSITIONS * Math.ceil(N / 8), args: [v, u, m, tiles, K, N], writes: [reals(m, size)] };
    });
  });

  it.each(SIZES.filter((C) => C < 1000).flatMap((C) => pictures.map((c) => [C, c] as const)))("f32_winograd_output of %i channels, %o", (N, c) => {
    const { OH, OW, outputs, tiles: all } = sizes(c), first = all > 1 ? 1 : 0, tiles = all - first, size = planes(tiles, padded(8, N));
    const place = (bench: Workbench) => ({ m: bench.real(values(size)), bias: c.bias ? bench.real(values(N, 2)) : 0, y: bench.real(outputs * N) });
    const result = (bench: Workbench): Float64Array => {
      bench.clear();
      const { m, bias, y } = place(bench);
      bench.kernels.f32_winograd_output(tiles, m, bias, y, first, tiles, OH, OW, N);
      return bench.readReal(y, outputs * N);
    };
    for (const bench of [...fast, plain]) {
      expectSame(result(bench), result(plain), bench.loaded.build);
      expectSplits(bench, "f32_winograd_output", (bench) => {
        const { m, bias, y } = place(bench);
        return { n: tiles, args: [m, bias, y, first, tiles, OH, OW, N], writes: [reals(m, size), reals(y, outputs * N)] };
      });
    }
    expect(relativeError(result(plain), result(twin))).toBeLessThan(1e-6);
  });
});
