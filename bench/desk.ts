/** Memory and kernels of one build, laid out for timing, and the timing itself. */
import { Bench } from "tinybench";
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

  /** Currents of neurons of which a share, `density`, fires integers 1..D. */
  currents(size: number, density: number, D: number): number {
    const pointer = this.bytes(4 * size), view = new Float32Array(this.loaded.memory.buffer, pointer, size);
    for (let i = 0; i < size; i++) view[i] = this.random.uniform() < density ? this.random.uniform(0.51, D + 0.49) : this.random.uniform(-1, 0.49);
    return pointer;
  }

  /** What stands there now, copied. */
  read(pointer: number, size: number): Float32Array { return new Float32Array(this.loaded.memory.buffer, pointer, size).slice(); }
}

/** Milliseconds of warming that are enough for anything, and of turns that short runs get at least. */
const WARM = 300, AT_LEAST = 250;

/** Least milliseconds of each, run in turns so that a slow moment of the machine meets all of them. */
export function fastest<Name extends string>(runs: Record<Name, () => unknown>, turns = 8, atLeast = AT_LEAST): Record<Name, number> {
  const names = Object.keys(runs) as Name[], best = Object.fromEntries(names.map((name) => [name, Infinity])) as Record<Name, number>;
  const bench = new Bench({ time: 0, iterations: 2, warmup: false, throws: true });
  for (const name of names) {
    for (let call = 0, start = performance.now(); call < 3 && performance.now() - start < WARM; call++) runs[name](); // until the fast code is there
    bench.add(name, () => { runs[name](); });
  }
  for (let turn = 0, start = performance.now(); turn < turns || performance.now() - start < atLeast; turn++) {
    bench.reset(); // a task that has completed would not run again
    for (const { name, result } of bench.runSync()) {
      if (result.state === "completed") best[name as Name] = Math.min(best[name as Name], result.latency.min);
    }
  }
  return best;
}

/** `fastest` for every row of a table, the table gone through several times, so that seconds in which the machine is slow do not fall on one row. */
export function fastestRows<Name extends string>(rows: readonly Record<Name, () => unknown>[], passes = 4): Record<Name, number>[] {
  const all = Array.from({ length: passes }, () => rows.map((row) => fastest(row, 4)));
  return rows.map((row, i) => Object.fromEntries(Object.keys(row).map((name) => [name, Math.min(...all.map((pass) => pass[i][name as Name]))])) as Record<Name, number>);
}

/** Columns as wide as what is in them. */
export function print(head: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  const all = [head, ...rows.map((row) => row.map((cell) => (typeof cell === "number" ? cell.toFixed(2) : cell)))];
  const widths = head.map((_, c) => Math.max(...all.map((row) => row[c].length)));
  for (const row of all) console.log(row.map((cell, c) => (c ? cell.padStart(widths[c]) : cell.padEnd(widths[c]))).join("  "));
}
