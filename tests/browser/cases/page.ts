/** On a page's main thread, which may not wait: the caller of the pool spins, so kernels run there on several threads too. */
import { expect, test } from "vitest";
import { GOLDEN, twentySteps } from "../../strict/twenty-steps.ts";

test("twenty strict steps on the main thread and a worker leave the same bits, and never wait", async () => {
  expect([crossOriginIsolated, typeof document]).toEqual([true, "object"]);
  expect(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0)).toThrow(TypeError); // a wait would not pass unseen
  const { hash, host } = await twentySteps({ threads: 2 });
  expect(host.threads).toBe(2);
  expect(host.pool!.taken).not.toBe(0);
  expect(hash).toBe(GOLDEN);
});
