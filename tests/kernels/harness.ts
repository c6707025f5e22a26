/** Runs one kernel in a SIMD build and in its reference twin on equal inputs, and compares what both wrote. */
import { HEAP_BASE, instantiateKernels, type Build, type LoadedKernels } from "../../kernels/load.ts";
import type { Kernels } from "../../kernels/signatures.ts";

/** Sizes at which tails break first. */
export const SIZES = [1, 3, 4, 5, 7, 8, 17, 64, 1000];

/** A bench of one build: places arrays in its memory one after the other, and reads them back. */
export class Workbench {
  private top = HEAP_BASE;
  constructor(readonly loaded: LoadedKernels) {}
  static async of(build: Build): Promise<Workbench> { return new Workbench(await instantiateKernels({ build, threads: 1 })); }
  get kernels(): Kernels { return this.loaded.kernels; }
  /** Forget everything that was placed. */
  clear(): void { this.top = HEAP_BASE; }
  private reserve(bytes: number): number {
    const pointer = this.top;
    this.top = (pointer + bytes + 127) & ~63; // 64-byte alignment, and at least 64 bytes of slack
    const missing = this.top - this.loaded.memory.buffer.byteLength;
    if (missing > 0) this.loaded.memory.grow(Math.ceil(missing / 65536));
    return pointer;
  }
  /** Reals (float32, or float64 in the twin) initialised from `values`, or `values` uninitialised reals set to NaN. */
  real(values: ArrayLike<number> | number): number {
    const size = typeof values === "number" ? values : values.length;
    const pointer = this.reserve(size * this.loaded.bytes);
    const view = this.loaded.bytes === 8 ? new Float64Array(this.loaded.memory.buffer, pointer, size) : new Float32Array(this.loaded.memory.buffer, pointer, size);
    if (typeof values === "number") view.fill(NaN); else view.set(values);
    return pointer;
  }
  bytes(values: ArrayLike<number> | number): number {
    const size = typeof values === "number" ? values : values.length;
    const pointer = this.reserve(size);
    const view = new Uint8Array(this.loaded.memory.buffer, pointer, size);
    if (typeof values === "number") view.fill(0xee); else view.set(values);
    return pointer;
  }
  ints(values: ArrayLike<number> | number): number {
    const size = typeof values === "number" ? values : values.length;
    const pointer = this.reserve(4 * size);
    const view = new Int32Array(this.loaded.memory.buffer, pointer, size);
    if (typeof values === "number") view.fill(-77); else view.set(values);
    return pointer;
  }
  readReal(pointer: number, size: number): Float64Array {
    return Float64Array.from(this.loaded.bytes === 8 ? new Float64Array(this.loaded.memory.buffer, pointer, size) : new Float32Array(this.loaded.memory.buffer, pointer, size));
  }
  readBytes(pointer: number, size: number): Uint8Array { return new Uint8Array(this.loaded.memory.buffer, pointer, size).slice(); }
  readInts(pointer: number, size: number): Int32Array { return new Int32Array(this.loaded.memory.buffer, pointer, size).slice(); }
  readU16(pointer: number, size: number): Uint16Array { return new Uint16Array(this.loaded.memory.buffer, pointer, size).slice(); }
}

/** The benches to compare: every SIMD build that this host runs, against the float32 reference and the float64 twin. */
export async function benches(): Promise<{ fast: Workbench[]; plain: Workbench; twin: Workbench }> {
  const fast: Workbench[] = [];
  for (const build of ["relaxed", "simd"] as const) {
    try { fast.push(await Workbench.of(build)); } catch (error) { if (!/does not run on this host/.test(String(error))) throw error; }
  }
  return { fast, plain: await Workbench.of("reference"), twin: await Workbench.of("reference64") };
}

/** Reproducible values in [-1, 1) (xorshift32). */
export function values(size: number, seed = 1): Float64Array {
  let state = (seed * 0x9e3779b9) | 1;
  return Float64Array.from({ length: size }, () => {
    state ^= state << 13; state ^= state >>> 17; state ^= state << 5;
    return Math.fround((state >>> 0) / 2147483648 - 1);
  });
}

/** Largest |got - want| over the largest |want| (1 where want is all zeros). */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let error = 0, scale = 0;
  for (let i = 0; i < want.length; i++) {
    if (Object.is(got[i], want[i])) continue;
    if (Number.isNaN(got[i]) !== Number.isNaN(want[i])) return Infinity;
    error = Math.max(error, Math.abs(got[i] - want[i]));
  }
  for (let i = 0; i < want.length; i++) if (Number.isFinite(want[i])) scale = Math.max(scale, Math.abs(want[i]));
  return error / (scale || 1);
}
