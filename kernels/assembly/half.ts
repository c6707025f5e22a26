/**
 * Sixteen-bit floats (IEEE 754 binary16) by integer arithmetic, since WASM has no instructions for them.
 *
 *     bit   15 | 14 ... 10 | 9 ... 0        value (-1)^sign 2^(exponent - 15) 1.fraction,  or 2^-24 fraction where exponent is 0
 *           sign  exponent   fraction
 *
 * Rounds to nearest, ties to even. What is too large becomes an infinity, what is not a number 0x7e00.
 */
import { at } from "./lanes";

// the bits of 2^-14, the least normal half; of 2^16, past the largest one; of 0.5, whose last place is 2^-24; and of infinity
// @ts-ignore: decorator
@lazy const LEAST = memory.data<i32>([0x38800000]);
// @ts-ignore: decorator
@lazy const MOST = memory.data<i32>([0x47800000]);
// @ts-ignore: decorator
@lazy const A_HALF = memory.data<i32>([0x3f000000]);
// @ts-ignore: decorator
@lazy const INFINITE = memory.data<i32>([0x7f800000]);
// @ts-ignore: decorator
@lazy const NO_SIGN = memory.data<i32>([0x7fffffff]);
/** From the exponent's bias of a float to that of a half, and nearly half of the last place that stays. */
// @ts-ignore: decorator
@lazy const REBIAS = memory.data<i32>([0xfff - (112 << 23)]);

/** Four halves in the low ends of four lanes. */
// @ts-ignore: decorator
@inline function half4(x4: v128): v128 {
  const size4 = v128.and(x4, v128.load32_splat(NO_SIGN)), nan4 = i32x4.gt_s(size4, v128.load32_splat(INFINITE));
  const odd4 = v128.and(i32x4.shr_u(size4, 13), i32x4.splat(1));
  let h4 = i32x4.shr_u(i32x4.add(i32x4.add(size4, v128.load32_splat(REBIAS)), odd4), 13);
  const tiny4 = i32x4.sub(f32x4.add(size4, v128.load32_splat(A_HALF)), v128.load32_splat(A_HALF)); // the sum rounds to units of 2^-24
  h4 = v128.bitselect(tiny4, h4, i32x4.lt_s(size4, v128.load32_splat(LEAST)));
  h4 = v128.bitselect(i32x4.splat(0x7c00), h4, i32x4.ge_s(size4, v128.load32_splat(MOST)));
  h4 = v128.or(h4, i32x4.shr_u(v128.andnot(x4, v128.load32_splat(NO_SIGN)), 16));
  return v128.bitselect(i32x4.splat(0x7e00), h4, nan4);
}

/** Four floats from halves in the low ends of four lanes. */
// @ts-ignore: decorator
@inline function float4(h4: v128): v128 {
  const size4 = v128.and(h4, i32x4.splat(0x7fff)), bias4 = i32x4.splat(112 << 23);
  let x4 = i32x4.add(i32x4.shl(size4, 13), bias4);
  x4 = i32x4.add(x4, v128.and(bias4, i32x4.ge_s(size4, i32x4.splat(0x7c00))));
  const tiny4 = f32x4.mul(f32x4.convert_i32x4_s(size4), f32x4.splat(<f32>5.9604644775390625e-8)); // 2^-24
  x4 = v128.bitselect(tiny4, x4, i32x4.lt_s(size4, i32x4.splat(0x400)));
  return v128.or(x4, i32x4.shl(v128.and(h4, i32x4.splat(0x8000)), 16));
}

/** h = x as halves, u16 */
export function f16_from_f32(begin: i32, end: i32, x: usize, h: usize): void {
  let i = begin;
  for (; i <= end - 8; i += 8) {
    v128.store(h + (<usize>i << 1), i16x8.narrow_i32x4_u(half4(v128.load(at(x, i))), half4(v128.load(at(x, i + 4)))));
  }
  for (; i < end; i++) store<u16>(h + (<usize>i << 1), <u16>i32x4.extract_lane(half4(f32x4.splat(load<f32>(at(x, i)))), 0));
}

/** x = the values of halves h */
export function f16_to_f32(begin: i32, end: i32, h: usize, x: usize): void {
  let i = begin;
  for (; i <= end - 4; i += 4) v128.store(at(x, i), float4(v128.load16x4_u(h + (<usize>i << 1))));
  for (; i < end; i++) store<f32>(at(x, i), f32x4.extract_lane(float4(i32x4.splat(<i32>load<u16>(h + (<usize>i << 1)))), 0));
}
