/** Event lists by pixel, built from spike bytes. Not exported from the build. */
import { COMPACTIONS } from "./generated/spikes";

/** Pixels that are listed back to back. */
// @ts-ignore: decorator
@inline export const RUN: i32 = 64;

/** The tags of eight channels (16 times their number), what leads to those of the next eight, and the mask of values: in memory, because v128 constants are rebuilt at each use. */
// @ts-ignore: decorator
@lazy export const TAGS = memory.data<u16>([0, 16, 32, 48, 64, 80, 96, 112, 128, 128, 128, 128, 128, 128, 128, 128], 16);
// @ts-ignore: decorator
@lazy const NIBBLE = memory.data<u16>([15]);

/** The lanes that fired, in order, from the front. */
// @ts-ignore: decorator
@inline export function compacted(events: v128, fired: i32): v128 {
  const order = v128.load(COMPACTIONS + (<usize>fired << 4));
  if (isDefined(ASC_FEATURE_RELAXED_SIMD) && ASC_FEATURE_RELAXED_SIMD) return i8x16.relaxed_swizzle(events, order); // the table holds no index from 16 to 127
  return i8x16.swizzle(events, order);
}

/**
 * The events of pixels [first, last), back to back from entry first*C on: (c << 4 | value), or (c << 4 | 1) in a virtual step, where value > d.
 * Eight channels at a time, without a branch: what fired is moved to the front of a vector, the vector stored, the end moved on by how many fired.
 */
// @ts-ignore: decorator
@inline export function listRun(virtual: bool, first: i32, last: i32, s: usize, events: usize, spans: usize, C: i32, d: i32): void {
  const nibble = v128.load16_splat(NIBBLE), d16 = i16x8.splat(<i16>d), one = i16x8.splat(1), next = v128.load(TAGS, 16);
  let e = events + (<usize>(first * C) << 1), row = s + first * C, span = spans + (<usize>first << 3);
  for (let p = first; p < last; p++, row += C, span += 8) {
    store<u32>(span, <u32>((e - events) >> 1));
    let c = 0, tags = v128.load(TAGS);
    for (; c <= C - 8; c += 8, tags = i16x8.add(tags, next)) {
      const value = v128.and(v128.load8x8_u(row + c), nibble), fired = i16x8.bitmask(i16x8.gt_s(value, d16));
      v128.store(e, compacted(v128.or(tags, virtual ? one : value), fired));
      e += <usize>popcnt(fired) << 1;
    }
    for (; c < C; c++) {
      const value = <i32>load<u8>(row + c) & 15;
      store<u16>(e, c << 4 | (virtual ? 1 : value));
      e += <usize>(value > d) << 1;
    }
    store<u32>(span, <u32>((e - events) >> 1), 4);
  }
}
