/** The kernels that ops run on now, and the memory that they work in. */
import { FIXED, measureCrossovers, type Crossovers } from "../kernels/crossovers.ts";
import { instantiateKernels, type Arithmetic, type Build, type LoadOptions } from "../kernels/load.ts";
import type { Call, Finish, Kernels } from "../kernels/signatures.ts";
import { WorkerLostError, type Pool } from "../kernels/pool.ts";
import { Memory } from "./memory.ts";

export interface Host {
  readonly build: Build;
  /** "strict": the same bits on every host with SIMD, and for any number of threads. */
  readonly arithmetic: Arithmetic;
  /** Whether rates measured on this machine decide between kernels, or constants: those where asked for, where arithmetic is strict, and for the plain kernels. */
  readonly dispatch: "calibrated" | "fixed";
  /** Bytes of one real: 4, or 8 in the float64 twin. */
  readonly bytes: 4 | 8;
  readonly kernels: Kernels;
  /** Leaves calls to workers, one after the other, where it can, and returns what waits for them (behind.ts). */
  readonly leave?: (calls: readonly Call[]) => Finish | undefined;
  readonly memory: Memory;
  /** Threads that run a large kernel. */
  readonly threads: number;
  /**
   * Densities of spikes below which convolutions gather. Measured when first asked for, in some 50 ms, once per process, build and number of threads;
   * constants where dispatch is "fixed".
   */
  readonly crossovers: Crossovers;
  /** The other threads, where there are any. */
  readonly pool?: Pool;
  /** Kernels do nothing here: values mean nothing, and need not be written (rehearsal.ts). */
  readonly rehearsal?: boolean;
  /** Ends the workers, where there are any. */
  stop(): Promise<void>;
}

export interface HostOptions extends LoadOptions {
  /**
   * Whether gathering or dense kernels are taken by rates measured on this machine (default "calibrated"), or by constants. They add in the same order, so
   * the same seed gives the same bits under both.
   */
  dispatch?: "calibrated" | "fixed";
}

let current: Host | undefined;

/** Loads the best kernels that this machine runs (or the build or arithmetic asked for) and makes them the ones that ops use. */
export async function loadKernels({ dispatch = "calibrated", ...options }: HostOptions = {}): Promise<Host> {
  if (dispatch !== "calibrated" && dispatch !== "fixed") throw new Error(`engine: dispatch must be "calibrated" or "fixed", got "${dispatch as string}"`);
  const { memory: wasm, ...loaded } = await instantiateKernels(options), memory = new Memory(wasm);
  const constant = dispatch === "fixed" || loaded.arithmetic === "strict" || loaded.build.startsWith("reference");
  return (current = { ...loaded, leave: loaded.pool && ((calls) => loaded.pool!.leave(calls)), memory, dispatch: constant ? "fixed" : "calibrated", get crossovers() { return constant ? FIXED : measured(this); } });
}

/** By build and number of threads. */
const known = new Map<string, Crossovers>();

function measured({ build, threads, kernels, memory }: Host): Crossovers {
  const key = `${build} ${threads}`;
  let found = known.get(key);
  if (!found) known.set(key, (found = memory.withWorkspace(() => measureCrossovers(kernels, memory.wasm, (bytes) => memory.workspace(bytes)))));
  return found;
}

export function host(): Host {
  if (!current) throw new Error('engine: no kernels yet; call "await loadKernels()" first');
  return current;
}

/** Whether what is loaded leaves calls to workers. */
export const leavesBehind = (): boolean => current?.leave !== undefined;

/** Runs with another host's kernels and memory. Tensors of one host do not mix with those of another. */
export function withHost<R>(other: Host, run: () => R): R {
  const before = current;
  current = other;
  try { return run(); } finally { current = before; }
}

/** Losses of workers in one run, after which it is done without any. */
const MOST_LOSSES = 3;

/**
 * Runs what may run twice: what leaves nothing behind where it throws, or what `undo` takes back. Where a worker is lost in it, the workers
 * are replaced, and it runs again.
 */
export async function retrying<R>(run: () => R, undo: () => void = () => {}): Promise<R> {
  const { pool } = host();
  for (let losses = 1; ; losses++) {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof WorkerLostError) || !pool || losses > MOST_LOSSES) throw error;
      await pool.recover({ alone: losses === MOST_LOSSES });
      undo();
    }
  }
}
