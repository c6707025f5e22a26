/** What every kernel owes: the same numbers in every build, the same bits for any split of its range, and not a byte written elsewhere. */
import { expect } from "vitest";
import { HEAP_BASE } from "../../kernels/load.ts";
import type { Kernels } from "../../kernels/signatures.ts";
import { relativeError, type Workbench } from "./harness.ts";

/** A piece of memory that a kernel writes. */
export interface Region { readonly type: "real" | "u8" | "u16" | "i32"; readonly pointer: number; readonly size: number }
/** One call: kernel(n, ...args), and all that it may write. */
export interface Call { readonly n: number; readonly args: readonly number[]; readonly writes: readonly Region[] }
/** Places the inputs and outputs of a call on a bench. */
export type Setup = (bench: Workbench) => Call;

export const reals = (pointer: number, size: number): Region => ({ type: "real", pointer, size });
export const bytes = (pointer: number, size: number): Region => ({ type: "u8", pointer, size });
export const shorts = (pointer: number, size: number): Region => ({ type: "u16", pointer, size });
export const ints = (pointer: number, size: number): Region => ({ type: "i32", pointer, size });

/** Values at which arithmetic goes wrong first. */
export const SPECIAL = [NaN, Infinity, -Infinity, 0, -0, 1e-45, -1e-45, 1e-39, 3e38, -3e38, 0.5, 1.5, 2.5];

export function read(bench: Workbench, { type, pointer, size }: Region): ArrayLike<number> {
  if (type === "real") return bench.readReal(pointer, size);
  if (type === "u8") return bench.readBytes(pointer, size);
  return type === "u16" ? bench.readU16(pointer, size) : bench.readInts(pointer, size);
}

const call = (kernel: unknown, ...args: number[]): void => (kernel as (...all: number[]) => void)(...args);

/** Sets up a call, runs it, and reads all that it wrote. */
export function run(bench: Workbench, name: keyof Kernels, setup: Setup): ArrayLike<number>[] {
  bench.clear();
  const { n, args, writes } = setup(bench);
  call(bench.kernels[name], n, ...args);
  return writes.map((region) => read(bench, region));
}

/** Equal as Object.is has it: -0 is not 0, NaN is NaN. */
export function expectSame(got: ArrayLike<number>, want: ArrayLike<number>, what: string): void {
  expect(got.length, what).toBe(want.length);
  for (let i = 0; i < want.length; i++) if (!Object.is(got[i], want[i])) expect.fail(`${what}: [${i}] is ${got[i]}, expected ${want[i]}`);
}

export interface Agreement {
  fast: Workbench[];
  plain: Workbench;
  /** Left out where the twin, rounding less, may rightly decide otherwise. */
  twin?: Workbench;
}
export interface Bounds {
  /** Largest relative error of fast against plain; left out, they agree bit for bit. */
  fast?: number;
  /** Largest relative error of plain and fast against the float64 twin. */
  twin?: number;
  /** The size of the terms that make up the result, where they may cancel: errors are relative to it, if it is larger than the result. */
  scale?: number;
}

/** Every build agrees with the reference, the reference with its float64 twin, and each with itself for any split. */
export function expectAgreement({ fast, plain, twin }: Agreement, name: keyof Kernels, setup: Setup, bounds: Bounds = {}): void {
  const want = run(plain, name, setup);
  const exact = twin && run(twin, name, setup);
  const error = (got: ArrayLike<number>, truth: ArrayLike<number>): number => relativeError([...Array.from(got), bounds.scale ?? 0], [...Array.from(truth), bounds.scale ?? 0]);
  const near = (got: ArrayLike<number>[], who: string): void => exact?.forEach((truth, r) => expect(error(got[r], truth), `${name} ${who} against the twin`).toBeLessThanOrEqual(bounds.twin ?? 2e-6));
  near(want, "reference");
  for (const bench of fast) {
    const got = run(bench, name, setup), who = bench.loaded.build;
    got.forEach((values, r) => {
      if (bounds.fast === undefined) expectSame(values, want[r], `${name} ${who}`);
      else expect(error(values, want[r]), `${name} ${who} against the reference`).toBeLessThanOrEqual(bounds.fast);
    });
    near(got, who);
  }
  for (const bench of [...fast, plain]) expectSplits(bench, name, setup);
}

/** Any split of the range gives the same bits; no two parts write one byte; nothing is written outside of what the call declares. */
export function expectSplits(bench: Workbench, name: keyof Kernels, setup: Setup): void {
  bench.clear();
  setup(bench);
  const top = bench.bytes(0), heap = new Uint8Array(bench.loaded.memory.buffer).subarray(HEAP_BASE, top);
  heap.fill(0xa5); // so that the slack between arrays is no number that a kernel might write there by luck
  bench.clear();
  const { n, args, writes } = setup(bench), before = heap.slice(), what = `${name} ${bench.loaded.build}`;
  call(bench.kernels[name], n, ...args);
  const whole = writes.map((region) => read(bench, region));

  const allowed = new Uint8Array(before.length);
  const width = { real: bench.loaded.bytes, u8: 1, u16: 2, i32: 4 };
  for (const { type, pointer, size } of writes) allowed.fill(1, pointer - HEAP_BASE, pointer - HEAP_BASE + size * width[type]);
  for (let i = 0; i < before.length; i++) if (!allowed[i] && heap[i] !== before[i]) expect.fail(`${what}: wrote byte ${i} of the heap, which is no output`);

  heap.set(before);
  const third = Math.ceil(n / 3), cuts = [...new Set([0, third, Math.min(n, third + 1), n])];
  const owner = new Uint8Array(before.length);
  for (let part = cuts.length - 1; part > 0; part--) { // the last part first: no part may lean on an earlier one
    const then = heap.slice();
    call(bench.loaded.ranges[name], cuts[part - 1], cuts[part], ...args);
    for (let i = 0; i < then.length; i++) {
      if (heap[i] === then[i]) continue;
      if (owner[i]) expect.fail(`${what}: parts ${owner[i]} and ${part} of the range both write byte ${i} of the heap`);
      owner[i] = part;
    }
  }
  writes.forEach((region, r) => expectSame(read(bench, region), whole[r], `${what} in parts [${cuts}]`));
}

/** Central differences: d(sum of dy * f(x)) / dx. */
export function differences(f: (x: Float64Array) => ArrayLike<number>, x: Float64Array, dy: ArrayLike<number>, step = 1e-5): Float64Array {
  return x.map((_, i) => {
    const at = (h: number): number => {
      const moved = x.slice();
      moved[i] += h;
      const y = f(moved);
      let sum = 0;
      for (let j = 0; j < y.length; j++) sum += y[j] * dy[j];
      return sum;
    };
    return (at(step) - at(-step)) / (2 * step);
  });
}
