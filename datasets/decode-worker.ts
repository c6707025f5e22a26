/** A thread that does jobs one after the other, so that the first that it has not answered is the one that it is at. */
import { parentPort } from "node:worker_threads";
import { buffersOf, doAny, type Job } from "./jobs.ts";
import type { MomentJob } from "./moments.ts";

let turn: Promise<void> = Promise.resolve();

parentPort!.on("message", ({ number, job }: { number: number; job: Job | MomentJob }) => {
  turn = turn.then(async () => {
    try {
      const done = await doAny(job);
      parentPort!.postMessage({ number, done }, buffersOf(done));
    } catch (error) {
      parentPort!.postMessage({ number, error: error instanceof Error ? error.message : String(error) });
    }
  });
});
parentPort!.postMessage("ready");
