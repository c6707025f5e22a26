/**
 * Workers on one shared memory. A kernel call is a task: a range of items, cut into pieces that whoever is free takes next. Pieces
 * write different outputs and sum nothing across each other, so the bits do not depend on how many take part, or who takes which.
 *
 *   caller   write task, open it, count up the sequence, wake sleepers, take pieces; close it, wait until nobody is inside
 *   worker   see the sequence change, enter, take pieces if the task is open, leave; spin a while, then sleep
 *
 * A worker that wakes late finds the task closed and goes back: nobody waits for sleepers.
 *
 * What the caller does not wait for it leaves behind as an errand: some calls, one after the other, whose pieces workers take when there is no task.
 * The caller takes what is left of them when it wants the results. A call begins when the one before it is done.
 *
 * Workers die: of memory, of limits, of faults. One that dies outside of a task is missed by nobody, and replaced once its end is heard of.
 * One that dies inside leaves a piece undone, and the caller, within a synchronous call, hears nothing: it waits a while, throws WorkerLostError,
 * and computes nothing until `recover` has ended all workers and started others. A worker that was merely slow does no harm: it is gone
 * before anything is written again, and what was lost is computed once more.
 */
import { CALL, CALLS, CONTROL, ERRANDS, FIELDS, insideErrand, STATES, takePiece, wordsOf, type Errand } from "./control.mjs";
import { BAND, type Call, type Finish, type Kernels, type RangeKernels } from "./signatures.ts";

/** Loads of the sequence before a worker goes to sleep: some 100 microseconds. To wake one costs half as much, in which it misses several tasks. */
const SPINS = 150_000;
/** Looks at the workers between two looks at the clock while the caller waits for the last piece. */
const JOIN_SPINS = 1_000_000;
/** Pieces take milliseconds. A worker that is inside for so much longer than the caller is taken for dead; after a false alarm for twice as long. */
const PATIENCE_MS = { first: 1_000, most: 16_000 };
/** A longer gap between two looks at the clock says that the process was suspended: it counts as this. */
const LONGEST_GAP_MS = 100;
/** A worker that is not ready by then did not start. */
const START_MS = 30_000;
/** Within this time a host tells of a worker that ended, when it has anything to tell. */
const NEWS_MS = 500;
/** Workers that end on their own are replaced this often in a minute: where each one dies at once, something else is wrong. */
const MOST_REPLACED = 32, MINUTE_MS = 60_000;
/** Multiply-accumulates below which a task is not worth sharing: some 5 microseconds. */
const WORTH_SHARING = 100_000;
/** Multiply-accumulates below which a task is not cut further. */
const WORTH_A_PIECE = 25_000;
/** Multiply-accumulates of a register kernel in the time in which one element goes through memory. */
const MOVE = 8;
/** Pieces for each thread: some, so that whoever is free helps out. Each piece of a weight gradient packs dy anew, or brings it into its cache anew (8 pieces: 1.2 to 1.8 times the work). */
const PIECES_EACH = 4, LARGE_PIECES = new Set(["f32_conv_weight_grad", "spike_weight_grad"]);

/**
 * The same of a call of an errand: a worker takes most of them, one after the other, and looks in between whether the caller has a task. So rows of dy stay in its cache, and
 * what is packed anew is packed no oftener than by two. (A step of the default network, two threads: 69.5 ms so, 70.6 with 4 large pieces, 71.6 with 2 and 1.)
 */
const PIECES_BEHIND = 8, LARGE_PIECES_BEHIND = 2, WORTH_A_PIECE_BEHIND = 400_000;

interface Greeting { readonly module: WebAssembly.Module; readonly memory: WebAssembly.Memory; readonly spins: number; readonly place: number }

interface PoolWorker {
  /** Resolves when the worker waits for tasks. */
  readonly ready: Promise<void>;
  /** Resolves to the reason when the worker has ended, where the host tells. */
  readonly ended: Promise<string>;
  /** Resolves when the worker writes nothing any more. */
  terminate(): Promise<unknown>;
}
/** An errand that is out: where it stands, and how many pieces it has. */
interface Out { readonly place: number; readonly pieces: number }

