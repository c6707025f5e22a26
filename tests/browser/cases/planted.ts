/** Everything here fails, and the runner must say so of each. */
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";

test("a wrong number", () => { expect(1 + 1).toBe(3); });
test("an error", () => { throw new Error("planted"); });
test("a promise that is broken later", async () => { await new Promise((_, reject) => setTimeout(() => reject(new Error("planted")), 5)); });
test("a promise that is kept and should not be", async () => { await expect(Promise.resolve(1)).rejects.toThrow("planted"); });
it.each([1, 2])("a row of a table, %i", (n) => { expect([n]).toEqual([0]); });
describe("a setup that fails", () => {
  beforeAll(() => { throw new Error("planted"); });
  test("takes its tests along", () => {});
});
describe("an end that fails", () => {
  afterAll(() => { throw new Error("planted"); });
  test("which passes itself", () => {});
});
