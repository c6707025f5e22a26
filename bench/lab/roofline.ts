/** The roofs over a kernel (Williams, Waterman and Patterson 2009): it takes at least the time of its operations, and at least that of its bytes. */
import { Desk, fastest } from "../desk.ts";
import { limitsOf } from "../limits.ts";
import type { Arithmetic } from "./layer.ts";

export interface Roofs {
  /** Gop/s on registers, a multiplication and an addition as two; so many threads times the peak of one. */
  readonly peak: Readonly<Record<Arithmetic, number>>;
  /** GB/s of a copy past the caches, reads and writes, on one thread. What fits into a cache may be faster. */
  readonly copy: number;
}

const COPIED = 24 << 20;

export async function measureRoofs(threads: number, quick: boolean): Promise<Roofs> {
  const desk = await Desk.of({ threads: 1 }), size = quick ? COPIED >> 3 : COPIED, from = desk.bytes(size), to = desk.bytes(size);
  const { multiplyAdd, flops, int16, int8, copy } = await limitsOf(desk.loaded.build, desk.loaded.memory);
  const ms = fastest({ f32: multiplyAdd, i16: int16.run, i8: int8.run, copy: () => copy(to, from, size) }, quick ? 1 : 12, quick ? 0 : undefined);
  const rate = (operations: number, ms: number): number => (threads * operations) / ms / 1e6;
  return { peak: { f32: rate(flops, ms.f32), i16: rate(int16.operations, ms.i16), i8: rate(int8.operations, ms.i8) }, copy: (2 * size) / ms.copy / 1e6 };
}

/** The higher of each roof: one that was measured in a slow moment is no roof. */
export function higher(a: Roofs, b: Roofs): Roofs {
  const [f32, i16, i8] = (["f32", "i16", "i8"] as const).map((arithmetic) => Math.max(a.peak[arithmetic], b.peak[arithmetic]));
  return { peak: { f32, i16, i8 }, copy: Math.max(a.copy, b.copy) };
}

/** Least milliseconds that so much work can take under these roofs. */
export function leastMs({ peak, copy }: Roofs, { arithmetic, bytes, operations }: { readonly arithmetic: Arithmetic; readonly bytes: number; readonly operations: number }): number {
  return Math.max(operations / peak[arithmetic], bytes / copy) / 1e6;
}
