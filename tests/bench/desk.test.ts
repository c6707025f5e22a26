/** What benches are timed with. */
import { expect, test } from "vitest";
import { fastest } from "../../bench/desk.ts";

test("runs that are timed take turns, twice each in every one of them", () => {
  const order: string[] = [], [warm, turns] = [3, 5];
  const times = fastest({ a: () => { order.push("a"); }, b: () => { order.push("b"); } }, turns, 0);
  const timed = order.join("").replace(/^a+b+/, "");
  expect(timed.match(/a+b+/g)!.length).toBeGreaterThanOrEqual(turns - 1); // the first turn has run into the warming
  expect(Math.min(...["a", "b"].map((name) => order.filter((n) => n === name).length))).toBeGreaterThanOrEqual(warm + 2 * turns);
  expect(Math.max(times.a, times.b)).toBeLessThan(1000); // milliseconds, and one for each
});
