/** Vectors of four: how kernels address memory and multiply-add. Nothing here allocates. */

/** f32 lanes of one v128. */
export const LANES: i32 = 4;

/** Address of the i-th f32 from p. */
// @ts-ignore: decorator
@inline export function at(p: usize, i: i32): usize { return p + (<usize>i << 2); }

/** a * b + c: fused where the build has relaxed SIMD, two roundings otherwise. */
// @ts-ignore: decorator
@inline export function madd(a: v128, b: v128, c: v128): v128 {
  if (isDefined(ASC_FEATURE_RELAXED_SIMD) && ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** The sum of the four lanes, in a fixed order: (0 + 2) + (1 + 3). */
// @ts-ignore: decorator
@inline export function sum4(v: v128): f32 {
  const pairs = f32x4.add(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
}

/** Int8 a times bytes b (0..127), neighbours added: eight int16. Without relaxed SIMD the even and the odd bytes are multiplied apart. */
// @ts-ignore: decorator
@inline export function pairs(a: v128, b: v128): v128 {
  if (isDefined(ASC_FEATURE_RELAXED_SIMD) && ASC_FEATURE_RELAXED_SIMD) return i16x8.relaxed_dot_i8x16_i7x16_s(a, b);
  const even = i16x8.mul(i16x8.shr_s(i16x8.shl(a, 8), 8), i16x8.shr_u(i16x8.shl(b, 8), 8));
  return i16x8.add(even, i16x8.mul(i16x8.shr_s(a, 8), i16x8.shr_u(b, 8)));
}

/** Spike values 0..15 as float32, for a load that splats. */
// @ts-ignore: decorator
@lazy export const NUMBERS = memory.data<f32>([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

/** Input rows that do not exist read as these zeros: 4096 channels at most, and the slack that vectors over-read. */
const ZERO_ROW: usize = memory.data(4 * 4096 + 64);

/** Address of input row `index`, or of zeros where the index is negative (padding). */
// @ts-ignore: decorator
@inline export function rowOf(x: usize, ldx: usize, index: i32): usize { return index < 0 ? ZERO_ROW : x + <usize>index * ldx; }

/** Stores the first `count` lanes (all four if count >= 4, none if count <= 0). */
// @ts-ignore: decorator
@inline export function storeLanes(p: usize, v: v128, count: i32): void {
  if (count >= LANES) v128.store(p, v);
  else if (count == 3) { v128.store64_lane(p, v, 0); v128.store32_lane(p, v, 2, 8); }
  else if (count == 2) v128.store64_lane(p, v, 0);
  else if (count == 1) v128.store32_lane(p, v, 0);
}

/** Stores the first `columns` of eight values. */
// @ts-ignore: decorator
@inline export function store8(p: usize, lo: v128, hi: v128, columns: i32): void {
  if (columns >= 8) { v128.store(p, lo); v128.store(p, hi, 16); }
  else { storeLanes(p, lo, columns); storeLanes(p + 16, hi, columns - LANES); }
}

/** Adds the first `columns` of eight values to what is there. */
// @ts-ignore: decorator
@inline export function add8(p: usize, lo: v128, hi: v128, columns: i32): void {
  store8(p, f32x4.add(v128.load(p), lo), f32x4.add(v128.load(p, 16), hi), columns);
}

/** Adds lane i to the f32 at p + i*ld bytes, for the first `count` lanes. */
// @ts-ignore: decorator
@inline export function addStrided(p: usize, ld: usize, v: v128, count: i32): void {
  store<f32>(p, load<f32>(p) + f32x4.extract_lane(v, 0));
  if (count > 1) store<f32>(p + ld, load<f32>(p + ld) + f32x4.extract_lane(v, 1));
  if (count > 2) store<f32>(p + 2 * ld, load<f32>(p + 2 * ld) + f32x4.extract_lane(v, 2));
  if (count > 3) store<f32>(p + 3 * ld, load<f32>(p + 3 * ld) + f32x4.extract_lane(v, 3));
}

/** to[j][i] = from[i][j] for 4 x 4 values; strides in bytes. */
// @ts-ignore: decorator
@inline export function transpose4(from: usize, ldFrom: usize, to: usize, ldTo: usize): void {
  const a = v128.load(from), b = v128.load(from + ldFrom), c = v128.load(from + 2 * ldFrom), d = v128.load(from + 3 * ldFrom);
  const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
  const AB = v128.shuffle<f32>(a, b, 2, 6, 3, 7), CD = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f32>(ab, cd, 0, 1, 4, 5));
  v128.store(to + ldTo, v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
  v128.store(to + 2 * ldTo, v128.shuffle<f32>(AB, CD, 0, 1, 4, 5));
  v128.store(to + 3 * ldTo, v128.shuffle<f32>(AB, CD, 2, 3, 6, 7));
}

/** Each of `rows` rows of `width` numbers times scale[0 .. count), and zeros past that. */
// @ts-ignore: decorator
@inline export function scaleColumns(values: usize, rows: i32, width: i32, scale: usize, count: i32): void {
  for (let j = 0; j < width; j += LANES) {
    const scale4 = loadSome(at(scale, j), count - j);
    for (let i = 0, p = at(values, j); i < rows; i++, p += at(0, width)) v128.store(p, f32x4.mul(v128.load(p), scale4));
  }
}

/** The first min(count, 4) lanes at p, zeros after them: reads nothing beyond. */
// @ts-ignore: decorator
@inline export function loadSome(p: usize, count: i32): v128 {
  if (count >= LANES) return v128.load(p);
  let v = count > 0 ? v128.load32_zero(p) : i32x4.splat(0);
  if (count > 1) v = v128.load_lane<f32>(p, v, 1, 4);
  if (count > 2) v = v128.load_lane<f32>(p, v, 2, 8);
  return v;
}

/** Stores the first min(count, 4) lanes at p: writes nothing beyond. */
// @ts-ignore: decorator
@inline export function storeSome(p: usize, v: v128, count: i32): void {
  if (count >= LANES) { v128.store(p, v); return; }
  if (count > 0) v128.store_lane<f32>(p, v, 0);
  if (count > 1) v128.store_lane<f32>(p, v, 1, 4);
  if (count > 2) v128.store_lane<f32>(p, v, 2, 8);
}

/** The first min(count, 4) bytes at p, one per 32-bit lane, zeros after them. */
// @ts-ignore: decorator
@inline export function loadBytes(p: usize, count: i32): v128 {
  let bytes: u32 = 0;
  if (count >= LANES) bytes = load<u32>(p);
  else for (let i = 0; i < count; i++) bytes |= <u32>load<u8>(p + i) << (i << 3);
  return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(i32x4.splat(bytes)));
}

/** Stores the low bytes (0..255) of the first min(count, 4) lanes at p. */
// @ts-ignore: decorator
@inline export function storeBytes(p: usize, lanes: v128, count: i32): void {
  const words = i16x8.narrow_i32x4_s(lanes, lanes);
  let bytes: u32 = i32x4.extract_lane(i8x16.narrow_i16x8_u(words, words), 0);
  if (count >= LANES) store<u32>(p, bytes);
  else for (let i = 0; i < count; i++, bytes >>= 8) store<u8>(p + i, bytes);
}

/** Four vectors of small integers as sixteen bytes. */
// @ts-ignore: decorator
@inline export function narrow(a: v128, b: v128, c: v128, d: v128): v128 {
  return i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
}

/** Zeros from p up to `end`, a whole number of vectors: for few of them, where `memory.fill`, which leaves the module, takes longer than it fills. */
// @ts-ignore: decorator
@inline export function clearVectors(p: usize, end: usize): void {
  for (const zero = i32x4.splat(0); p < end; p += 16) v128.store(p, zero);
}

/** Copies `width` f32. */
// @ts-ignore: decorator
@inline export function copyRow(x: usize, y: usize, width: i32): void {
  let i = 0;
  for (; i <= width - 4 * LANES; i += 4 * LANES) {
    const from = at(x, i), to = at(y, i);
    const a = v128.load(from), b = v128.load(from, 16), c = v128.load(from, 32), d = v128.load(from, 48);
    v128.store(to, a);
    v128.store(to, b, 16);
    v128.store(to, c, 32);
    v128.store(to, d, 48);
  }
  for (; i < width; i += LANES) storeSome(at(y, i), loadSome(at(x, i), width - i), width - i);
}
