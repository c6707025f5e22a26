/**
 * Threads that decode and vary pictures, or make frames of events, while somebody else computes. Node only; loaded when somebody asks for threads.
 *
 * A thread that ends is replaced, and its jobs are done again; a file with which threads end twice is taken for broken. Where no thread can be
 * started, jobs are done by whoever asks. Threads do not keep a process alive, except while there are jobs.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { doAny, type Done, type Job } from "./jobs.ts";
import type { MomentDone, MomentJob } from "./moments.ts";

/** Threads that end with a job before its files are to blame. */
const DEATHS = 2;
/** Megabytes of heap; pixels lie outside of it. */
const HEAP = 512;

type AnyDone = Done | MomentDone;
interface Task { readonly number: number; readonly job: Job | MomentJob; deaths: number; resolve(done: AnyDone | Promise<AnyDone>): void; reject(error: Error): void }
interface Thread { readonly worker: Worker; readonly tasks: Map<number, Task>; ready: boolean; fault: string }

/** A thread cannot start from TypeScript, so sources take the built file. */
const PROGRAM = import.meta.url.endsWith(".ts") ? "../dist/datasets/decode-worker.js" : "./decode-worker.js";

export class DecodeWorkers {
  private readonly threads: Thread[] = [];
  private count = 0;
  /** Why there are no threads. */
  private hopeless: string | undefined;
  private lost = 0;
  constructor(readonly size: number, private readonly program: URL | string = new URL(PROGRAM, import.meta.url)) {}

  /** What went wrong with threads so far, if anything did. */
  get news(): string | undefined {
    if (this.hopeless !== undefined) return `batches: no thread to read data could be started (${this.hopeless}); it is read between steps instead`;
    return this.lost > 0 ? `batches: threads that read data ended on their own ${this.lost} times, and were replaced` : undefined;
  }

  /** Threads that are there now. */
  get alive(): number { return this.threads.filter(({ ready }) => ready).length; }

  do(job: Job): Promise<Done>;
  do(job: MomentJob): Promise<MomentDone>;
  do(job: Job | MomentJob): Promise<AnyDone> {
    return new Promise((resolve, reject) => this.give({ number: this.count++, job, deaths: 0, resolve, reject }));
  }

  /** Ends all threads; jobs that were not done are rejected. */
  async close(): Promise<void> {
    const threads = this.threads.splice(0);
    for (const { tasks } of threads) for (const { reject } of tasks.values()) reject(new Error("batches: the threads that read data were ended"));
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }

  private give(task: Task): void {
    if (this.hopeless !== undefined) { task.resolve(doAny(task.job)); return; }
    const thread = this.idlest();
    thread.tasks.set(task.number, task);
    thread.worker.ref();
    thread.worker.postMessage({ number: task.number, job: task.job });
  }

  /** A new thread while there are fewer than allowed and all others have something to do. */
  private idlest(): Thread {
    const [least] = [...this.threads].sort((a, b) => a.tasks.size - b.tasks.size);
    return least && (least.tasks.size === 0 || this.threads.length >= this.size) ? least : this.start();
  }

  private start(): Thread {
    const worker = new Worker(this.program, { resourceLimits: { maxOldGenerationSizeMb: HEAP } });
    const thread: Thread = { worker, tasks: new Map(), ready: false, fault: "it left no reason" };
    this.threads.push(thread);
    worker.on("message", (message: "ready" | { number: number; done: AnyDone; error?: string }) => {
      if (message === "ready") { thread.ready = true; return; }
      const { number, done, error } = message, task = thread.tasks.get(number);
      thread.tasks.delete(number);
      if (thread.tasks.size === 0) worker.unref();
      if (error === undefined) task?.resolve(done); else task?.reject(new Error(error));
    });
    worker.on("error", ({ message }) => { thread.fault = message; });
    worker.on("exit", () => this.end(thread));
    return thread;
  }

  private end(thread: Thread): void {
    const place = this.threads.indexOf(thread), tasks = [...thread.tasks.values()];
    if (place < 0) return; // closed
    this.threads.splice(place, 1);
    if (thread.ready) {
      this.lost++;
      if (tasks.length > 0) tasks[0].deaths++;
    } else this.hopeless = thread.fault.split("\n")[0];
    for (const task of tasks) if (task.deaths < DEATHS) this.give(task); else task.resolve(this.blame(task.job, thread.fault));
  }

  /** Which of the files it is that threads end with: each is read once more alone. */
  private async blame(given: Job | MomentJob, fault: string): Promise<AnyDone> {
    if (!("tiles" in given)) return { broken: `${given.recorded.name}: the thread that read it ended (${fault}); replace the file` };
    const { tiles, ...job } = given, [tile] = tiles;
    if (tiles.length === 1) return { tiles: ["picture" in tile ? { size: tile.size, notices: [] } : { broken: `image ${tile.title}: the thread that decoded it ended (${fault}); replace the file`, notices: [] }] };
    const each = await Promise.all(tiles.map((one) => this.do({ ...job, tiles: [one], variation: undefined })));
    return { tiles: each.flatMap((done) => done.tiles) };
  }
}

const known = new Map<number, DecodeWorkers>();

/** The threads of this process, so many at most; the same for everybody who asks for as many. */
export function decodeWorkers(size: number): DecodeWorkers {
  let workers = known.get(size);
  if (!workers) known.set(size, workers = new DecodeWorkers(size));
  return workers;
}

/** Half of the machine, up to four: the other half is the network's. */
export const defaultWorkers = (): number => Math.max(1, Math.min(4, availableParallelism() >> 1));
