/** Strict arithmetic: one hash for every engine that runs this file, in Node and in browsers, and for any number of threads. */
import { describe, expect, test } from "vitest";
import { GOLDEN, twentySteps } from "./twenty-steps.ts";

describe("twenty strict training steps", () => {
  test.each([1, 2, 4])("leave the same bits as everywhere on %i threads", async (threads) => {
    const { hash, host } = await twentySteps({ threads });
    expect([host.arithmetic, host.build, host.threads]).toEqual(["strict", "simd", threads]);
    expect(hash).toBe(GOLDEN);
  }, 120_000);

  test("leave others when one weight starts one ulp away", async () => {
    const { hash } = await twentySteps({
      threads: 1,
      plant(model) {
        const [{ data }] = model.parameters(), bits = new Int32Array(data.buffer, data.byteOffset, 1);
        bits[0]++;
      },
    });
    expect(hash).not.toBe(GOLDEN);
  }, 120_000);
});
