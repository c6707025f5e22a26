import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { loadKernels, retrying, type Host } from "../../engine/index.ts";
import { obeyed, order, saboteur, type Death } from "../kernels/saboteur.ts";

vi.setConfig({ testTimeout: 120_000 });

const N = 1 << 18;
let host: Host, x: number;
beforeAll(async () => {
  host = await loadKernels({ threads: 3, workerProgram: saboteur });
  x = host.memory.persistent(4 * N);
});
afterAll(() => host.stop());

/** Computes until a worker has died of it, if there are any. */
function losing(death: Death): void {
  if (host.pool!.threads === 1) return;
  order(host.memory.wasm, death);
  while (!obeyed(host.memory.wasm)) host.kernels.f32_fill(N, x, 1);
}

test("what loses a worker is undone and runs again", async () => {
  const story: string[] = [];
  expect(await retrying(() => {
    story.push("run");
    if (story.length === 1) losing("exits");
    return 7;
  }, () => story.push("undo"))).toBe(7);
  expect(story).toEqual(["run", "undo", "run"]);
  expect(host.pool!.threads).toBe(3);
});

test("other errors pass, at once", async () => {
  let runs = 0;
  await expect(retrying(() => { runs++; throw new Error("mine"); })).rejects.toThrow("mine");
  expect(runs).toBe(1);
});

test("what loses workers every time runs without any in the end", async () => {
  let runs = 0;
  await retrying(() => { runs++; losing("traps"); });
  expect(runs).toBe(4);
  expect(host.pool!.threads).toBe(1);
  expect(host.pool!.news().at(-1)).toBe("kernels: workers were lost in the middle of a step, which is repeated on one thread");
});