type RangeKernel = (begin: number, end: number, ...rest: number[]) => void;
type StartWorker = (program: URL, greeting: Greeting) => PoolWorker;

/** A worker died or trapped in the middle of a kernel. What it was to write is not there. */
export class WorkerLostError extends Error {
  override readonly name = "WorkerLostError";
}

const trapIn = (name: string): WorkerLostError => new WorkerLostError(`kernels: ${name} trapped in a worker; repeat the step, or go on from the last checkpoint`);

export class Pool {
  private readonly words: Int32Array;
  private readonly values: Float64Array;
  private readonly ids: ReadonlyMap<string, number>;
  /** By number. */
  private readonly names: readonly string[];
  private readonly byId: readonly RangeKernel[];
  private readonly errands: readonly Errand[];
  /** Errands that are out, in their order. */
  private readonly left: Out[] = [];
  private readonly join: (states: number, workers: number, inside: number, spins: number) => number;
  /** By place; empty where one ended and no other has started yet. */
  private readonly workers: (PoolWorker | undefined)[];
  /** The kernel from which a worker did not come back: it may still write, so nothing runs here until it is ended for certain. */
  private lostIn: string | undefined;
  private patience = PATIENCE_MS.first;
  /** Starting and ending workers, one after the other. */
  private changes: Promise<void> = Promise.resolve();
  /** When workers were replaced, in the last minute. */
  private replaced: number[] = [];
  /** No more workers are started. */
  private closed = false;
  /** Why workers ended, and what else there is to say. */
  private readonly ends: string[] = [];
  private readonly said: string[] = [];

  private constructor(threads: number, private readonly memory: WebAssembly.Memory, private readonly module: WebAssembly.Module, exports: WebAssembly.Exports, private readonly program: URL, private readonly startWorker: StartWorker) {
    this.words = new Int32Array(memory.buffer, CONTROL, FIELDS.end / 4);
    this.values = new Float64Array(memory.buffer, CONTROL + FIELDS.arguments, 24);
    this.names = WebAssembly.Module.exports(module).map(({ name }) => name);
    this.ids = new Map(this.names.map((name, id) => [name, id]));
    this.byId = this.names.map((name) => exports[name] as RangeKernel);
    this.errands = Array.from({ length: ERRANDS }, (_, errand) => wordsOf(memory, errand));
    this.tellOldest();
    this.join = exports["pool_join"] as typeof this.join;
    this.workers = Array.from({ length: threads - 1 }, () => undefined);
  }

  /** Starts the workers and waits until they are there. Where some do not start, goes on with the others, and `news` says so. */
  static async start(threads: number, memory: WebAssembly.Memory, module: WebAssembly.Module, exports: WebAssembly.Exports, program = new URL("./worker.mjs", import.meta.url)): Promise<Pool> {
    const pool = new Pool(threads, memory, module, exports, program, await starter());
    await pool.hire();
    return pool;
  }

  /** Threads that take pieces now: the caller and the workers that are there. */
  get threads(): number { return this.workers.filter(Boolean).length + 1; }
  /** How many pieces of tasks the workers have taken so far; it starts over from -2^31 after 2^31. */
  get taken(): number { return Atomics.load(this.words, FIELDS.taken / 4); }

  /** The kernels as callers see them: a count, then the arguments. Small calls run here, large ones on all threads. */
  door(ranges: RangeKernels): Kernels {
    const door: Record<string, unknown> = {};
    for (const [name, id] of this.ids) {
      const kernel = ranges[name as keyof RangeKernels] as RangeKernel | undefined;
      if (typeof kernel !== "function" || name.startsWith("pool_")) continue;
      const work = WORK[name as keyof Kernels] ?? moveEach;
      door[name] = (n: number, ...rest: number[]): void => {
        this.expectWhole(name);
        const amount = work(n, rest);
        if (n > 1 && amount > WORTH_SHARING) this.share(name, id, kernel, n, rest, amount);
        else kernel(0, n, ...rest);
      };
    }
    return door as unknown as Kernels;
  }

