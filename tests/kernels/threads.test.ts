/** Several threads on one memory: the same bits for any number of them, in a whole training step. */
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, test, vi } from "vitest";
import { backward, loadKernels, Random, scope, type Host } from "../../engine/index.ts";
import { detectionLoss, SpikeYOLO, spikeYOLO } from "../../detection/index.ts";
import { CALL, CALLS, CONTROL, ERRANDS, FIELDS, insideErrand, STATES, wordsOf } from "../../kernels/control.mjs";
import { HEAP_BASE } from "../../kernels/load.ts";
import { Pool, WorkerLostError } from "../../kernels/pool.ts";
import type { Call, RangeKernels } from "../../kernels/signatures.ts";
import { deaths, obeyed, order, saboteur } from "./saboteur.ts";

const images = { shape: [4, 96, 96, 3], data: Float32Array.from({ length: 4 * 96 * 96 * 3 }, (_, i) => ((i * 2654435761) >>> 8) / 16777216) };
const boxes = { image: Int32Array.from([0, 1, 3]), class: Int32Array.from([0, 1, 2]), xywh: Float32Array.from([0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.6, 0.6, 0.5, 0.3]) };

describe("threads", () => {
  const hosts: Host[] = [];
  afterAll(() => Promise.all(hosts.map((host) => host.stop())));

  async function gradients(threads: number): Promise<string> {
    const host = await loadKernels({ build: "simd", threads });
    hosts.push(host);
    expect(host.threads).toBe(threads);
    const model = new SpikeYOLO({ ...spikeYOLO.small, classes: 3 });
    const before = host.pool?.taken ?? 0;
    for (let step = 0; step < 2; step++) scope(() => backward(detectionLoss(model.forward(images), boxes).total));
    if (threads > 1) expect(host.pool!.taken).toBeGreaterThan(before);
    const hash = createHash("sha256");
    for (const parameter of model.parameters()) if (parameter.grad) hash.update(Uint8Array.from(new Uint8Array(parameter.grad.data.slice().buffer)));
    return hash.digest("hex");
  }

  test("a training step gives the same gradients, to the bit, on 1, 2 and 3 threads", async () => {
    const alone = await gradients(1);
    expect(await gradients(2)).toBe(alone);
    expect(await gradients(3)).toBe(alone);
  }, 120_000);

  test("workers that have gone to sleep are woken for the next task", async () => {
    const host = await loadKernels({ threads: 2 });
    hosts.push(host);
    const n = 1 << 20, random = new Random(1), { memory, kernels } = host;
    const [x, y] = [memory.persistent(4 * n), memory.persistent(4 * n)];
    new Float32Array(memory.wasm.buffer, x, n).forEach((_, i, all) => { all[i] = random.uniform(); });
    const before = host.pool!.taken;
    for (let round = 0; round < 20 || (host.pool!.taken === before && round < 500); round++) { // on a busy machine a worker may come late
      if (round % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 20)); // far longer than workers spin
      new Float32Array(memory.wasm.buffer, y, n).fill(0);
      kernels.f32_scale(n, x, y, round);
      const [X, Y] = [new Float32Array(memory.wasm.buffer, x, n), new Float32Array(memory.wasm.buffer, y, n)];
      expect(Y.every((value, i) => value === Math.fround(X[i] * round))).toBe(true);
    }
    expect(host.pool!.taken).toBeGreaterThan(before);
  });

  test("a number of threads that is none is refused", async () => {
    await expect(loadKernels({ threads: 0 })).rejects.toThrow("threads must be a whole number from 1 to 64, got 0");
  });
});

