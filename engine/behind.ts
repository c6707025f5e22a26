/**
 * Gradients of weights are read by nobody before the way back is at its end. So they are computed behind its back: workers do it while the walk goes on
 * (kernels/pool.ts). What a kernel reads and where it writes stays as it is until it is done, and leaves get their gradients in the order of the
 * walk all the same, so the bits are those of doing one thing after the other.
 */
import type { Finish, Kernels, KernelsBehind } from "../kernels/signatures.ts";
import { host } from "./host.ts";
import type { Tensor } from "./tensor.ts";

/** A call of one kernel, through whichever door. */
type Call = (k: Kernels | KernelsBehind) => Finish | void;

/** A kernel that is at work, and what waits until it is done. */
interface Job { readonly finish: Finish; readonly waiting: (() => void)[] }

/** Kernels that may be at work at a time: each holds the memory of a node. */
const MOST = 3;

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

  start(call: Call): void {
    while (this.queue.length >= MOST) this.finish(this.queue.shift()!);
    const finish = call(host().behind);
    if (!finish) return;
    host().memory.keepWorkspace();
    this.queue.push({ finish, waiting: [] });
    this.started = true;
  }

  /** Runs it once all is done that the node of this turn has started. */
  whenDone(run: () => void): void { if (this.started) this.after(run); else run(); }

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

/** For what must not go while somebody behind reads it. */
export function finishBehind(): void { walking?.finishAll(); }

/** Computes something of the gradient of a weight by a kernel: now, or behind the way back where nobody reads it there. */
export function behind(weight: Tensor, call: Call): void {
  if (current && !weight.node) current.start(call); else call(host().kernels);
}

/** Does something with what is computed `behind`, once it is there. */
export function whenDone(run: () => void): void { if (current) current.whenDone(run); else run(); }
