import { beforeEach, describe, expect, it } from "vitest";
import { add, backward, loadKernels, mul, OutOfMemoryError, Random, scope, sum, tensor, withHost, type Host } from "../../engine/index.ts";
import { Memory } from "../../engine/memory.ts";
import { DownSampling, SeparableConv, SpikingConv } from "../../nn/blocks.ts";
import { Module } from "../../nn/module.ts";
import { ilif } from "../../nn/neurons.ts";
import { SGD } from "../../nn/optimizers.ts";
import { kernelSets } from "./hosts.ts";

const MB = 1 << 20;
const fresh = (limit?: number) => new Memory(new WebAssembly.Memory({ initial: 1, maximum: 65536 }), limit);

describe("memory", () => {
  it("gives blocks that are aligned to 64 bytes and do not touch, whatever their size", () => {
    const memory = fresh();
    const blocks = [1, 3, 64, 65, 1000, 0, 5 * MB, 7].flatMap((bytes) => [[memory.allocate(bytes), bytes], [memory.persistent(bytes), bytes], [memory.workspace(bytes), bytes]]);
    blocks.sort(([a], [b]) => a - b);
    for (const [i, [start, bytes]] of blocks.entries()) {
      expect(start % 64).toBe(0);
      if (i + 1 < blocks.length) expect(start + bytes + 64).toBeLessThanOrEqual(blocks[i + 1][0]); // kernels may read 64 bytes too far
      expect(start + bytes).toBeLessThanOrEqual(memory.wasm.buffer.byteLength);
    }
  });

  it("gives the same addresses again after a scope has ended", () => {
    const memory = fresh(), once = (): number[] => {
      memory.enter();
      const pointers = [100, 3 * MB, 3 * MB, 20].map((bytes) => memory.allocate(bytes));
      memory.leave();
      return pointers;
    };
    const first = once(), reserved = memory.reserved;
    expect(once()).toEqual(first);
    expect(memory.reserved).toBe(reserved);
  });

  it("counts what is in use, and is back where it was when scopes end", () => {
    const memory = fresh(), before = memory.inUse;
    memory.enter();
    memory.allocate(1000);
    const outer = memory.inUse;
    expect(outer).toBeGreaterThanOrEqual(before + 1000);
    memory.enter();
    memory.allocate(5000);
    expect(memory.inUse).toBeGreaterThanOrEqual(outer + 5000);
    memory.leave();
    expect(memory.inUse).toBe(outer);
    memory.leave();
    expect(memory.inUse).toBe(before);
  });

  it("remembers its peak until told to forget it", () => {
    const memory = fresh();
    memory.enter();
    memory.allocate(2 * MB);
    memory.leave();
    expect(memory.peak).toBeGreaterThanOrEqual(2 * MB);
    memory.resetPeak();
    expect(memory.peak).toBe(memory.inUse);
  });

  it("hands a recycled block to the next allocation that it has room for, and to no larger one", () => {
    const memory = fresh();
    memory.enter();
    const block = memory.allocate(1000), used = memory.inUse;
    memory.allocate(100);
    memory.recycle(block, 1000);
    expect(memory.inUse).toBeLessThan(used + 100);
    expect(memory.allocate(5000)).not.toBe(block);
    expect(memory.allocate(300)).toBe(block);
    const rest = memory.allocate(300);
    expect(rest).toBeGreaterThan(block);
    expect(rest).toBeLessThan(block + 1000);
    expect(memory.allocate(1000)).toBeGreaterThan(block + 5000);
  });

  it("takes the smallest hole that is large enough, and joins holes that touch", () => {
    const memory = fresh();
    memory.enter();
    const [a, , b, c, d] = [3000, 10, 1000, 1000, 10].map((bytes) => memory.allocate(bytes));
    for (const [block, bytes] of [[a, 3000], [c, 1000], [b, 1000]]) memory.recycle(block, bytes);
    expect(memory.allocate(2000)).toBe(b); // of b and c together
    expect(memory.allocate(2000)).toBe(a);
    expect(memory.allocate(2000)).toBeGreaterThan(d);
  });

  it("gives the top back where the last blocks are recycled, in any order", () => {
    const memory = fresh();
    memory.enter();
    const [a, b, c] = [1000, 2000, 3000].map((bytes) => memory.allocate(bytes));
    for (const [block, bytes] of [[b, 2000], [c, 3000], [a, 1000]]) memory.recycle(block, bytes);
    expect(memory.allocate(MB)).toBe(a);
  });

  it("never hands out what is in use, whatever is allocated, recycled and left in whatever order", () => {
    const memory = fresh(), random = new Random(3), live: Map<number, number>[] = [new Map()];
    for (let i = 0; i < 1000; i++) {
      const now = live[live.length - 1], roll = random.uniform(), [oldest] = now.keys();
      if (roll < 0.02) { memory.enter(); live.push(new Map()); }
      else if (roll < 0.03 && live.length > 1) { memory.leave(); live.pop(); }
      else if (roll < 0.45 && oldest !== undefined) { memory.recycle(oldest, now.get(oldest)!); now.delete(oldest); }
      else {
        const bytes = random.integer(0, roll < 0.5 ? 3 * MB : 5000), pointer = memory.allocate(bytes);
        const overlaps = live.some((blocks) => [...blocks].some(([other, size]) => pointer < other + size + 64 && other < pointer + bytes + 64));
        expect(overlaps).toBe(false);
        now.set(pointer, bytes);
      }
    }
    while (live.length > 1) { memory.leave(); live.pop(); }
    for (const [pointer, bytes] of live[0]) memory.recycle(pointer, bytes);
    expect(memory.inUse).toBe(0);
  });

  it("forgets recycled blocks with the scope that owned them", () => {
    const memory = fresh(), before = memory.inUse;
    memory.enter();
    const block = memory.allocate(1000);
    memory.recycle(block, 1000);
    memory.leave();
    expect(memory.inUse).toBe(before);
    const a = memory.allocate(1000), b = memory.allocate(1000);
    expect(a).not.toBe(b);
  });

  it("takes workspace back when the op returns, also when it throws", () => {
    const memory = fresh(), before = memory.inUse;
    expect(memory.withWorkspace(() => memory.workspace(100))).toBe(memory.withWorkspace(() => memory.workspace(100)));
    expect(() => memory.withWorkspace(() => { memory.workspace(100); throw new Error("kernel"); })).toThrow("kernel");
    expect(memory.inUse).toBe(before);
  });

  it("keeps persistent blocks through scopes, and gives released ones out again", () => {
    const memory = fresh();
    memory.enter();
    const kept = memory.persistent(500);
    memory.leave();
    memory.enter();
    expect(memory.allocate(500)).not.toBe(kept);
    expect(memory.persistent(500)).not.toBe(kept);
    memory.release(kept, 500);
    expect(memory.persistent(500)).toBe(kept);
    memory.leave();
  });

  it("refuses to leave a scope that nobody entered", () => {
    expect(() => fresh().leave()).toThrow("memory: leave() without enter()");
  });

  it("says what did not fit, how much is used, how much there is, and what to do", () => {
    const memory = fresh(8 * MB);
    memory.allocate(MB);
    const refused = () => memory.allocate(16 * MB);
    expect(refused).toThrow(OutOfMemoryError);
    expect(refused).toThrow("memory: 16.1 MB more do not fit, 1.0 MB of 8.0 MB are in use; take a smaller batch or image");
  });

  it("goes on after a refusal: what fits still fits, and nothing was lost", () => {
    const memory = fresh(12 * MB);
    memory.enter();
    const first = memory.allocate(MB), used = memory.inUse;
    expect(() => memory.allocate(16 * MB)).toThrow(OutOfMemoryError);
    expect(memory.inUse).toBe(used);
    expect(memory.allocate(MB)).toBeGreaterThan(first);
    memory.leave();
  });

  it("refuses what the machine refuses with the same sentence", () => {
    const memory = new Memory(new WebAssembly.Memory({ initial: 1, maximum: 100 }));
    expect(() => memory.allocate(50 * MB)).toThrow(/^memory: 50\.1 MB more do not fit/);
  });
});