  /**
   * Leaves calls behind: workers do them, each once the one before it is done. What is returned waits for that, and helps; until then, what they read must stay
   * as it is. Where there are no workers, no place, or more calls than an errand may have, nothing is done, and nothing returned.
   */
  leave(calls: readonly Call[]): Finish | undefined {
    const place = this.errands.findIndex((_, place) => this.left.every((out) => out.place !== place));
    if (place < 0 || calls.length > CALLS || calls.some(({ n }) => n < 1) || this.threads === 1 || this.lostIn) return undefined;
    const { words } = this, { open, next, limit, done, broken, calls: to } = this.errands[place];
    let at = 0, pieces = 0;
    for (const { name, n, rest } of calls) {
      const grain = grainBehind(name, n, rest);
      pieces += Math.ceil(n / grain);
      to.set([this.ids.get(name)!, n, grain, pieces, rest.length, ...rest], at);
      at += CALL;
    }
    if (at < to.length) to[at + 3] = 0; // no more
    for (const word of [next, done, broken]) Atomics.store(words, word, 0);
    Atomics.store(words, limit, to[3]);
    const out = { place, pieces };
    this.left.push(out);
    this.tellOldest();
    Atomics.store(words, open, 1);
    this.summon();
    return () => this.finish(out);
  }

  /** What became of workers since the last time, in sentences. */
  news(): string[] {
    const ends = this.ends.splice(0), many = ends.length > 1;
    return [...(ends.length ? [`kernels: ${many ? `${ends.length} workers` : "a worker"} ended on ${many ? "their" : "its"} own (${ends.at(-1)})`] : []), ...this.said.splice(0)];
  }

  /**
   * Ends every worker, so that none writes any more, then starts others, or none if `alone`. Afterwards kernels run again; what a kernel
   * that threw was to compute is for its caller to repeat.
   */
  async recover({ alone = false } = {}): Promise<void> {
    const news = this.workers.flatMap((worker) => worker?.ended ?? []);
    await Promise.race([...news, new Promise((resolve) => setTimeout(resolve, this.lostIn && !this.workers.includes(undefined) ? NEWS_MS : 0))]); // which of them ended on its own
    if (this.lostIn && !this.workers.includes(undefined)) this.patience = Math.min(2 * this.patience, PATIENCE_MS.most);
    this.closed ||= alone;
    await this.dismiss();
    await this.hire();
    this.said.push(`kernels: workers were lost in the middle of a step, which is repeated on ${this.strength}`);
  }

  async stop(): Promise<void> {
    this.closed = true;
    await this.dismiss();
  }

  private share(name: string, id: number, kernel: RangeKernel, n: number, rest: number[], amount: number): void {
    const { words, values } = this, threads = this.workers.length + 1;
    const grain = grainOf(n, Math.min(threads * (LARGE_PIECES.has(name) ? 1 : PIECES_EACH), Math.ceil(amount / WORTH_A_PIECE)));
    values[0] = id;
    values[1] = n;
    values[2] = grain;
    values[3] = rest.length;
    for (let i = 0; i < rest.length; i++) values[4 + i] = rest[i];
    Atomics.store(words, FIELDS.next / 4, 0);
    Atomics.store(words, FIELDS.open / 4, 1);
    this.summon();
    let failed = false;
    try {
      for (let begin = this.take(grain); begin < n; begin = this.take(grain)) kernel(begin, Math.min(begin + grain, n), ...rest);
    } finally {
      Atomics.store(words, FIELDS.open / 4, 0);
      this.awaitOthers(STATES.inTask, name);
      failed = Atomics.exchange(words, FIELDS.failed / 4, 0) === 1;
    }
    if (failed) throw trapIn(name);
  }

