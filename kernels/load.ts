/**
 * Picks a build and instantiates it: relaxed SIMD > SIMD > reference, each with threads where memory can be shared, in Node and in browsers.
 * A build is accepted when the host compiles it AND computes the right value with it; hosts exist that do only the first. Strict arithmetic
 * passes relaxed SIMD over, because it leaves it to the host whether a product is rounded before it is added.
 */
import { CONTROL, CONTROL_BYTES } from "./control.mjs";
import { Pool } from "./pool.ts";
import { referenceKernels } from "./reference/index.ts";
import type { Kernels, RangeKernels } from "./signatures.ts";

export type Build = "relaxed" | "simd" | "reference" | "reference64";
/**
 * "fast": products and sums are fused where the host does that; the same bits on one host, for any number of threads.
 * "strict": each is rounded, in a fixed order; the same bits on every host that has SIMD. Those without run the plain kernels, which add in another order.
 */
export type Arithmetic = "fast" | "strict";

/** First byte that kernels do not use for their own constants. */
export const HEAP_BASE = CONTROL + CONTROL_BYTES;
const PAGE = 65536;
const MAX_PAGES = 65536; // 4 GiB
/** Threads that are taken without being asked for. */
const MOST_THREADS = 8;

export interface LoadedKernels {
  readonly build: Build;
  readonly arithmetic: Arithmetic;
  /** Bytes of one real in this build: 4, or 8 in the float64 twin. */
  readonly bytes: 4 | 8;
  readonly memory: WebAssembly.Memory;
  readonly kernels: Kernels;
  /** The same kernels over a range [begin, end) of their items. */
  readonly ranges: RangeKernels;
  /** How many threads run a large kernel: the caller's and those of the pool. */
  readonly threads: number;
  /** The workers, where there are any. */
  readonly pool?: Pool;
  /** Ends the pool's workers. */
  stop(): Promise<void>;
}

export interface LoadOptions {
  /** Force one build instead of the best that this host runs rightly. */
  build?: Build;
  /** Default "fast". */
  arithmetic?: Arithmetic;
  /** Threads for large kernels, this one included; default: one per core that this process may use. 1 where memory cannot be shared. */
  threads?: number;
  /** Where the program of the workers lies, if not beside the loader: bundlers move it. */
  workerProgram?: URL;
}

type Started = Omit<LoadedKernels, "arithmetic">;

/** Loads the kernels. Throws if a forced build does not run here, or is not of the arithmetic. */
export async function instantiateKernels({ build, arithmetic = "fast", threads, workerProgram }: LoadOptions = {}): Promise<LoadedKernels> {
  if (arithmetic !== "fast" && arithmetic !== "strict") throw new Error(`kernels: arithmetic must be "fast" or "strict", got "${arithmetic as string}"`);
  if (arithmetic === "strict" && build === "relaxed") throw new Error('kernels: build "relaxed" rounds as each host likes, so it cannot be strict; ask for "simd", or leave the choice to the loader');
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 64)) throw new Error(`kernels: threads must be a whole number from 1 to 64, got ${threads}`);
  if (build === "reference" || build === "reference64") return { ...reference(build), arithmetic };
  const wanted = threads ?? (await cores()), team = canShareMemory() ? wanted : 1;
  if (team < wanted) console.warn(ONE_THREAD);
  for (const candidate of build ? [build] : arithmetic === "strict" ? (["simd"] as const) : (["relaxed", "simd"] as const)) {
    const loaded = await compiled(candidate, team, workerProgram);
    if (loaded) return { ...loaded, arithmetic };
  }
  if (build) throw new Error(`kernels: build "${build}" does not run on this host (no such SIMD, or it computes wrong values); leave the choice to the loader`);
  return { ...reference("reference"), arithmetic };
}

const ONE_THREAD = "kernels: one thread, because this page is not cross-origin isolated and cannot share memory; "
  + "serve it with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp";