describe("a pool", () => {
  const pools: Pool[] = [];
  afterAll(() => Promise.all(pools.map((pool) => pool.stop())));

  const N = 1 << 18, X = HEAP_BASE, Y = X + 4 * N + 64, NOWHERE = 0xf0000000;
  interface Bench {
    pool: Pool; ranges: RangeKernels; memory: WebAssembly.Memory; words: Int32Array;
    /** Copies on all threads: whether every value arrived. */
    copies: () => boolean;
    /** Copies, while the caller waits in its own piece until a worker has taken one. */
    untilTaken: (taken?: () => boolean) => void;
  }

  async function bench(program?: URL, threads = 2): Promise<Bench> {
    const module = await WebAssembly.compile(await readFile(new URL("../../kernels/build/simd-threads.wasm", import.meta.url)));
    const memory = new WebAssembly.Memory({ initial: 64, maximum: 65536, shared: true });
    const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
    const pool = await Pool.start(threads, memory, module, exports, program), ranges = exports as unknown as RangeKernels;
    pools.push(pool);
    const copies = (): boolean => {
      const [x, y] = [X, Y].map((pointer) => new Float32Array(memory.buffer, pointer, N));
      x.forEach((_, i) => { x[i] = i; });
      y.fill(0);
      pool.door(ranges).f32_copy(N, X, Y);
      return y.every((value, i) => value === i);
    };
    const untilTaken = (taken?: () => boolean): void => {
      const before = pool.taken;
      const wait = (): void => { for (const start = performance.now(); performance.now() - start < 20_000 && !(taken?.() ?? pool.taken !== before);); };
      pool.door({ ...ranges, f32_copy: wait }).f32_copy(N, X, Y);
      if (pool.taken === before) throw new Error("no worker took a piece");
    };
    return { pool, ranges, memory, words: new Int32Array(memory.buffer, CONTROL, FIELDS.end / 4), copies, untilTaken };
  }
  /** Of workers that do this, then say that they are ready, and never take a piece. */
  const program = (first = ""): URL => new URL(`data:text/javascript,${encodeURIComponent(`
    import { parentPort } from "node:worker_threads";
    parentPort.on("message", ({ place }) => {
      ${first}
      parentPort.postMessage("ready");
    });`)}`);
  const idlers = program();
  /** As the pool holds them. */
  const workersOf = (pool: Pool) => pool["workers"] as { terminate(): Promise<unknown> }[];
  const read = (words: Int32Array, field: keyof typeof FIELDS): number => Atomics.load(words, FIELDS[field] / 4);
  /** Whether the task or an errand is open. */
  const isOpen = (words: Int32Array): boolean => [FIELDS.open / 4, ...Array.from({ length: ERRANDS }, (_, errand) => wordsOf({ buffer: words.buffer } as WebAssembly.Memory, errand).open)].some((word) => Atomics.load(words, word) === 1);

  test("passes a trap of the caller on, closes the task, and goes on", async () => {
    const { pool, ranges, words, copies } = await bench();
    expect(() => pool.door(ranges).f32_copy(N, X, NOWHERE)).toThrow(WebAssembly.RuntimeError);
    expect([isOpen(words), read(words, "failed")]).toEqual([false, 0]);
    expect(copies()).toBe(true);
  });

  test("says when a kernel trapped in a worker, and goes on", async () => {
    const { pool, ranges, words, copies } = await bench();
    const untilAWorkerTrapped = (): void => { for (let i = 0; i < 1e9 && read(words, "failed") === 0; i++); };
    const door = pool.door({ ...ranges, f32_copy: untilAWorkerTrapped }), before = pool.taken;
    expect(() => door.f32_copy(N, X, NOWHERE)).toThrow("kernels: f32_copy trapped in a worker; repeat the step, or go on from the last checkpoint");
    expect(pool.taken).toBe(before + 1);
    expect([isOpen(words), read(words, "failed")]).toEqual([false, 0]);
    expect(copies()).toBe(true);
  });

  /** Time passes by `gap` at each look. */
  function withClock(gap: () => number, run: () => void): void {
    let now = 0;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => (now += gap()));
    try { run(); } finally { clock.mockRestore(); }
  }

  const stateOfTheWorker = FIELDS.states / 4;

  test("gives a worker up after a second, refuses every call until it has recovered, and is then more patient", async () => {
    const { pool, ranges, words, copies } = await bench(idlers);
    for (const [patience, expectedLooks] of [["1 s", 11], ["2 s", 21], ["4 s", 41]] as const) {
      Atomics.store(words, stateOfTheWorker, STATES.inTask); // a worker that is inside and never leaves
      let looks = 0;
      withClock(() => { looks++; return 99; }, () => expect(copies).toThrow(`kernels: a worker did not come back from f32_copy within ${patience}; repeat the step after recover(), or go on from the last checkpoint`));
      expect(looks).toBe(1 + expectedLooks); // each of them 99 ms after the one before
      expect(copies).toThrow(WorkerLostError);
      expect(() => pool.door(ranges).f32_fill(4, X, 0)).toThrow("kernels: a worker was lost in f32_copy and may still write, so f32_fill cannot run; await recover() of the pool first");
      await pool.recover();
      expect(pool.news()).toEqual(["kernels: workers were lost in the middle of a step, which is repeated on 2 threads"]);
      expect(copies()).toBe(true);
    }
  });

  test("takes an hour in which the process was suspended for a moment", async () => {
    const { words, copies } = await bench(idlers);
    Atomics.store(words, stateOfTheWorker, STATES.inTask);
    let looks = 0;
    withClock(() => {
      if (++looks === 10) Atomics.store(words, stateOfTheWorker, STATES.away); // the worker wakes up too
      return 3_600_000;
    }, () => expect(copies()).toBe(true));
  });

  test.each(deaths)("recovers from a worker that %s in the middle of a piece", async (death) => {
    const { pool, memory, copies, untilTaken } = await bench(saboteur);
    order(memory, death);
    const before = performance.now();
    expect(() => untilTaken(() => obeyed(memory))).toThrow(WorkerLostError);
    expect(performance.now() - before).toBeLessThan(20_000);
    await pool.recover();
    const reason = { "traps": [], "exits": ["exit code 3"], "runs out of memory": ["Worker terminated due to reaching memory limit: JS heap out of memory"], "never comes back": [] }[death];
    expect(pool.news()).toEqual([...reason.map((why) => `kernels: a worker ended on its own (${why})`), "kernels: workers were lost in the middle of a step, which is repeated on 2 threads"]);
    expect(pool.threads).toBe(2);
    expect(copies()).toBe(true);
    untilTaken(); // by the new worker
    expect(pool.news()).toEqual([]);
  }, 60_000);

  describe("an errand", () => {
    const M = N / 2, Z = Y + 4 * N + 64, P = Z + 4 * N + 64;
    const call = (name: Call["name"], n: number, ...rest: number[]): Call => ({ name, n, rest });
    const numbers = (memory: WebAssembly.Memory, pointer: number): Float32Array => new Float32Array(memory.buffer, pointer, M);
    /** x counts from 1, y and z are empty. */
    async function counting(program?: URL, threads?: number) {
      const made = await bench(program, threads), { pool, ranges, memory } = made;
      numbers(memory, X).forEach((_, i, x) => { x[i] = i + 1; });
      for (const pointer of [Y, Z, P]) numbers(memory, pointer).fill(0);
      return { ...made, front: pool.door(ranges), is: (pointer: number, factor: number) => numbers(memory, pointer).every((value, i) => value === Math.fround(factor * (i + 1))) };
    }
    const until = (done: () => boolean): void => { for (const start = performance.now(); performance.now() - start < 20_000 && !done();); };
    const doubled = [call("f32_scale", M, X, Y, 2), call("f32_add", M, X, Y, Z), call("f32_scale", M, Z, P, 5)];

    test("is done by a worker while the caller does nothing, each call when the one before it is done", async () => {
      const { pool, words, is } = await counting(), finish = pool.leave(doubled)!;
      until(() => is(P, 15));
      expect([is(Y, 2), is(Z, 3), is(P, 15)]).toEqual([true, true, true]);
      finish();
      expect(isOpen(words)).toBe(false);
    });

    test("is done by the caller where no worker comes", async () => {
      const { pool, is } = await counting(idlers), finish = pool.leave(doubled)!;
      expect(is(Y, 2)).toBe(false);
      finish();
      expect([is(Y, 2), is(Z, 3), is(P, 15)]).toEqual([true, true, true]);
    });

    test.each([2, 3, 4])("goes well beside others, in any order, with tasks in between, on %i threads", async (threads) => {
      const { pool, front, memory, words, is } = await counting(undefined, threads);
      for (let round = 1; round <= 100; round++) {
        for (const pointer of [Y, Z, P]) numbers(memory, pointer).fill(0);
        const finishes = [pool.leave([call("f32_scale", M, X, Y, round), call("f32_scale", M / 4, Y, Y, 2), call("f32_scale", M / 4, Y, Y, 0.5)]), pool.leave([call("f32_copy", M, X, Z), call("f32_axpy", M, X, Z, round)])];
        front.f32_scale(M, X, P, 3);
        expect(is(P, 3)).toBe(true);
        for (const finish of round % 2 ? finishes : finishes.reverse()) finish!();
        expect([is(Y, round), is(Z, 1 + round)]).toEqual([true, true]);
      }
      expect(isOpen(words)).toBe(false);
    });

    test("is not taken where there is no place, where it is too long, or where nobody would come", async () => {
      const { pool, is, memory } = await counting(idlers), finishes = Array.from({ length: ERRANDS }, () => pool.leave(doubled));
      expect(finishes.every(Boolean)).toBe(true);
      expect(pool.leave(doubled)).toBe(undefined);
      finishes.pop()!();
      expect(pool.leave(Array.from({ length: CALLS + 1 }, () => doubled[0]))).toBe(undefined);
      expect(pool.leave([call("f32_copy", 0, X, Y)])).toBe(undefined);
      numbers(memory, P).fill(0);
      const longest = pool.leave(Array.from({ length: CALLS }, () => call("f32_axpy", M, X, P, 1)))!;
      longest();
      expect(is(P, CALLS)).toBe(true);
      const short = pool.leave([call("f32_copy", M, X, P)])!; // in the place of the longest
      short();
      expect(is(P, 1)).toBe(true);
      for (const finish of finishes) finish!();
      expect((await counting(undefined, 1)).pool.leave(doubled)).toBe(undefined);
    });

    test("runs what is the caller's alone, too, in one piece", async () => {
      const { pool, memory } = await counting(idlers);
      pool.leave([doubled[0], call("f32_ema", M, X, P, 0.5), call("f32_scale", M, Y, Z, 2)])!();
      expect([numbers(memory, P)[M - 1], numbers(memory, Z)[M - 1]]).toEqual([M / 2, 4 * M]);
    });

    const long = Array.from({ length: CALLS }, () => call("f32_copy", M, X, Y));
    const doneOf = ({ memory, words }: Bench, place: number): number => Atomics.load(words, wordsOf(memory, place).done);

    test("begins after those that were left before it", async () => {
      const made = await counting(), { pool, memory } = made;
      for (let round = 0; round < 20; round++) {
        const first = pool.leave(long)!, second = pool.leave(long)!;
        first();
        const third = pool.leave(long)!, pieces = wordsOf(memory, 1).calls[CALL * (CALLS - 1) + 3]; // where the first was
        until(() => doneOf(made, 0) > 0);
        expect(doneOf(made, 1)).toBe(pieces);
        second();
        third();
      }
    });

    test("does not make a worker count on in a task that is open but exhausted", async () => {
      const made = await counting(), { pool, ranges, words, memory } = made;
      let before = 0, finish: (() => void) | undefined;
      pool.door({ ...ranges, f32_scale: () => {
        if (finish) return;
        until(() => read(words, "next") >= M);
        before = read(words, "next");
        finish = pool.leave(long);
        until(() => doneOf(made, 0) === wordsOf(memory, 0).calls[CALL * (CALLS - 1) + 3]);
      } }).f32_scale(M, X, P, 1);
      expect(read(words, "next")).toBeLessThan(before + M);
      finish!();
    });

    test("is not waited for twice, nor after the workers were ended, nor longer than once where one is lost", async () => {
      const { pool, words, memory } = await counting(idlers), finish = pool.leave(doubled)!;
      finish();
      expect(finish).toThrow("kernels: what was left to workers ended with them, or was waited for before; repeat the step, or go on from the last checkpoint");
      const lost = pool.leave([call("f32_copy", 8, X, Y)])!, { next } = wordsOf(memory, 0);
      Atomics.store(words, stateOfTheWorker, insideErrand(0)); // it took the only piece, and died
      Atomics.store(words, next, 1);
      let looks = 0;
      withClock(() => { looks++; return 99; }, () => expect(lost).toThrow("kernels: a worker did not come back from f32_copy within 1 s"));
      expect(looks).toBe(12);
      await pool.recover();
      const after = pool.leave(doubled)!;
      await pool.recover();
      expect(after).toThrow(WorkerLostError);
    });

    test("from which a worker is gone while the caller waits for other things is not taken for done", async () => {
      const { pool, words, memory } = await counting(idlers), finish = pool.leave([call("f32_copy", 8, X, Y)])!;
      Atomics.store(words, stateOfTheWorker, insideErrand(0));
      Atomics.store(words, wordsOf(memory, 0).next, 1);
      await workersOf(pool)[0].terminate();
      await vi.waitFor(() => expect(pool.threads).toBe(2), 20_000);
      expect(finish).toThrow("kernels: f32_copy trapped in a worker");
    });

    test("in which a kernel traps says so to who waits for it, and to nobody else", async () => {
      const { pool, front, words, copies } = await counting(), { broken } = wordsOf({ buffer: words.buffer } as WebAssembly.Memory, 0);
      const finish = pool.leave([call("f32_copy", M, X, Y), call("f32_scale", M, X, NOWHERE, 2), call("f32_copy", M, X, Z)])!, other = pool.leave([call("f32_copy", M, X, P)])!;
      until(() => Atomics.load(words, broken) !== 0);
      front.f32_copy(M, X, Z);
      expect(finish).toThrow("kernels: f32_scale trapped in a worker; repeat the step, or go on from the last checkpoint");
      other();
      const alone = await counting(idlers);
      expect(alone.pool.leave([call("f32_scale", M, X, NOWHERE, 2)])!).toThrow(WebAssembly.RuntimeError);
      expect([isOpen(words), isOpen(alone.words)]).toEqual([false, false]);
      expect([copies(), alone.copies()]).toEqual([true, true]);
    });

    test.each(deaths)("in which a worker %s keeps nobody from going on, until it is waited for", async (death) => {
      const { pool, front, memory, words, is, copies } = await counting(saboteur);
      order(memory, death);
      const finish = pool.leave(doubled)!, other = pool.leave([call("f32_copy", M, X, Y)])!;
      until(() => obeyed(memory));
      front.f32_copy(7, X, P);
      front.f32_copy(M, X, P);
      expect(is(P, 1)).toBe(true);
      expect(finish).toThrow(WorkerLostError);
      if (death === "traps") other();
      else {
        expect(other).toThrow("kernels: a worker was lost in f32_scale and may still write, so f32_copy cannot run; await recover() of the pool first");
        expect(pool.leave(doubled)).toBe(undefined);
      }
      await pool.recover();
      expect(isOpen(words)).toBe(false);
      const finishes = Array.from({ length: ERRANDS }, () => pool.leave(doubled));
      expect(finishes.every(Boolean)).toBe(true); // no place was lost
      for (const again of finishes) again!();
      expect([is(Y, 2), is(Z, 3), is(P, 15), copies()]).toEqual([true, true, true, true]);
    }, 60_000);
  });

  test("replaces a worker that died outside of a task, and nobody misses it meanwhile", async () => {
    const { pool, copies, untilTaken } = await bench();
    for (let round = 0; round < 3; round++) {
      await workersOf(pool)[0].terminate();
      expect(copies()).toBe(true);
      await vi.waitFor(() => expect(pool.threads).toBe(2), 20_000);
      expect(pool.news()).toEqual(["kernels: a worker ended on its own (exit code 1)"]);
      untilTaken();
    }
  });

  test("replaces one that died inside, after the task was closed", async () => {
    const { pool, words, copies } = await bench(idlers);
    Atomics.store(words, stateOfTheWorker, STATES.inTask);
    await workersOf(pool)[0].terminate();
    await vi.waitFor(() => expect(Atomics.load(words, stateOfTheWorker)).toBe(STATES.away), 20_000);
    expect(copies()).toBe(true);
  });

  test("goes on with the workers that start, and says how many", async () => {
    const { pool, copies } = await bench(program(`if (place === 1) process.exit(7);`), 3);
    expect(pool.threads).toBe(2);
    expect(pool.news()).toEqual(["kernels: a worker did not start (exit code 7); going on with 2 threads"]);
    expect(copies()).toBe(true);
  });

  test("goes on alone where its workers cannot be replaced", async () => {
    const folder = await mkdtemp(join(tmpdir(), "spiketrain-pool-")), program = join(folder, "worker.mjs");
    await writeFile(program, `await import(${JSON.stringify(saboteur.href)});`);
    const { pool, memory, copies, untilTaken } = await bench(pathToFileURL(program));
    await rm(folder, { recursive: true });
    order(memory, "exits");
    expect(() => untilTaken(() => obeyed(memory))).toThrow(WorkerLostError);
    await pool.recover();
    expect(pool.threads).toBe(1);
    expect(pool.news()).toEqual([
      "kernels: a worker ended on its own (exit code 3)",
      expect.stringMatching(/^kernels: a worker did not start \(Cannot find module .*\); going on with one thread$/),
      "kernels: workers were lost in the middle of a step, which is repeated on one thread",
    ]);
    expect(copies()).toBe(true);
  });

  test("stops replacing workers that end as soon as they are there", async () => {
    const { pool, copies } = await bench(program("setImmediate(() => process.exit(5));"));
    const news: string[] = [];
    await vi.waitFor(() => {
      news.push(...pool.news());
      expect(news.at(-1)).toBe("kernels: workers end again and again and are not replaced any more; going on with one thread");
    }, 60_000);
    expect(copies()).toBe(true);
  }, 90_000);

  test("starts nobody any more once it has stopped, and computes alone", async () => {
    const { pool, copies } = await bench();
    await pool.stop();
    await pool.recover();
    expect(pool.threads).toBe(1);
    expect(copies()).toBe(true);
  });
});
