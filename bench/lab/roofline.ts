/** The roofs over a kernel (Williams, Waterman and Patterson 2009): it takes at least the time of its operations, and at least that of its bytes. */
import { Desk, fastest } from "../desk.ts";
import { limitsOf } from "../limits.ts";
import type { Arithmetic, Kernel } from "./layer.ts";

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

/** Least milliseconds that a kernel can take under these roofs. */
export function leastMs({ peak, copy }: Roofs, { arithmetic, bytes, operations }: Kernel): number {
  return Math.max(operations() / peak[arithmetic], bytes / copy) / 1e6;
}
