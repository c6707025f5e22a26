/**
 * Gradients of weights are read by nobody before the way back is at its end. So they are computed behind it, as errands of workers (kernels/pool.ts), while
 * the walk goes on. What an errand reads and where it writes stays as it is until it is done, and leaves get their gradients in the order of the walk all
 * the same, so the bits are those of doing one thing after the other.
 */
import { ERRANDS } from "../kernels/control.mjs";
import type { Call, Finish, Kernels } from "../kernels/signatures.ts";
import { host } from "./host.ts";
import type { Tensor } from "./tensor.ts";

/** Some calls that are at work, what waits until they are done, and the memory that they hold. */
interface Job { finish: Finish; readonly waiting: (() => void)[]; readonly bytes: number }

/** Bytes that jobs may hold. Those of a small network hold a few megabytes; in a large one little is lost by doing one thing after the other. */
const MOST_BYTES = 16 << 20;
/** Multiply-accumulates that are worth leaving behind: what takes less is done sooner than told, and beside what takes more than some milliseconds little is lost at its ends. */
const LEAST_WORK = 100_000, MOST_WORK = 64_000_000;

/** What is computed behind one way back: first in, first out. */
class Jobs {
  private readonly queue: Job[] = [];
  /** Whether the node whose turn it is has left anything, and the bytes of what it reads. */
  started = false;
  holds = 0;

  start(run: (k: Kernels) => void): void {
    const { kernels, leave, memory } = host(), before = memory.inUse, calls: Call[] = [];
    memory.keepingWorkspace(() => run(noting(calls)));
    const bytes = this.holds + memory.inUse - before;
    while (this.queue.length >= ERRANDS || this.queue.length && this.held + bytes > MOST_BYTES) this.done(this.queue.shift()!);
    const finish = leave!(calls);
    if (finish) {
      this.queue.push({ finish, waiting: [], bytes });
      this.started = true;
    } else for (const { name, n, rest } of calls) (kernels[name] as (n: number, ...rest: readonly number[]) => void)(n, ...rest);
  }

  after(run: () => void): void {
    const newest = this.queue.at(-1);
    if (newest) newest.waiting.push(run); else run();
  }

  end(): void { while (this.queue.length) this.done(this.queue.shift()!); }

  /** Waits until nothing is at work any more; what waits for it goes on waiting for its turn. */
  settle(): void {
    for (const job of this.queue) {
      const { finish } = job;
      job.finish = () => {};
      finish();
    }
  }

  /** The same where nobody wants the results. */
  abandon(): void {
    for (const { finish } of this.queue.splice(0)) try { finish(); } catch { /* what failed first is what counts */ }
  }

  private get held(): number { return this.queue.reduce((sum, { bytes }) => sum + bytes, 0); }

  private done({ finish, waiting }: Job): void {
    finish();
    for (const run of waiting) run();
  }
}

/** Kernels that note how they are called. */
const noting = (calls: Call[]): Kernels => new Proxy({}, { get: (_, name: keyof Kernels) => (n: number, ...rest: number[]) => { calls.push({ name, n, rest }); } }) as Kernels;

/** Those of the way back that runs now; and the same while a node computes its gradient that may leave something behind. */
let walking: Jobs | undefined, leaving: Jobs | undefined;

/** Runs a way back, and what it leaves behind, to its end. */
export function wholly(walk: () => void): void {
  const outer = walking, jobs = new Jobs();
  walking = jobs;
  try {
    walk();
    jobs.end();
  } catch (error) {
    jobs.abandon();
    throw error;
  } finally {
    walking = outer;
  }
}

/** Computes the gradient of a node, which holds so many bytes and may leave something behind, and says whether it did. */
export function mayLeave<R>(bytes: number, run: () => R): { result: R; left: boolean } {
  const outer = leaving, jobs = walking!;
  leaving = jobs;
  jobs.started = false;
  jobs.holds = bytes;
  try { return { result: run(), left: jobs.started }; } finally { leaving = outer; }
}

/** Runs it once all is done that the way back has left behind so far. */
export function afterwards(run: () => void): void { walking!.after(run); }

/**
 * Computes the gradient of a weight, which takes so many multiply-accumulates: now, or behind the way back where nobody reads it there. What `run` computes it
 * computes by kernels of its argument; whatever else it writes is written when it returns.
 */
export function behind(weight: Tensor, work: number, run: (k: Kernels) => void): void {
  const { kernels, leave } = host();
  if (leaving && leave && !weight.node && leaving.holds <= MOST_BYTES && work >= LEAST_WORK && work <= MOST_WORK) leaving.start(run); else run(kernels);
}

/** For what must not go while somebody behind reads it. */
export function settleBehind(): void { walking?.settle(); }