const alone = { threads: 1, stop: async () => {} };

function reference(build: "reference" | "reference64"): Started {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: MAX_PAGES });
  const wide = build === "reference64";
  const ranges = referenceKernels(memory, wide ? "f64" : "f32");
  return { build, bytes: wide ? 8 : 4, memory, kernels: fromZero(ranges), ranges, ...alone };
}

async function compiled(build: "relaxed" | "simd", threads: number, workerProgram: URL | undefined): Promise<Started | undefined> {
  if (build === "relaxed") await allowRelaxedSimd();
  const shared = threads > 1;
  const bytes = await readBuild(shared ? `${build}-threads` : build);
  if (!WebAssembly.validate(bytes)) return undefined;
  const memory = new WebAssembly.Memory({ initial: 2, maximum: MAX_PAGES, shared });
  const module = await WebAssembly.compile(bytes), instance = await WebAssembly.instantiate(module, { env: { memory } });
  const ranges = instance.exports as unknown as RangeKernels;
  if (!computesRightly(ranges, memory)) return undefined;
  if (!shared) return { build, bytes: 4, memory, kernels: fromZero(ranges), ranges, ...alone };
  const pool = await Pool.start(threads, memory, module, instance.exports, workerProgram);
  return { build, bytes: 4, memory, kernels: pool.door(ranges), ranges, threads: pool.threads, pool, stop: () => pool.stop() };
}

/** The constructor of a shared memory succeeds in pages that may not share it; what counts is whether the page is isolated. */
const canShareMemory = (): boolean => isNode || (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === true;

async function cores(): Promise<number> {
  if (!isNode) return Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS);
  const { availableParallelism } = await import("node:os");
  return Math.min(availableParallelism(), MOST_THREADS);
}

/** Callers give a count; the single-thread door runs the whole range [0, count). */
function fromZero(kernels: RangeKernels): Kernels {
  const door: Record<string, unknown> = {};
  for (const [name, kernel] of Object.entries(kernels)) {
    if (typeof kernel === "function") door[name] = (kernel as (...all: number[]) => void).bind(undefined, 0);
  }
  return door as unknown as Kernels;
}

/** Small work whose every result is an integer: any correct build gives it exactly. */
export function computesRightly(kernels: RangeKernels, memory: WebAssembly.Memory): boolean {
  memory.grow(1);
  try {
    return multipliesRightly(kernels, memory) && spikesRightly(kernels, memory) && dotsRightly(kernels, memory);
  } finally {
    new Uint8Array(memory.buffer, HEAP_BASE, PAGE).fill(0);
  }
}

/** A product of 7 x 5 by 5 x 9. */
function multipliesRightly(kernels: RangeKernels, memory: WebAssembly.Memory): boolean {
  const base = HEAP_BASE, rows = 7, K = 5, N = 9;
  const x = base, w = x + 4 * rows * K, packed = w + 4 * N * K, y = packed + 4 * 16 * K;
  const X = new Float32Array(memory.buffer, x, rows * K), W = new Float32Array(memory.buffer, w, N * K);
  for (let i = 0; i < X.length; i++) X[i] = (i % 7) - 3;
  for (let i = 0; i < W.length; i++) W[i] = (i % 5) - 2;
  kernels.conv_pack(0, 2, w, packed, N, 1, K, 0);
  kernels.f32_gemm(0, rows, x, K, K, packed, 0, y, N, N);
  const Y = new Float32Array(memory.buffer, y, rows * N);
  for (let p = 0; p < rows; p++) {
    for (let j = 0; j < N; j++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += X[p * K + k] * W[j * K + k];
      if (Y[p * N + j] !== sum) return false;
    }
  }
  return true;
}