/** Two convolutions with neurons between them, norms, a depthwise one, a residual: everything that allocates. */
class SmallNetwork extends Module {
  private readonly options = { neuron: ilif(4), norm: { eps: 1e-3, momentum: 0.03 } };
  readonly stem = new DownSampling(3, 8, true, this.options);
  readonly mix = new SeparableConv(8, 7, this.options);
  readonly conv = new SpikingConv(8, 5, 3, 2, this.options);
  forward(x: Parameters<DownSampling["forward"]>[0]) {
    const y = this.stem.forward(x);
    return this.conv.forward(add(y, this.mix.forward(y)));
  }
}

describe.each(kernelSets)("a training step on %s", (_, load) => {
  let host: Host;
  beforeEach(async () => { host = await load(); });

  it("needs no new memory after it ran once: the 50th is as large as the 2nd", () => {
    const network = new SmallNetwork(), random = new Random(1), image = Float32Array.from({ length: 2 * 2 * 32 * 32 * 3 }, () => random.uniform());
    network.initialize(random);
    const optimizer = new SGD(network.parameters(), { lr: 0.01, momentum: 0.9 });
    const { memory } = host, after: { inUse: number; peak: number; reserved: number; bytes: number }[] = [];
    for (let step = 1; step <= 50; step++) {
      memory.resetPeak();
      const loss = scope(() => {
        const y = network.forward(tensor(image, [2, 2, 32, 32, 3])), total = sum(mul(y, y));
        backward(total);
        optimizer.step({ clip: 1 });
        return total.item();
      });
      expect(loss).toBeGreaterThan(0);
      after.push({ inUse: memory.inUse, peak: memory.peak, reserved: memory.reserved, bytes: memory.wasm.buffer.byteLength });
    }
    expect(after[49]).toEqual(after[1]);
    expect(new Set(after.slice(1).map((row) => JSON.stringify(row))).size).toBe(1);
    expect(after[0].inUse).toBe(after[1].inUse);
  });

  it("runs out of memory with a sentence, and the next smaller step works", () => {
    const small = new Memory(host.memory.wasm, host.memory.reserved + 40 * MB);
    const step = (n: number) => withHost({ ...host, memory: small }, () => scope(() => {
      const x = tensor(new Float32Array(n), [n], { requiresGrad: true }), y = sum(mul(add(x, x), x));
      backward(y);
      return y.item();
    }));
    expect(() => step(4 * MB)).toThrow(OutOfMemoryError);
    expect(step(MB >> 2)).toBe(0);
    expect(small.inUse).toBe(0);
  });
});

describe("loading kernels again", () => {
  it("gives a memory of its own", async () => {
    const [a, b] = [await loadKernels({ build: "reference" }), await loadKernels({ build: "reference" })];
    expect(a.memory).not.toBe(b.memory);
    expect(a.memory.wasm).not.toBe(b.memory.wasm);
  });
});
