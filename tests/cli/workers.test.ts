/** Training by command where workers die. In this process, on few pictures. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Progress } from "../../cli/progress.ts";
import { trainCommand } from "../../cli/train.ts";
import { loadKernels, type Host } from "../../engine/index.ts";
import { order, saboteur } from "../kernels/saboteur.ts";

vi.setConfig({ testTimeout: 120_000 });

let room: string;
const at = (...path: string[]): string => join(room, ...path);
beforeAll(async () => { room = await mkdtemp(join(tmpdir(), "spiketrain-workers-")); });
afterAll(() => rm(room, { recursive: true, force: true }));

/** What the command said, and the checkpoint that it left. */
async function trained(folder: string, host: Host): Promise<{ said: string; checkpoint: Buffer }> {
  let said = "";
  try {
    await trainCommand({ train: 8, val: 4, test: 4, imgsz: 64, batch: 4, epochs: 1, out: at(folder) }, new Progress({ write: (text) => { said += text; } }), new AbortController().signal);
  } finally {
    await host.stop();
  }
  return { said, checkpoint: await readFile(at(folder, "weights", "last.safetensors")) };
}

test("a run whose worker dies and cannot be replaced says so and ends on one thread, with the same checkpoint and report", async () => {
  const undisturbed = await trained("undisturbed", await loadKernels({ threads: 2 }));
  const program = at("worker.mjs");
  await writeFile(program, `await import(${JSON.stringify(saboteur.href)});`);
  const host = await loadKernels({ threads: 2, workerProgram: pathToFileURL(program) });
  await rm(program);
  order(host.memory.wasm, "exits", 200); // of the pieces of work that it is given: in a step, not where the model is made
  const { said, checkpoint } = await trained("alone", host);
  expect(said).toContain("kernels: a worker ended on its own (exit code 3)\n");
  expect(said).toMatch(/kernels: a worker did not start \(Cannot find module .*\); going on with one thread\n/);
  expect(said).toContain("kernels: workers were lost in the middle of a step, which is repeated on one thread\n");
  expect(checkpoint.equals(undisturbed.checkpoint)).toBe(true);
  expect(await readFile(at("alone", "report.json"), "utf8")).toBe(await readFile(at("undisturbed", "report.json"), "utf8"));
});
