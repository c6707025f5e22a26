import { beforeEach, describe, expect, test } from "vitest";
import { SIZES, benches, values } from "./harness.ts";

const { fast, plain } = await benches();
const all = [...fast, plain];

beforeEach(() => { for (const bench of all) bench.clear(); });

/** Halves of x, and what they are as floats again. */
const there = (bench: (typeof all)[number], x: ArrayLike<number>): number[] => {
  const from = bench.real(x), to = bench.bytes(2 * x.length);
  bench.kernels.f16_from_f32(x.length, from, to);
  return Array.from(bench.readU16(to, x.length));
};
const back = (bench: (typeof all)[number], h: readonly number[]): number[] => {
  const from = bench.bytes(new Uint8Array(Uint16Array.from(h).buffer)), to = bench.real(h.length);
  bench.kernels.f16_to_f32(h.length, from, to);
  return Array.from(bench.readReal(to, h.length));
};

/** From the standard: value, bits. */
const KNOWN: [number, number][] = [
  [0, 0], [-0, 0x8000], [1, 0x3c00], [-2, 0xc000], [65504, 0x7bff], [2 ** -14, 0x0400], [2 ** -24, 1], [-(2 ** -24), 0x8001], [1023 * 2 ** -24, 0x3ff], [0.333251953125, 0x3555],
  [Infinity, 0x7c00], [-Infinity, 0xfc00],
];
/** Value, the bits it rounds to: ties to even, past the largest, below the least, from the least normal down. */
const ROUNDED: [number, number][] = [
  [1 + 2 ** -11, 0x3c00], [1 + 3 * 2 ** -11, 0x3c02], [1 + 2 ** -11 + 2 ** -20, 0x3c01], [65519.996, 0x7bff], [65520, 0x7c00], [-65536, 0xfc00], [1e30, 0x7c00], [2 ** -25, 0],
  [2 ** -25 + 2 ** -40, 1], [3 * 2 ** -25, 2], [1e-30, 0], [-1e-30, 0x8000], [2 ** -14 - 2 ** -26, 0x400], [2 ** -14 - 3 * 2 ** -26, 0x3ff], [2 - 2 ** -12, 0x4000], [NaN, 0x7e00], [-NaN, 0x7e00],
];

describe.each(all.map((bench) => [bench.loaded.build, bench] as const))("halves on %s", (_, bench) => {
  test("have the bits of the standard, and come back exactly", () => {
    expect(there(bench, KNOWN.map(([value]) => value))).toEqual(KNOWN.map(([, bits]) => bits));
    expect(back(bench, KNOWN.map(([, bits]) => bits))).toEqual(KNOWN.map(([value]) => value));
  });

  test("round to nearest, ties to even, to infinity and to zero", () => {
    expect(there(bench, ROUNDED.map(([value]) => value))).toEqual(ROUNDED.map(([, bits]) => bits));
  });

  test("all 65536 of them survive the way to floats and back, but for payloads of what is not a number", () => {
    const bits = Array.from({ length: 65536 }, (_, i) => i), isNaNs = (h: number) => (h & 0x7fff) > 0x7c00;
    expect(there(bench, back(bench, bits))).toEqual(bits.map((h) => (isNaNs(h) ? 0x7e00 : h)));
  });

  test("are the same in the plain kernels, whatever the size and the magnitude", () => {
    for (const size of SIZES) {
      const x = values(size, size).map((v, i) => Math.fround(v * 2 ** ((i * 7) % 45 - 27)));
      const bits = there(plain, x);
      expect(there(bench, x)).toEqual(bits);
      expect(back(bench, bits)).toEqual(back(plain, bits));
    }
  });
});
