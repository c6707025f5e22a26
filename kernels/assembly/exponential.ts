/**
 * exp, log(1 + e) and the sigmoid, four at a time and within 2 ulp. They are made of products and sums only, never of fused ones,
 * so every host and both builds give the same bits. Not exported from the build.
 */

/** What exp4 reads: log2(e); ln 2 in two parts, of which the first times any exponent is exact; the polynomial; 1.5 * 2^23; 1. */
// @ts-ignore: decorator
@lazy const EXP = memory.data<f32>([
  1.44269504088896341, 0.693359375, -2.12194440e-4,
  1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
  12582912, 1, 89, -104,
]);

/**
 * exp(x) = 2^n * exp(r),  n = round(x / ln 2),  |r| <= ln 2 / 2      (the polynomial is that of Cephes' expf)
 *
 * 2^n is applied in two halves, so that results reach down to the denormals and up to infinity.
 */
// @ts-ignore: decorator
@inline export function exp4(x: v128): v128 {
  const one = v128.load32_splat(EXP, 40), magic = v128.load32_splat(EXP, 36);
  x = f32x4.pmax(f32x4.pmin(x, v128.load32_splat(EXP, 44)), v128.load32_splat(EXP, 48));  // these keep NaN where it comes first
  const shifted = f32x4.add(f32x4.mul(x, v128.load32_splat(EXP)), magic);  // the sum rounds: n stands in its low bits
  const n = f32x4.sub(shifted, magic);
  let r = f32x4.sub(x, f32x4.mul(n, v128.load32_splat(EXP, 4)));
  r = f32x4.sub(r, f32x4.mul(n, v128.load32_splat(EXP, 8)));
  let p = v128.load32_splat(EXP, 12);
  p = f32x4.add(f32x4.mul(p, r), v128.load32_splat(EXP, 16));
  p = f32x4.add(f32x4.mul(p, r), v128.load32_splat(EXP, 20));
  p = f32x4.add(f32x4.mul(p, r), v128.load32_splat(EXP, 24));
  p = f32x4.add(f32x4.mul(p, r), v128.load32_splat(EXP, 28));
  p = f32x4.add(f32x4.mul(p, r), v128.load32_splat(EXP, 32));
  p = f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), one);
  const exponent = i32x4.sub(shifted, magic), half = i32x4.shr_s(exponent, 1);
  p = f32x4.mul(p, i32x4.add(i32x4.shl(half, 23), one));  // the bits of 2^k are those of 1 plus k << 23
  return f32x4.mul(p, i32x4.add(i32x4.shl(i32x4.sub(exponent, half), 23), one));
}

/** The series of atanh: 1/15, 1/13 … 1/3, and 2. */
// @ts-ignore: decorator
@lazy const LOG = memory.data<f32>([
  0.06666666667, 0.07692307692, 0.09090909091, 0.1111111111, 0.1428571429, 0.2, 0.3333333333, 2,
]);

/** log(1 + e) = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + …),  s = e / (2 + e),  for e in [0, 1], where s <= 1/3 */
// @ts-ignore: decorator
@inline export function log1p4(e: v128): v128 {
  const s = f32x4.div(e, f32x4.add(e, v128.load32_splat(LOG, 28)));
  const z = f32x4.mul(s, s), twice = f32x4.add(s, s);
  let p = v128.load32_splat(LOG);
  p = f32x4.add(f32x4.mul(p, z), v128.load32_splat(LOG, 4));
  p = f32x4.add(f32x4.mul(p, z), v128.load32_splat(LOG, 8));
  p = f32x4.add(f32x4.mul(p, z), v128.load32_splat(LOG, 12));
  p = f32x4.add(f32x4.mul(p, z), v128.load32_splat(LOG, 16));
  p = f32x4.add(f32x4.mul(p, z), v128.load32_splat(LOG, 20));
  p = f32x4.add(f32x4.mul(p, z), v128.load32_splat(LOG, 24));
  return f32x4.add(twice, f32x4.mul(f32x4.mul(twice, z), p));
}

/** 1 / (1 + exp(-x)) */
// @ts-ignore: decorator
@inline export function sigmoid4(x: v128): v128 {
  const one = v128.load32_splat(EXP, 40);
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(x))));
}
