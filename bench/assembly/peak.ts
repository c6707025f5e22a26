/** What one thread can do at most. Compiled by bench/limits.ts when a bench needs it. */

/** `rounds` times twelve multiply-adds of four lanes, on registers alone: enough independent chains for two units of four cycles. */
export function multiplyAdds(rounds: i32, x: f32, y: f32): f32 {
  const x4 = f32x4.splat(x), y4 = f32x4.splat(y);
  let a = f32x4.splat(0), b = f32x4.splat(1), c = f32x4.splat(2), d = f32x4.splat(3), e = f32x4.splat(4), f = f32x4.splat(5);
  let g = f32x4.splat(6), h = f32x4.splat(7), i = f32x4.splat(8), j = f32x4.splat(9), k = f32x4.splat(10), l = f32x4.splat(11);
  for (let round = 0; round < rounds; round++) {
    a = step(a, x4, y4); b = step(b, x4, y4); c = step(c, x4, y4); d = step(d, x4, y4); e = step(e, x4, y4); f = step(f, x4, y4);
    g = step(g, x4, y4); h = step(h, x4, y4); i = step(i, x4, y4); j = step(j, x4, y4); k = step(k, x4, y4); l = step(l, x4, y4);
  }
  const left = f32x4.add(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)), f32x4.add(e, f));
  const right = f32x4.add(f32x4.add(f32x4.add(g, h), f32x4.add(i, j)), f32x4.add(k, l));
  return f32x4.extract_lane(f32x4.add(left, right), 0);
}

/** Fused, the accumulator is what is added to; apart, it is what is multiplied, or the product would be the same in every round and move out of the loop. */
// @ts-ignore: decorator
@inline
function step(a: v128, x: v128, y: v128): v128 {
  if (isDefined(ASC_FEATURE_RELAXED_SIMD) && ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(x, y, a);
  return f32x4.add(f32x4.mul(a, x), y);
}

/** The same of eight lanes of int16: a product and a sum. */
export function multiplyAdds16(rounds: i32, x: i32, y: i32): i32 {
  const x8 = i16x8.splat(<i16>x), y8 = i16x8.splat(<i16>y);
  let a = i16x8.splat(0), b = i16x8.splat(1), c = i16x8.splat(2), d = i16x8.splat(3), e = i16x8.splat(4), f = i16x8.splat(5);
  let g = i16x8.splat(6), h = i16x8.splat(7), i = i16x8.splat(8), j = i16x8.splat(9), k = i16x8.splat(10), l = i16x8.splat(11);
  for (let round = 0; round < rounds; round++) {
    a = step16(a, x8, y8); b = step16(b, x8, y8); c = step16(c, x8, y8); d = step16(d, x8, y8); e = step16(e, x8, y8); f = step16(f, x8, y8);
    g = step16(g, x8, y8); h = step16(h, x8, y8); i = step16(i, x8, y8); j = step16(j, x8, y8); k = step16(k, x8, y8); l = step16(l, x8, y8);
  }
  const left = i16x8.add(i16x8.add(i16x8.add(a, b), i16x8.add(c, d)), i16x8.add(e, f)), right = i16x8.add(i16x8.add(i16x8.add(g, h), i16x8.add(i, j)), i16x8.add(k, l));
  return i16x8.extract_lane_s(i16x8.add(left, right), 0);
}

// @ts-ignore: decorator
@inline
function step16(a: v128, x: v128, y: v128): v128 { return i16x8.add(i16x8.mul(a, x), y); }

/** Dot products of pairs of sixteen int8, summed in int16, where the build has them; of pairs of eight int16, where not. */
export function dots8(rounds: i32, x: i32, y: i32): i32 {
  const x16 = i8x16.splat(<i8>x), y16 = i8x16.splat(<i8>y);
  let a = i32x4.splat(0), b = i32x4.splat(1), c = i32x4.splat(2), d = i32x4.splat(3), e = i32x4.splat(4), f = i32x4.splat(5);
  let g = i32x4.splat(6), h = i32x4.splat(7), i = i32x4.splat(8), j = i32x4.splat(9), k = i32x4.splat(10), l = i32x4.splat(11);
  for (let round = 0; round < rounds; round++) {
    a = dot(a, x16, y16); b = dot(b, x16, y16); c = dot(c, x16, y16); d = dot(d, x16, y16); e = dot(e, x16, y16); f = dot(f, x16, y16);
    g = dot(g, x16, y16); h = dot(h, x16, y16); i = dot(i, x16, y16); j = dot(j, x16, y16); k = dot(k, x16, y16); l = dot(l, x16, y16);
  }
  const left = i32x4.add(i32x4.add(i32x4.add(a, b), i32x4.add(c, d)), i32x4.add(e, f)), right = i32x4.add(i32x4.add(i32x4.add(g, h), i32x4.add(i, j)), i32x4.add(k, l));
  return i32x4.extract_lane(i32x4.add(left, right), 0);
}

// @ts-ignore: decorator
@inline
function dot(a: v128, x: v128, y: v128): v128 {
  if (isDefined(ASC_FEATURE_RELAXED_SIMD) && ASC_FEATURE_RELAXED_SIMD) return i16x8.add(i16x8.relaxed_dot_i8x16_i7x16_s(a, x), y);
  return i32x4.add(i32x4.dot_i16x8_s(a, x), y);
}

export function copy(to: usize, from: usize, bytes: usize): void { memory.copy(to, from, bytes); }
