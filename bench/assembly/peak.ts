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

export function copy(to: usize, from: usize, bytes: usize): void { memory.copy(to, from, bytes); }
