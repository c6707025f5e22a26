/** Several threads on one memory: the same bits for any number of them, in a whole training step. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { afterAll, describe, expect, test, vi } from "vitest";
import { backward, loadKernels, Random, scope, type Host } from "../../engine/index.ts";
import { detectionLoss, SpikeYOLO, spikeYOLO } from "../../detection/index.ts";
import { CONTROL, FIELDS } from "../../kernels/control.mjs";
import { HEAP_BASE } from "../../kernels/load.ts";
import { Pool, WorkerLostError } from "../../kernels/pool.ts";
import type { RangeKernels } from "../../kernels/signatures.ts";

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
  interface Bench { pool: Pool; ranges: RangeKernels; words: Int32Array; copies: () => boolean }

  async function bench(): Promise<Bench> {
    const module = await WebAssembly.compile(await readFile(new URL("../../kernels/build/simd-threads.wasm", import.meta.url)));
    const memory = new WebAssembly.Memory({ initial: 64, maximum: 65536, shared: true });
    const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
    const pool = await Pool.start(2, memory, module, exports), ranges = exports as unknown as RangeKernels;
    pools.push(pool);
    const copies = (): boolean => {
      const [x, y] = [X, Y].map((pointer) => new Float32Array(memory.buffer, pointer, N));
      x.forEach((_, i) => { x[i] = i; });
      y.fill(0);
      pool.door(ranges).f32_copy(N, X, Y);
      return y.every((value, i) => value === i);
    };
    return { pool, ranges, words: new Int32Array(memory.buffer, CONTROL, FIELDS.end / 4), copies };
  }
  const read = (words: Int32Array, field: keyof typeof FIELDS): number => Atomics.load(words, FIELDS[field] / 4);

  test("passes a trap of the caller on, closes the task, and goes on", async () => {
    const { pool, ranges, words, copies } = await bench();
    expect(() => pool.door(ranges).f32_copy(N, X, NOWHERE)).toThrow(WebAssembly.RuntimeError);
    expect([read(words, "open"), read(words, "active"), read(words, "failed")]).toEqual([0, 0, 0]);
    expect(copies()).toBe(true);
  });

  test("says when a kernel trapped in a worker, and goes on", async () => {
    const { pool, ranges, words, copies } = await bench();
    const untilAWorkerTrapped = (): void => { for (let i = 0; i < 1e9 && read(words, "failed") === 0; i++); };
    const door = pool.door({ ...ranges, f32_copy: untilAWorkerTrapped }), before = pool.taken;
    expect(() => door.f32_copy(N, X, NOWHERE)).toThrow("kernels: f32_copy trapped in a worker; go on from the last checkpoint");
    expect(pool.taken).toBe(before + 1);
    expect([read(words, "open"), read(words, "active"), read(words, "failed")]).toEqual([0, 0, 0]);
    expect(copies()).toBe(true);
  });

  /** Time passes by `gap` at each look. */
  function withClock(gap: () => number, run: () => void): void {
    let now = 0;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => (now += gap()));
    try { run(); } finally { clock.mockRestore(); }
  }

  test("gives a worker up after 20 s, and then refuses every call", async () => {
    const { pool, ranges, words, copies } = await bench();
    Atomics.add(words, FIELDS.active / 4, 1); // a worker that is inside and never leaves
    let looks = 0;
    withClock(() => { looks++; return 900; }, () => expect(copies).toThrow("kernels: a worker did not come back from f32_copy within 20 s; load the kernels anew and go on from the last checkpoint"));
    expect(looks).toBe(1 + 23); // 22 x 0.9 s are less than 20 s
    Atomics.sub(words, FIELDS.active / 4, 1);
    expect(copies).toThrow(WorkerLostError);
    expect(() => pool.door(ranges).f32_fill(4, X, 0)).toThrow("kernels: a worker was lost in f32_copy and f32_fill cannot run; load the kernels anew and go on from the last checkpoint");
  });

  test("takes an hour in which the process was suspended for a second", async () => {
    const { words, copies } = await bench();
    Atomics.add(words, FIELDS.active / 4, 1);
    let looks = 0;
    withClock(() => {
      if (++looks === 10) Atomics.sub(words, FIELDS.active / 4, 1); // the worker wakes up too
      return 3_600_000;
    }, () => expect(copies()).toBe(true));
  });

  test("does not start when a worker ends before it is ready, and ends the others", async () => {
    const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
    const module = await WebAssembly.compile(Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0]));
    // the first one counts for ever, the second one gives up
    const program = `import { parentPort } from "node:worker_threads";
      parentPort.once("message", ({ memory }) => {
        const words = new Int32Array(memory.buffer);
        if (Atomics.add(words, 0, 1) === 0) setInterval(() => Atomics.add(words, 1, 1), 1);
        else { while (Atomics.load(words, 1) === 0) Atomics.wait(words, 2, 0, 1); process.exit(7); }
      });`;
    await expect(Pool.start(3, memory, module, {}, new URL(`data:text/javascript,${encodeURIComponent(program)}`))).rejects.toThrow("kernels: a worker ended with code 7 before it was ready");
    const words = new Int32Array(memory.buffer), counted = words[1];
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(words[1]).toBe(counted);
  });
});