  /** Takes the pieces of an errand that are left, and waits for those that others have taken. */
  private finish(out: Out): void {
    const { words, left } = this, errand = this.errands[out.place], state = insideErrand(out.place);
    this.expectWhole(this.inHand(errand));
    if (!left.includes(out)) throw new WorkerLostError("kernels: what was left to workers ended with them, or was waited for before; repeat the step, or go on from the last checkpoint");
    left.splice(left.indexOf(out), 1);
    this.tellOldest();
    const take = (kernel: number, begin: number, end: number, rest: number[]): void => this.byId[kernel](begin, end, ...rest);
    try {
      while (Atomics.load(words, errand.done) < out.pieces && !Atomics.load(words, errand.broken)) {
        if (!takePiece(words, errand, take)) this.awaitOthers(state, this.inHand(errand)); // who leaves has done the last piece of a call, and opened the next
      }
    } finally {
      Atomics.store(words, errand.open, 0);
      if (!this.lostIn) this.awaitOthers(state, this.inHand(errand));
    }
    if (Atomics.load(words, errand.broken)) throw trapIn(this.inHand(errand));
  }

  /** The kernel that an errand has come to, or that broke it. */
  private inHand({ limit, broken, calls }: Errand): string {
    const [to, trapped] = [limit, broken].map((word) => Atomics.load(this.words, word));
    let at = 0;
    while (calls[at + 3] < to) at += CALL;
    return this.names[trapped ? trapped - 1 : calls[at]];
  }

  /** Tells workers which errand is the oldest, or that there is none. */
  private tellOldest(): void { Atomics.store(this.words, FIELDS.oldest / 4, this.left[0]?.place ?? -1); }

  /** Tells workers that there is something to take, and wakes those that sleep. */
  private summon(): void {
    const { words } = this;
    Atomics.add(words, FIELDS.sequence / 4, 1);
    for (let place = 0; place < this.workers.length; place++) {
      if (Atomics.load(words, stateOf(place)) === STATES.asleep) { Atomics.notify(words, FIELDS.sequence / 4); break; }
    }
  }

  private expectWhole(name: string): void {
    if (this.lostIn) throw new WorkerLostError(`kernels: a worker was lost in ${this.lostIn} and may still write, so ${name} cannot run; await recover() of the pool first`);
  }

  private take(grain: number): number { return Atomics.add(this.words, FIELDS.next / 4, grain); }

  private awaitOthers(inside: number, name: string): void {
    const joined = (): boolean => this.join(CONTROL + FIELDS.states, this.workers.length, inside, JOIN_SPINS) === 1;
    if (joined()) return;
    let waited = 0, before = performance.now();
    while (!joined()) {
      const now = performance.now();
      waited += Math.min(now - before, LONGEST_GAP_MS);
      before = now;
      if (waited <= this.patience) continue;
      this.lostIn = name;
      throw new WorkerLostError(`kernels: a worker did not come back from ${name} within ${this.patience / 1000} s; repeat the step after recover(), or go on from the last checkpoint`);
    }
  }

  private get strength(): string { return this.threads === 1 ? "one thread" : `${this.threads} threads`; }

  private inTurn(change: () => Promise<void>): Promise<void> { return (this.changes = this.changes.then(change)); }

  /** Fills the empty places. Never rejects: without workers the caller computes alone. */
  private hire(): Promise<void> {
    return this.inTurn(async () => {
      const faults: string[] = [];
      await Promise.all(this.workers.map(async (worker, place) => {
        if (worker || this.closed) return;
        try { await this.begin(place); } catch (error) { faults.push((error as Error).message); }
      }));
      if (faults.length) this.said.push(`kernels: ${faults.length === 1 ? "a worker" : `${faults.length} workers`} did not start (${faults[0]}); going on with ${this.strength}`);
    });
  }

  private async begin(place: number): Promise<void> {
    const { module, memory, words } = this, worker = this.startWorker(this.program, { module, memory, spins: SPINS, place });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<string>((resolve) => { timer = setTimeout(() => resolve(`no answer within ${START_MS / 1000} s`), START_MS); });
    const fault = await Promise.race([worker.ready, worker.ended, late]);
    clearTimeout(timer);
    if (fault === undefined && !this.closed) {
      this.workers[place] = worker;
      void worker.ended.then((why) => this.replace(place, worker, why));
    } else {
      await worker.terminate();
      Atomics.store(words, stateOf(place), STATES.away);
      if (fault !== undefined) throw new Error(fault);
    }
  }

