/** In a page that is not isolated: one thread, the same bits, and a line that says why. */
import { expect, test } from "vitest";
import { loadKernels } from "../../../engine/index.ts";
import { GOLDEN, twentySteps } from "../../strict/twenty-steps.ts";

/** The lines that the loader writes to the console meanwhile. */
async function listening<R>(run: () => Promise<R>): Promise<{ result: R; lines: string[] }> {
  const { warn } = console, lines: string[] = [];
  console.warn = (...all: unknown[]) => { lines.push(all.join(" ")); };
  try {
    return { result: await run(), lines };
  } finally {
    console.warn = warn;
  }
}

test("twenty strict steps leave the same bits on the one thread there is, and one line says why", async () => {
  expect(crossOriginIsolated).toBe(false);
  const { result: { hash, host }, lines } = await listening(() => twentySteps({ threads: 4 }));
  expect(host.threads).toBe(1);
  expect(hash).toBe(GOLDEN);
  expect(lines).toEqual([
    "kernels: one thread, because this page is not cross-origin isolated and cannot share memory; serve it with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp",
  ]);
});

test("each load that would have shared memory says so once; one that asks for one thread says nothing", async () => {
  const unasked = await listening(() => loadKernels());
  expect([unasked.result.threads, unasked.lines.length]).toEqual([1, navigator.hardwareConcurrency > 1 ? 1 : 0]);
  expect((await listening(() => loadKernels({ threads: 1 }))).lines).toEqual([]);
  expect((await listening(() => loadKernels({ build: "reference" }))).lines).toEqual([]);
});
