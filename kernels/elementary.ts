/**
 * exp, log, powers and the functions of angles in float64, made of + - * / and sqrt alone. Those round exactly in every engine; what Math.exp
 * and its like give in the last bit is each engine's own affair. Where bits must repeat, these are used. Errors
 * stay within 2 ulp, for sin, cos and tan of numbers up to a million; `power` says what its own are.
 */

const LOG2_E = 1.4426950408889634;
/** ln 2 and pi/2 in parts: whole multiples of the first parts, up to a million of them, are exact. */
const LN2_HIGH = 0.6931471806019545, LN2_LOW = -4.2009150726810846e-11;
const QUARTER_HIGH = 1.5707963267341256, QUARTER_MIDDLE = 6.077100506303966e-11, QUARTER_LOW = 2.0222662487959506e-21;

const bits = new DataView(new ArrayBuffer(8));

/** 2^k for whole k from -1022 to 1023. */
export function powerOfTwo(k: number): number {
  bits.setInt32(0, (1023 + k) << 20);
  bits.setInt32(4, 0);
  return bits.getFloat64(0);
}

/** e^x = 2^n e^r,  n = round(x / ln 2),  e^r by its series */
export function exp(x: number): number {
  if (!(x < 710)) return x + Infinity; // NaN stays NaN
  if (x < -746) return 0;
  const n = Math.floor(x * LOG2_E + 0.5), high = x - n * LN2_HIGH, low = n * LN2_LOW, r = high - low, missing = high - r - low;
  const series = 1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * (1 / 720 + r * (1 / 5040 + r * (1 / 40320 + r * (1 / 362880
    + r * (1 / 3628800 + r * (1 / 39916800 + r * (1 / 479001600 + r / 6227020800))))))))));
  const half = n >> 1; // 2^n in two steps reaches from the denormals to the largest number
  return (1 + (r + (missing + r * r * series))) * powerOfTwo(half) * powerOfTwo(n - half);
}

/** log(2^k (1 + f)) = k ln 2 + 2 atanh(s),  s = f / (2 + f),  sqrt(1/2) <= 1 + f < sqrt(2) */
export function log(x: number): number {
  if (!(x > 0)) return x === 0 ? -Infinity : NaN;
  if (x === Infinity) return x;
  if (x < 2.2250738585072014e-308) return log(x * 18014398509481984) - 54 * LN2_HIGH - 54 * LN2_LOW; // denormals times 2^54
  bits.setFloat64(0, x);
  const top = bits.getInt32(0);
  bits.setInt32(0, (top & 0xfffff) | 0x3ff00000);
  let k = (top >> 20) - 1023, m = bits.getFloat64(0);
  if (m > Math.SQRT2) { m /= 2; k++; }
  const f = m - 1, s = f / (2 + f), z = s * s;
  const series = z * (2 / 3 + z * (2 / 5 + z * (2 / 7 + z * (2 / 9 + z * (2 / 11 + z * (2 / 13 + z * (2 / 15 + z * (2 / 17 + z * (2 / 19 + z * (2 / 21))))))))));
  return k * LN2_HIGH - (s * (f - series) - k * LN2_LOW - f); // 2 s = f - s f
}

/** log(1 + x), and what the sum rounded away */
export function log1p(x: number): number {
  const sum = 1 + x;
  return sum > 0 && sum < Infinity ? log(sum) + (x - (sum - 1)) / sum : log(sum);
}

/**
 * x^y for x >= 0. Halves of whole numbers up to 32 by squares and a square root, within y + 2 ulp; others by exp(y log x), whose
 * relative error grows with |y log x|.
 */
export function power(x: number, y: number): number {
  const twice = 2 * Math.abs(y);
  if (!Number.isInteger(twice) || twice > 64) return exp(y * log(x));
  let result = twice & 1 ? Math.sqrt(x) : 1;
  for (let n = twice >> 1, square = x; n > 0; n >>= 1, square *= square) if (n & 1) result *= square;
  return y < 0 ? 1 / result : result;
}

/** x less `n` quarters of a circle, as a number and what is missing from it */
function reduce(x: number): { n: number; r: number; missing: number } {
  const n = Math.round(x / (Math.PI / 2)), high = x - n * QUARTER_HIGH, middle = n * QUARTER_MIDDLE;
  const near = high - middle, low = high - near - middle - n * QUARTER_LOW, r = near + low;
  return { n, r, missing: near - r + low };
}

/** sin(r + missing) for |r| <= pi/4 */
function sine(r: number, missing: number): number {
  const z = r * r;
  const series = -1 / 6 + z * (1 / 120 + z * (-1 / 5040 + z * (1 / 362880 + z * (-1 / 39916800 + z * (1 / 6227020800 + z * (-1 / 1307674368000 + z / 355687428096000))))));
  return r + (missing * (1 - z / 2) + r * z * series);
}

/** cos(r + missing) for |r| <= pi/4 */
function cosine(r: number, missing: number): number {
  const z = r * r;
  const series = 1 / 24 + z * (-1 / 720 + z * (1 / 40320 + z * (-1 / 3628800 + z * (1 / 479001600 + z * (-1 / 87178291200 + z / 20922789888000)))));
  const most = 1 - z / 2;
  return most + (1 - most - z / 2 + (z * z * series - r * missing));
}

export function sin(x: number): number {
  const { n, r, missing } = reduce(x), value = n & 1 ? cosine(r, missing) : sine(r, missing);
  return n & 2 ? -value : value;
}

export function cos(x: number): number {
  const { n, r, missing } = reduce(x), value = n & 1 ? sine(r, missing) : cosine(r, missing);
  return (n + 1) & 2 ? -value : value;
}

export function tan(x: number): number {
  const { n, r, missing } = reduce(x), s = sine(r, missing), c = cosine(r, missing);
  return n & 1 ? -c / s : s / c;
}

/** atan(i/8), i = 0 to 8 */
const ARCS = [0, 0.12435499454676144, 0.24497866312686414, 0.35877067027057225, 0.4636476090008061, 0.5585993153435624, 0.6435011087932844, 0.7188299996216245, 0.7853981633974483];

/** atan(y/x) for 0 <= y <= x = atan(c) + atan((y - c x) / (x + c y)),  c the nearest eighth to y/x */
function arc(y: number, x: number): number {
  const i = Math.round((8 * y) / x), c = i / 8, t = (y - c * x) / (x + c * y), z = t * t;
  return ARCS[i] + (t + t * z * (-1 / 3 + z * (1 / 5 + z * (-1 / 7 + z * (1 / 9 + z * (-1 / 11 + z * (1 / 13 + z * (-1 / 15))))))));
}

export function atan(x: number): number {
  const size = Math.abs(x);
  if (!(size > 0)) return x;
  const angle = size <= 1 ? arc(size, 1) : size === Infinity ? Math.PI / 2 : Math.PI / 2 - arc(1, size);
  return x < 0 ? -angle : angle;
}

/** The angle from 0 to pi whose cosine is x. */
export const acos = (x: number): number => 2 * atan(Math.sqrt((1 - x) / (1 + x)));
