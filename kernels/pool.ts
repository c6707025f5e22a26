/**
 * Workers on one shared memory. A kernel call is a task: a range of items, cut into pieces that whoever is free takes next. Pieces
 * write different outputs and sum nothing across each other, so the bits do not depend on how many take part, or who takes which.
 *
 *   caller   write task, open it, count up the sequence, wake sleepers, take pieces; close it, wait until nobody is inside
 *   worker   see the sequence change, enter, take pieces if the task is open, leave; spin a while, then sleep
 *
 * A worker that wakes late finds the task closed and goes back: nobody waits for sleepers.
 */
import { CONTROL, FIELDS } from "./control.mjs";
import type { Kernels, RangeKernels } from "./signatures.ts";

/** Loads of the sequence before a worker goes to sleep: some 100 microseconds. */
const SPINS = 40_000;
/** Loads of `active` between two looks at the clock while the caller waits for the last piece. */
const JOIN_SPINS = 1_000_000;
/** A piece that takes longer than this was taken by a worker that died. */
const LOST_AFTER_MS = 20_000;
/** A longer gap between two looks at the clock says that the process was suspended: it counts as this. */
const LONGEST_GAP_MS = 1_000;
/** Multiply-accumulates below which a task is not worth sharing. */
const WORTH_SHARING = 50_000;
/** Pieces are multiples of this many items where there are enough: all tile heights divide it. */
const PIECE = 48;

interface Greeting { readonly module: WebAssembly.Module; readonly memory: WebAssembly.Memory; readonly spins: number }

interface PoolWorker {
  /** Resolves when the worker waits for tasks; rejects if it fails or ends before. */
  greet(greeting: Greeting): Promise<void>;
  terminate(): unknown;
}

/** A worker died or trapped in the middle of a kernel. What it was to write is not there. */
export class WorkerLostError extends Error {
  override readonly name = "WorkerLostError";
}

export class Pool {
  private readonly words: Int32Array;
  private readonly values: Float64Array;
  private readonly ids: ReadonlyMap<string, number>;
  private readonly join: (active: number, spins: number) => number;
  /** The kernel from which a worker did not come back: it may still write, so nothing runs here any more. */
  private lostIn: string | undefined;

  private constructor(memory: WebAssembly.Memory, module: WebAssembly.Module, exports: WebAssembly.Exports, private readonly workers: readonly PoolWorker[]) {
    this.words = new Int32Array(memory.buffer, CONTROL, FIELDS.end / 4);
    this.values = new Float64Array(memory.buffer, CONTROL + FIELDS.arguments, 24);
    this.ids = new Map(WebAssembly.Module.exports(module).map(({ name }, id) => [name, id]));
    this.join = exports["pool_join"] as (active: number, spins: number) => number;
  }

  /** Starts the workers and waits until all of them are there; if one fails, ends the others. */
  static async start(threads: number, memory: WebAssembly.Memory, module: WebAssembly.Module, exports: WebAssembly.Exports, program = new URL("./worker.mjs", import.meta.url)): Promise<Pool> {
    const start = await starter();
    const workers = Array.from({ length: threads - 1 }, () => start(program));
    try {
      await Promise.all(workers.map((worker) => worker.greet({ module, memory, spins: SPINS })));
    } catch (error) {
      await Promise.all(workers.map((worker) => worker.terminate()));
      throw error;
    }
    return new Pool(memory, module, exports, workers);
  }

  get threads(): number { return this.workers.length + 1; }
  /** How many pieces of tasks the workers have taken so far; it starts over from -2^31 after 2^31. */
  get taken(): number { return Atomics.load(this.words, FIELDS.taken / 4); }

  /** The kernels as callers see them: a count, then the arguments. Small calls run here, large ones on all threads. */
  door(ranges: RangeKernels): Kernels {
    const door: Record<string, unknown> = {};
    for (const [name, id] of this.ids) {
      const kernel = ranges[name as keyof RangeKernels] as ((begin: number, end: number, ...rest: number[]) => void) | undefined;
      if (typeof kernel !== "function" || name.startsWith("pool_")) continue;
      const work = WORK[name as keyof Kernels] ?? oneEach;
      door[name] = (n: number, ...rest: number[]): void => {
        if (this.lostIn) throw new WorkerLostError(`kernels: a worker was lost in ${this.lostIn} and ${name} cannot run; load the kernels anew and go on from the last checkpoint`);
        if (n > 1 && work(n, rest) > WORTH_SHARING) this.share(name, id, kernel, n, rest);
        else kernel(0, n, ...rest);
      };
    }
    return door as unknown as Kernels;
  }

  async stop(): Promise<void> { await Promise.all(this.workers.map((worker) => worker.terminate())); }

