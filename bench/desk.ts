/** Memory and kernels of one build, laid out for timing, and the timing itself. */
import { HEAP_BASE, instantiateKernels, type LoadedKernels, type LoadOptions } from "../kernels/load.ts";
import { Random } from "../engine/random.ts";

export class Desk {
  private top = HEAP_BASE;
  private readonly random = new Random(1);
  private constructor(readonly loaded: LoadedKernels) {}
  static async of(options: LoadOptions = {}): Promise<Desk> { return new Desk(await instantiateKernels(options)); }
  get k() { return this.loaded.kernels; }

  /** Bytes, 64-aligned, with slack behind them. */
  bytes(size: number): number {
    const pointer = this.top;
    this.top = Math.ceil((pointer + size + 64) / 64) * 64;
    const missing = this.top - this.loaded.memory.buffer.byteLength;
    if (missing > 0) this.loaded.memory.grow(Math.ceil(missing / 65536));
    return pointer;
  }

  /** Reals drawn from [-1, 1). */
  reals(size: number): number {
    const pointer = this.bytes(4 * size), view = new Float32Array(this.loaded.memory.buffer, pointer, size);
    for (let i = 0; i < size; i++) view[i] = this.random.uniform(-1, 1);
    return pointer;
  }

  /** Spike bytes 1..4 at the given density, windows open. */
  spikes(size: number, density: number): number {
    const pointer = this.bytes(size), view = new Uint8Array(this.loaded.memory.buffer, pointer, size);
    for (let i = 0; i < size; i++) view[i] = 16 | (this.random.uniform() < density ? this.random.integer(1, 5) : 0);
    return pointer;
  }
}

/** Least milliseconds of each, run in turns so that a slow moment of the machine meets all of them. */
export function fastest<Name extends string>(runs: Record<Name, () => void>, rounds = 15): Record<Name, number> {
  const best = {} as Record<Name, number>, names = Object.keys(runs) as Name[];
  for (let round = -3; round < rounds; round++) {
    for (const name of names) {
      const start = performance.now();
      runs[name]();
      const took = performance.now() - start;
      if (round >= 0) best[name] = Math.min(best[name] ?? Infinity, took);
    }
  }
  return best;
}

/** Columns as wide as what is in them. */
export function print(head: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  const all = [head, ...rows.map((row) => row.map((cell) => (typeof cell === "number" ? cell.toFixed(2) : cell)))];
  const widths = head.map((_, c) => Math.max(...all.map((row) => row[c].length)));
  for (const row of all) console.log(row.map((cell, c) => (c ? cell.padStart(widths[c]) : cell.padEnd(widths[c]))).join("  "));
}
