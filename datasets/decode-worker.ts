/** A thread that does jobs one after the other, so that the first that it has not answered is the one that it is at. */
import { parentPort } from "node:worker_threads";
import { doJob, type Job } from "./jobs.ts";

let turn: Promise<void> = Promise.resolve();

parentPort!.on("message", ({ number, job }: { number: number; job: Job }) => {
  turn = turn.then(async () => {
    try {
      const done = await doJob(job);
      parentPort!.postMessage({ number, done }, done.pixels ? [done.pixels.buffer as ArrayBuffer] : []);
    } catch (error) {
      parentPort!.postMessage({ number, error: error instanceof Error ? error.message : String(error) });
    }
  });
});
parentPort!.postMessage("ready");