  private share(name: string, id: number, kernel: (begin: number, end: number, ...rest: number[]) => void, n: number, rest: number[]): void {
    const { words, values } = this;
    const even = Math.ceil(n / (4 * this.threads)), grain = even > PIECE ? Math.ceil(even / PIECE) * PIECE : even;
    values.set([id, n, grain, rest.length, ...rest]);
    Atomics.store(words, FIELDS.next / 4, 0);
    Atomics.store(words, FIELDS.open / 4, 1);
    Atomics.add(words, FIELDS.sequence / 4, 1);
    if (Atomics.load(words, FIELDS.sleepers / 4) > 0) Atomics.notify(words, FIELDS.sequence / 4);
    let failed = false;
    try {
      for (let begin = this.take(grain); begin < n; begin = this.take(grain)) kernel(begin, Math.min(begin + grain, n), ...rest);
    } finally {
      Atomics.store(words, FIELDS.open / 4, 0);
      this.awaitOthers(name);
      failed = Atomics.exchange(words, FIELDS.failed / 4, 0) === 1;
    }
    if (failed) throw new WorkerLostError(`kernels: ${name} trapped in a worker; go on from the last checkpoint`);
  }

  private take(grain: number): number { return Atomics.add(this.words, FIELDS.next / 4, grain); }

  private awaitOthers(name: string): void {
    const active = CONTROL + FIELDS.active;
    if (this.join(active, JOIN_SPINS)) return;
    let waited = 0, before = performance.now();
    while (!this.join(active, JOIN_SPINS)) {
      const now = performance.now();
      waited += Math.min(now - before, LONGEST_GAP_MS);
      before = now;
      if (waited <= LOST_AFTER_MS) continue;
      this.lostIn = name;
      throw new WorkerLostError(`kernels: a worker did not come back from ${name} within ${LOST_AFTER_MS / 1000} s; load the kernels anew and go on from the last checkpoint`);
    }
  }
}

/** How much work a call is, about, in multiply-accumulates. Kernels that are not listed do one thing per item. */
type Work = (n: number, rest: readonly number[]) => number;
const oneEach: Work = (n) => n;
const times = (...positions: number[]): Work => (n, rest) => positions.reduce((work, position) => work * rest[position], n);
const WORK: Partial<Record<keyof Kernels, Work>> = {
  f32_conv: times(4, 5, 10), f32_gemm: times(2, 7), f32_conv_weight_grad: times(3, 7), conv_unpack_weight_grad: times(3),
  conv_table: times(1, 4, 5), conv_table_transposed: times(1, 2, 3), conv_pack: times(3, 4), conv_pack_transposed: times(3, 2),
  nc4_pack: times(5, 6), nc4_pack_spikes: times(5, 6), f32_depthwise: times(7, 8, 9, 10), f32_depthwise_weight_grad: times(3, 7, 8, 9, 10),
  spike_conv: times(4, 5, 10), spike_conv_pack: times(3, 4), fixed_pack: times(3, 4), fixed_multiply_accumulate: times(4, 5, 8), fixed_accumulate: times(4, 5, 8),
  fixed_depthwise_multiply_accumulate: times(4, 5), fixed_depthwise_accumulate: times(4, 5), fixed_to_f32: times(4), spike_events: times(3), spike_events_above: times(3),
  dot_i8: times(4, 5, 10), dot_i8_pack: times(3, 4), spike_conv_i16: times(4, 5, 10), spike_conv_i16_pack: times(3, 4), spike_conv_i16_reach: times(2, 3),
  spike_channel_events: (n, rest) => n * 128 * rest[4], spike_gradient_blocks: times(3), spike_weight_grad: times(4, 5, 9),
  f32_copy_columns: times(4), f32_mul_row: times(3), f32_affine_row: times(4), f32_gather_rows: times(3), f32_norm_backward: times(6),
  f32_sum: () => 0, f32_sum_squares: () => 0, f32_column_sums: (n, rest) => n * 256 * rest[3], f32_column_squares: (n, rest) => n * 256 * rest[4],
  f32_column_dots: (n, rest) => n * 256 * rest[5], f32_combine_columns: times(2), f32_repeat: times(2), f32_sum_over: times(2),
  f32_maxpool: times(5, 7, 8), f32_maxpool_backward: times(3, 4, 5), f32_upsample_nearest: times(3, 4, 5), f32_upsample_nearest_backward: times(3, 4, 5),
  f32_pad: times(4, 5), f32_crop: times(3, 4), f32_softmax: times(2), f32_softmax_backward: times(3), f32_expectation: times(2), f32_expectation_backward: times(4),
  f32_dfl: times(3), f32_dfl_backward: times(4),
};

/** How this host starts a worker. */
async function starter(): Promise<(program: URL) => PoolWorker> {
  if (typeof process === "undefined" || !process.versions?.node) return startInBrowser;
  const { Worker } = await import("node:worker_threads");
  return (program) => {
    const worker = new Worker(program, { stdout: false, stderr: false });
    return {
      terminate: () => worker.terminate(),
      greet: (greeting) => new Promise((ready, failed) => {
        worker.once("message", () => { worker.unref(); ready(); });
        worker.once("error", failed);
        worker.once("exit", (code) => failed(new Error(`kernels: a worker ended with code ${code} before it was ready`)));
        worker.postMessage(greeting);
      }),
    };
  };
}

function startInBrowser(program: URL): PoolWorker {
  const worker = new Worker(program, { type: "module" });
  return {
    terminate: () => worker.terminate(),
    greet: (greeting) => new Promise((ready, failed) => {
      worker.addEventListener("message", () => ready(), { once: true });
      worker.addEventListener("error", (event) => failed(new Error(`kernels: a worker did not start: ${event.message}`)), { once: true });
      worker.postMessage(greeting);
    }),
  };
}