  /** A worker ended, and nobody asked it to. */
  private replace(place: number, worker: PoolWorker, why: string): void {
    if (this.workers[place] !== worker) return;
    this.workers[place] = undefined;
    void worker.terminate(); // in a browser it may sit there after an error
    this.ends.push(why);
    if (this.lostIn) return; // recover() is to come
    const errand = this.errands[Atomics.exchange(this.words, stateOf(place), STATES.away) - insideErrand(0)];
    if (errand) Atomics.store(this.words, errand.broken, 1 + this.names.indexOf(this.inHand(errand)));
    const now = performance.now();
    this.replaced = [...this.replaced.filter((then) => now - then < MINUTE_MS), now];
    if (this.replaced.length <= MOST_REPLACED) void this.hire();
    else this.said.push(`kernels: workers end again and again and are not replaced any more; going on with ${this.strength}`);
  }

  /** Ends all workers. None of them writes any more when this is done. */
  private dismiss(): Promise<void> {
    return this.inTurn(async () => {
      await Promise.all(this.workers.map((worker, place) => {
        this.workers[place] = undefined;
        return worker?.terminate();
      }));
      this.workers.forEach((_, place) => Atomics.store(this.words, stateOf(place), STATES.away));
      for (const { open } of this.errands) Atomics.store(this.words, open, 0);
      this.left.length = 0;
      this.tellOldest();
      Atomics.store(this.words, FIELDS.failed / 4, 0);
      this.lostIn = undefined;
    });
  }
}

/** Items of a piece, such that so many pieces hold them all: where there are enough, whole tiles of 4, and whole cache lines of 16. */
function grainOf(n: number, pieces: number): number {
  const even = Math.ceil(n / pieces), unit = even > 64 ? 16 : even > 8 ? 4 : 1;
  return Math.ceil(even / unit) * unit;
}

function grainBehind(name: keyof Kernels, n: number, rest: readonly number[]): number {
  const amount = (WORK[name] ?? moveEach)(n, rest), most = name === "f32_conv_weight_grad" ? LARGE_PIECES_BEHIND : PIECES_BEHIND;
  return grainOf(n, Math.max(1, Math.min(most, Math.ceil(amount / WORTH_A_PIECE_BEHIND))));
}

/** Index of the word in which a worker keeps its state. */
const stateOf = (place: number): number => FIELDS.states / 4 + place;

