/**
 * Gradients of weights are read by nobody before the way back is at its end. So they are computed behind it: workers do that while the walk goes on
 * (kernels/pool.ts). What is read and written there stays as it is until it is done, and leaves get their gradients in the order of the walk all the same,
 * so the bits are those of doing one thing after the other.
 */
import type { Call, Finish, Kernels } from "../kernels/signatures.ts";
import { host } from "./host.ts";
import type { Tensor } from "./tensor.ts";

/** Some calls that are at work, and what waits until they are done. */
interface Job { readonly finish: Finish; readonly waiting: (() => void)[] }

/** Jobs at a time: each holds the memory of a node. */
const MOST = 3;
/** Multiply-accumulates that are worth leaving behind: what takes less is done sooner, and what takes more than some milliseconds holds much memory, and loses little at its ends. */
const LEAST_WORK = 100_000, MOST_WORK = 64_000_000;

/** What is computed behind one way back: first in, first out. */
export class Jobs {
  private readonly queue: Job[] = [];
  /** Whether the node whose turn it is has left anything behind. */
  private started = false;

  /** Runs the gradient of a node, which may leave some of it `behind`, and says whether it did. */
  during<R>(run: () => R): { result: R; started: boolean } {
    const outer = current;
    current = this;
    this.started = false;
    try { return { result: run(), started: this.started }; } finally { current = outer; }
  }

  start(run: (k: Kernels) => void): void {
    while (this.queue.length >= MOST) this.finish(this.queue.shift()!);
    const { kernels, leave, memory } = host(), calls: Call[] = [];
    memory.keepingWorkspace(() => run(noting(calls)));
    const finish = leave!(calls);
    if (finish) this.queue.push({ finish, waiting: [] });
    else for (const { name, n, rest } of calls) (kernels[name] as (n: number, ...rest: number[]) => void)(n, ...rest);
    this.started ||= finish !== undefined;
  }

  /** Runs it once all is done that was started so far. */
  after(run: () => void): void {
    const newest = this.queue.at(-1);
    if (newest) newest.waiting.push(run); else run();
  }

  finishAll(): void { while (this.queue.length) this.finish(this.queue.shift()!); }

  /** Waits until nothing is at work any more, for nobody wants the results. */
  abandon(): void {
    for (const { finish } of this.queue.splice(0)) try { finish(); } catch { /* what failed first is what counts */ }
  }

  private finish({ finish, waiting }: Job): void {
    finish();
    for (const run of waiting) run();
  }
}

/** Kernels that note how they are called. */
const noting = (calls: Call[]): Kernels => new Proxy({}, { get: (_, name: keyof Kernels) => (n: number, ...rest: number[]) => { calls.push({ name, n, rest }); } }) as Kernels;

/** Of the way back that runs now, and of the node whose gradient is computed now if it may leave something behind. */
let walking: Jobs | undefined, current: Jobs | undefined;

/** Runs a way back that may leave things behind, until they are done too. */
export function withJobs(run: (jobs: Jobs) => void): void {
  const outer = walking, jobs = new Jobs();
  walking = jobs;
  try {
    run(jobs);
    jobs.finishAll();
  } catch (error) {
    jobs.abandon();
    throw error;
  } finally {
    walking = outer;
  }
}

/**
 * Computes the gradient of a weight, which takes so many multiply-accumulates: now, or behind the way back where nobody reads it there. Of what `run` does with
 * memory nothing but kernels of its argument may read or write what they read and write.
 */
export function behind(weight: Tensor, work: number, run: (k: Kernels) => void): void {
  const { kernels, leave } = host();
  if (current && leave && !weight.node && work >= LEAST_WORK && work <= MOST_WORK) current.start(run); else run(kernels);
}

/** For what must not go while somebody behind reads it. */
export function finishBehind(): void { walking?.finishAll(); }