/** Firing on halves, which round to even, and a 1x1 convolution of what fired: 7 pixels of 5 channels, so that vectors and tails take part. */
function spikesRightly(kernels: RangeKernels, memory: WebAssembly.Memory): boolean {
  const pixels = 7, K = 5, N = 9, D = 4, n = pixels * K, line = 256;
  const [x, s, events, spans, w, packed, y] = [0, 1, 2, 4, 5, 6, 9].map((at) => HEAP_BASE + at * line);
  const current = [0.5, 1.5, 2.5, -1, 9], fired = [0, 2, 2, 0, 4], open = [16, 16, 16, 0, 0];
  const X = new Float32Array(memory.buffer, x, n), W = new Float32Array(memory.buffer, w, N * K);
  for (let i = 0; i < n; i++) X[i] = current[i % K];
  for (let i = 0; i < W.length; i++) W[i] = (i % 7) - 3;
  kernels.f32_fire_integer(0, n, x, s, 1, n, 0, 1, D);
  if (new Uint8Array(memory.buffer, s, n).some((byte, i) => byte !== fired[i % K] + open[i % K])) return false;
  kernels.spike_events(0, 1, s, events, spans, pixels, K);
  kernels.spike_conv_pack(0, 1, w, packed, N, 1, K, 0);
  kernels.spike_conv(0, pixels, events, spans, 0, pixels, 1, K, packed, 0, y, N, N);
  return new Float32Array(memory.buffer, y, pixels * N).every((sum, i) => sum === fired.reduce((total, value, k) => total + value * W[(i % N) * K + k], 0));
}

/** Values 0..15 times int8 weights of both signs and the largest magnitudes: hosts exist that take the operands of relaxed byte products in the wrong order. */
function dotsRightly(kernels: RangeKernels, memory: WebAssembly.Memory): boolean {
  const pixels = 5, K = 18, N = 9, D = 15, line = 512;
  const [x, w, packed, y] = [0, 1, 2, 4].map((at) => HEAP_BASE + at * line);
  const X = new Uint8Array(memory.buffer, x, pixels * K), W = new Int8Array(memory.buffer, w, N * K);
  for (let i = 0; i < X.length; i++) X[i] = (i * 7) % 16;
  for (let i = 0; i < W.length; i++) W[i] = i % 3 ? (i * 37) % 256 : i % 2 ? 127 : -128;
  kernels.dot_i8_pack(0, 2, w, packed, N, 1, K);
  kernels.dot_i8(0, pixels, x, K, 0, pixels, 1, K, packed, D, y, N, N);
  const row = (i: number): Uint8Array => X.subarray(Math.floor(i / N) * K, (Math.floor(i / N) + 1) * K);
  return new Int32Array(memory.buffer, y, pixels * N).every((sum, i) => sum === row(i).reduce((total, value, k) => total + value * W[(i % N) * K + k], 0));
}

const isNode = typeof process !== "undefined" && process.versions?.node !== undefined;

/** Node 20 has relaxed SIMD behind a flag that must be set before the module compiles; later versions have it on. */
async function allowRelaxedSimd(): Promise<void> {
  if (!isNode || Number(process.versions.node.split(".")[0]) >= 22) return;
  const { setFlagsFromString } = await import("node:v8");
  setFlagsFromString("--experimental-wasm-relaxed-simd");
}

async function readBuild(build: string): Promise<Uint8Array<ArrayBuffer>> {
  const name = `build/${build}.wasm`;
  if (!isNode) {
    const response = await fetch(new URL(name, import.meta.url));
    if (!response.ok) throw new Error(`kernels: cannot fetch ${response.url} (HTTP ${response.status}); serve kernels/build beside kernels/load.js`);
    return new Uint8Array(await response.arrayBuffer());
  }
  const { readFile } = await import("node:fs/promises");
  for (const beside of [new URL(name, import.meta.url), new URL(`../../kernels/${name}`, import.meta.url)]) {
    try {
      return new Uint8Array(await readFile(beside));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  throw new Error(`kernels: ${name} is not built; run "npm run build"`);
}
