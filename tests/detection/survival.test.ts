/** Training on workers that die: the same bits as if none had. */
import { createHash } from "node:crypto";
import { afterAll, expect, test, vi } from "vitest";
import { shapes } from "../../datasets/index.ts";
import { SpikeYOLO, spikeYOLO, train, type TrainRecipe } from "../../detection/index.ts";
import { loadKernels, Random, type Host } from "../../engine/index.ts";
import { referenceRecipe } from "../../nn/index.ts";
import { deaths, order, saboteur } from "../kernels/saboteur.ts";

vi.setConfig({ testTimeout: 120_000 });

const hosts: Host[] = [];
afterAll(() => Promise.all(hosts.map((host) => host.stop())));

/** Of three batches, two gather before the optimiser steps: what was gathered must survive too. */
const recipe: TrainRecipe = { ...referenceRecipe, batch: 4, nbs: 8, epochs: 2, warmupEpochs: 0, clip: 10, ema: {} };
const set = () => shapes({ size: 4, imgsz: 64 });
const data = { batchesPerEpoch: 3, async *train() { for (let i = 0; i < 3; i++) yield* set().batches(4); }, validation: () => set().batches(4) };

interface Run { checkpoint: string; steps: string[]; losses: number }

/** Trains; `disturb` is called before each step, and before the validation. */
async function run(disturb: (host: Host, step: number) => void): Promise<Run> {
  const host = await loadKernels({ build: "simd", threads: 2, workerProgram: saboteur });
  hosts.push(host);
  const model = new SpikeYOLO({ ...spikeYOLO.tiny, classes: 3 });
  const ends: Run = { checkpoint: "", steps: [], losses: 0 };
  const store = { write: async (name: string, bytes: Uint8Array) => { if (name === "last") ends.checkpoint = createHash("sha256").update(bytes).digest("hex"); } };
  disturb(host, 0);
  for await (const event of train(model, data, recipe, { store })) {
    if (event.kind === "step") {
      const { peakBytes, ...step } = event;
      ends.steps.push(JSON.stringify(step));
      disturb(host, ends.steps.length);
    }
    ends.losses += host.pool!.news().filter((line) => line.startsWith("kernels: workers were lost in the middle of a step, which is repeated on 2 threads")).length;
  }
  return ends;
}

const undisturbed = run(() => {});

test.each(deaths)("a run whose worker %s here and there ends with the same bits", async (death) => {
  const { checkpoint, steps } = await undisturbed, random = new Random(deaths.indexOf(death));
  const everySoMany = death === "never comes back" ? 3 : 2; // each time the pool waits twice as long
  const survived = await run(({ memory }, step) => { if (step % everySoMany === 0) order(memory.wasm, death, random.integer(0, 60)); });
  expect(survived.losses).toBeGreaterThanOrEqual(2);
  expect(survived.steps).toEqual(steps);
  expect(survived.checkpoint).toBe(checkpoint);
});

test("a run whose worker is ended between two steps goes on with the same bits", async () => {
  const { checkpoint, steps } = await undisturbed;
  const survived = await run(({ pool }, step) => { if (step % 2 === 1) for (const worker of pool!["workers"]) void worker?.terminate(); });
  expect(survived.steps).toEqual(steps);
  expect(survived.checkpoint).toBe(checkpoint);
});