/** How much work a call is, about, in multiply-accumulates. Kernels that are not listed move one element per item. */
type Work = (n: number, rest: readonly number[]) => number;
/** One for each item, times the arguments at these positions. */
const times = (...positions: number[]): Work => (n, rest) => positions.reduce((work, position) => work * rest[position], n);
const many = (each: number, work: Work): Work => (n, rest) => each * work(n, rest);
const moves = (...positions: number[]): Work => many(MOVE, times(...positions));
const moveEach = moves();
/** For the caller alone: too little to share, or written to what outlives a step, so that a step in which a worker is lost can be run again. */
const alone: Work = () => 0;
const WORK: Partial<Record<keyof Kernels, Work>> = {
  f32_sgd: alone, f32_ema: alone, f32_norm_running: alone, conv_table: alone, conv_table_transposed: alone, f32_sum: alone, f32_sum_squares: alone,

  f32_conv: times(4, 5, 10), f32_gemm: times(2, 7), f32_gemm_masked: times(4, 5), f32_conv_weight_grad: times(3, 7),
  f32_depthwise: many(4, times(7, 8, 9, 10)), f32_depthwise_weight_grad: many(4, times(3, 7, 8, 9, 10)),
  spike_conv: times(4, 5, 10), spike_weight_grad: many(32, times(3, 5)), fixed_multiply_accumulate: times(4, 5, 8), fixed_accumulate: times(4, 5, 8),
  fixed_depthwise_multiply_accumulate: times(4, 5), fixed_depthwise_accumulate: times(4, 5),
  dot_i8: times(4, 5, 10), spike_conv_i16: times(4, 5, 10),
  winograd_weights: many(8 * 36, moves(3)), f32_winograd_input: many(36, moves(8)), f32_winograd_multiply: many(8, times(3, 4)), f32_winograd_output: many(36, moves(7)),

  conv_pack: many(8, moves(3, 4)), conv_pack_transposed: many(8, moves(3, 2)), conv_unpack_weight_grad: moves(3),
  spike_conv_pack: many(32, moves(3, 4)), dot_i8_pack: many(8, moves(3, 4)), spike_conv_i16_pack: many(64, moves(3, 4)), spike_conv_i16_reach: moves(2, 3), fixed_pack: many(32, moves(3, 4)), fixed_to_f32: moves(4), nc4_pack: many(4, moves(5, 6)), nc4_pack_spikes: many(4, moves(5, 6)),
  spike_statistics: times(4), spike_events: many(64, moves(4)), spike_unfold: many(64, moves(6, 7)), spike_events_above: many(64, moves(4)), f32_fire_integer_events: many(64, moves(4, 6)), f32_norm_fire_integer: many(64, moves(8, 10)),
  f32_fire_integer_onward: moves(3), f32_fire_binary: moves(3), f32_fire_binary_backward: moves(3), f32_fire_leak_grad: many(1024, moves(3)),
  spike_channel_events: many(BAND, moves(6)), spike_gradient_blocks: moves(5, 7),
  f32_copy_columns: moves(4), f32_mul_row: moves(3), f32_affine_row: moves(3), f32_gather_rows: moves(3), f32_norm_backward: moves(6), f32_normed_weight_grad: moves(6),
  f32_column_sums: many(256, moves(3)), f32_column_moments: many(2 * 256, moves(5)), f32_column_dots: many(256, moves(6)),
  f32_combine_columns: moves(2), f32_combine_moments: many(1 / 256, moves(5)), f32_repeat: moves(2), f32_sum_over: moves(2),
  f32_maxpool: moves(5, 7, 8), f32_maxpool_backward: moves(3, 4, 5), f32_upsample_nearest: moves(3, 4, 5), f32_upsample_nearest_backward: moves(3, 4, 5),
  spikes_copy_columns: moves(5), spikes_upsample_nearest: moves(3, 4, 5), f32_pad: moves(4, 5), f32_crop: moves(3, 4), f32_softmax: moves(2), f32_softmax_backward: moves(3), f32_expectation: moves(2), f32_expectation_backward: moves(4),
  f32_dfl: moves(3), f32_dfl_backward: moves(4),
};

/** How this host starts a worker. */
async function starter(): Promise<StartWorker> {
  if (typeof process === "undefined" || !process.versions?.node) return startInBrowser;
  const { Worker } = await import("node:worker_threads");
  return (program, greeting) => {
    const worker = new Worker(program, { stdout: false, stderr: false, resourceLimits: { maxOldGenerationSizeMb: 64 } }); // numbers are in the shared memory
    let fault: string | undefined;
    worker.on("error", ({ message }) => { fault = message; });
    worker.postMessage(greeting);
    return {
      ready: new Promise((resolve) => {
        worker.once("message", () => { worker.unref(); resolve(); });
      }),
      ended: new Promise((resolve) => {
        worker.once("exit", (code) => resolve(fault ?? `exit code ${code}`));
      }),
      terminate: () => worker.terminate(),
    };
  };
}

/** A browser says nothing when a worker has ended, and how long one may run on that was told to. */
const LAST_WORDS_MS = 100;

function startInBrowser(program: URL, greeting: Greeting): PoolWorker {
  const worker = new Worker(program, { type: "module" });
  worker.postMessage(greeting);
  return {
    ready: new Promise((resolve) => worker.addEventListener("message", () => resolve(), { once: true })),
    ended: new Promise((resolve) => worker.addEventListener("error", ({ message }) => resolve(message), { once: true })),
    terminate: () => {
      worker.terminate();
      return new Promise((resolve) => setTimeout(resolve, LAST_WORDS_MS));
    },
  };
}
