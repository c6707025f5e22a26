/** Our own elementary functions: near those of the engine at hand, and the same bits in all engines. */
import { describe, expect, test } from "vitest";
import { acos, atan, cos, exp, log, log1p, power, powerOfTwo, sin, tan } from "../../kernels/elementary.ts";
import { values } from "./harness.ts";

/** Numbers in [low, high), all 53 bits of them drawn. */
const between = (low: number, high: number, count = 20_000): Float64Array => {
  const coarse = values(count, 1), fine = values(count, 2);
  return coarse.map((x, i) => low + (high - low) * ((x + 1) / 2 + (fine[i] + 1) * 2 ** -26));
};
const powersOf = (f: (x: number) => number, low: number, high: number): Float64Array => between(low, high).map(f);

/** How many float64 lie between two numbers of one sign. */
function ulps(a: number, b: number): number {
  if (Object.is(a, b)) return 0;
  const [x, y] = new BigInt64Array(Float64Array.of(a, b).buffer);
  return Number(x > y ? x - y : y - x);
}

type Unary = (x: number) => number;
const cases: [name: string, own: Unary, theirs: Unary, most: number, inputs: Float64Array][] = [
  ["exp", exp, Math.exp, 1, between(-745, 709.7)], ["exp around 0", exp, Math.exp, 1, between(-2, 2)],
  ["log", log, Math.log, 1, powersOf(Math.exp, -745, 709)], ["log around 1", log, Math.log, 1, between(0.5, 2)],
  ["log1p", log1p, Math.log1p, 2, between(-0.9, 10)], ["log1p near 0", log1p, Math.log1p, 2, powersOf(Math.exp, -40, 0)],
  ["sin", sin, Math.sin, 1, between(-10, 10)], ["sin far out", sin, Math.sin, 1, between(-1e6, 1e6)],
  ["cos", cos, Math.cos, 1, between(-10, 10)], ["cos far out", cos, Math.cos, 1, between(-1e6, 1e6)],
  ["tan", tan, Math.tan, 3, between(-10, 10)], ["acos", acos, Math.acos, 3, between(-1, 1)],
  ["atan", atan, Math.atan, 2, between(-3, 3)], ["atan far out", atan, Math.atan, 2, powersOf(Math.exp, -40, 40)],
  ["x^6", (x) => power(x, 6), (x) => x ** 6, 4, between(0, 3)], ["x^-1.5", (x) => power(x, -1.5), (x) => x ** -1.5, 4, between(0.1, 3)],
  ["3.3^y", (y) => power(3.3, y), (y) => 3.3 ** y, 4, between(-1, 1)],
];

describe("elementary functions", () => {
  test.each(cases)("%s is as near as the last bits", (name, own, theirs, most, inputs) => {
    for (const x of inputs) if (ulps(own(x), theirs(x)) > most) expect.fail(`${name} of ${x} is ${own(x)}, expected ${theirs(x)} within ${most} ulp`);
  });

  test("hold at the ends of their ranges", () => {
    const ends = (f: Unary, ...xs: number[]): number[] => xs.map(f);
    expect(ends(exp, NaN, Infinity, -Infinity, 0, 709.78, 710, -745.2)).toEqual([NaN, Infinity, 0, 1, Math.exp(709.78), Infinity, 0]);
    expect(ends(log, NaN, Infinity, 1, 0, -1)).toEqual([NaN, Infinity, 0, -Infinity, NaN]);
    expect(ends(log1p, NaN, Infinity, 0, -1, -2)).toEqual([NaN, Infinity, 0, -Infinity, NaN]);
    expect(ends(atan, NaN, Infinity, -Infinity, 0, -0, 1)).toEqual([NaN, Math.PI / 2, -Math.PI / 2, 0, -0, Math.PI / 4]);
    expect(ends(acos, NaN, 1, 0, -1, 1.1)).toEqual([NaN, 0, Math.PI / 2, Math.PI, NaN]);
    expect(ends(sin, NaN, Infinity, 0, Math.PI)).toEqual([NaN, NaN, 0, 1.2246467991473532e-16]);
    expect(ends(cos, NaN, Infinity, 0, Math.PI)).toEqual([NaN, NaN, 1, -1]);
    expect([power(0, 0.5), power(0, 0), power(2, -3), power(9, 1.5), power(NaN, 6)]).toEqual([0, 1, 0.125, 27, NaN]);
    expect([-1022, -1, 0, 1, 1023].map(powerOfTwo)).toEqual([2.2250738585072014e-308, 0.5, 1, 2, 8.98846567431158e307]);
  });

  test("give the same bits in every engine", async () => {
    const wide = between(-700, 700), small = between(-1, 1), positive = between(1e-3, 50);
    const all = [wide.map(exp), positive.map(log), positive.map(log1p), wide.map(sin), wide.map(cos), wide.map(tan), wide.map(atan), small.map(acos), positive.map((x) => power(x, 0.3))];
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await new Blob(all).arrayBuffer()));
    expect([...digest.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("")).toBe("0b267b163688460e");
  });
});
