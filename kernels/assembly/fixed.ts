/**
 * Exact spike arithmetic: int32 weights on a power-of-two grid, int32 accumulators that cannot overflow.
 * Integer sums do not depend on their order, so value * weight once and the weight alone in each of D virtual steps give the same bits.
 */
import { packRows } from "./gather";
import { gather_add, gather_multiply } from "./generated/spikes";
import { LANES, at, loadSome, storeSome } from "./lanes";

/**
 * scale[j] = 2^-e with the largest e <= 40 for which D * sum |w[j]| * 2^e < 2^30;  q[j][i] = round(w[j][i] * 2^e), half to even.
 *
 * Rounding adds at most 1/2 per weight, hence at most 2^30 + D*size/2 < 2^31 in all. Weights that are not finite give q = 0 and scale NaN:
 * an output that says so.
 */
export function fixed_quantize(begin: i32, end: i32, w: usize, q: usize, scale: usize, size: i32, D: i32): void {
  for (let j = begin; j < end; j++) {
    const wj = at(w, j * size), qj = at(q, j * size);
    let sum: f64 = 0;
    for (let i = 0; i < size; i++) sum += <f64>abs(load<f32>(at(wj, i)));
    const finite = sum < Infinity;
    let grid: f64 = finite && sum > 0 ? 1099511627776.0 : 1;  // 2^40, down to where it fits
    if (finite) while (D * sum * grid >= 1073741824.0) grid /= 2;
    for (let i = 0; i < size; i++) store<i32>(at(qj, i), finite ? <i32>nearest(<f64>load<f32>(at(wj, i)) * grid) : 0);
    store<f32>(at(scale, j), finite ? <f32>(1 / grid) : NaN);
  }
}

/** packed[block][tap][k][32] from q [N][taps][K] */
export function fixed_pack(begin: i32, end: i32, q: usize, packed: usize, N: i32, taps: i32, K: i32): void {
  packRows(begin, end, q, packed, N, taps, K, 0);
}

/** y[p][j] += value * q[j][tap][c] for each event */
export function fixed_multiply_accumulate(begin: i32, end: i32, events: usize, spans: usize, table: usize, pixels: i32, taps: i32, K: i32, packed: usize, y: usize, N: i32): void {
  gather_multiply(begin, end, events, spans, table, pixels, taps, K, packed, 0, y, N, N);
}

/** y[p][j] += q[j][tap][c] for each event: additions only */
export function fixed_accumulate(begin: i32, end: i32, events: usize, spans: usize, table: usize, pixels: i32, taps: i32, K: i32, packed: usize, y: usize, N: i32): void {
  gather_add(begin, end, events, spans, table, pixels, taps, K, packed, 0, y, N, N);
}

/** What an event does: value * weight, or the weight alone. */
// @ts-ignore: decorator
@inline const MULTIPLY: i32 = 0;
// @ts-ignore: decorator
@inline const ADD: i32 = 1;

// @ts-ignore: decorator
@inline function depthwise(kind: i32, begin: i32, end: i32, events: usize, spans: usize, table: usize, pixels: i32, taps: i32, C: i32, q: usize, y: usize): void {
  for (let p = begin; p < end; p++) {
    const out = at(y, p * C);
    for (let tap = 0; tap < taps; tap++) {
      const pixel = table ? load<i32>(at(table, tap * pixels + p)) : p;
      if (pixel < 0) continue;
      const weights = at(q, tap * C);
      const span = spans + (<usize>pixel << 3), stop = events + (<usize>load<u32>(span, 4) << 1);
      for (let e = events + (<usize>load<u32>(span) << 1); e < stop; e += 2) {
        const event = <i32>load<u16>(e), target = at(out, event >> 4), weight = load<i32>(at(weights, event >> 4));
        store<i32>(target, load<i32>(target) + (kind == MULTIPLY ? (event & 15) * weight : weight));
      }
    }
  }
}

/** y[p][c] += value * q[tap][c] for each event (c, value) of pixel table[tap][p] */
export function fixed_depthwise_multiply_accumulate(begin: i32, end: i32, events: usize, spans: usize, table: usize, pixels: i32, taps: i32, C: i32, q: usize, y: usize): void {
  depthwise(MULTIPLY, begin, end, events, spans, table, pixels, taps, C, q, y);
}

/** y[p][c] += q[tap][c]: additions only */
export function fixed_depthwise_accumulate(begin: i32, end: i32, events: usize, spans: usize, table: usize, pixels: i32, taps: i32, C: i32, q: usize, y: usize): void {
  depthwise(ADD, begin, end, events, spans, table, pixels, taps, C, q, y);
}

/** y[p][j] = bias[j] + scale[j]*acc[p][j];  y may be acc */
export function fixed_to_f32(begin: i32, end: i32, acc: usize, scale: usize, bias: usize, y: usize, N: i32): void {
  for (let p = begin; p < end; p++) {
    for (let j = 0; j < N; j += LANES) {
      const product4 = f32x4.mul(f32x4.convert_i32x4_s(loadSome(at(acc, p * N + j), N - j)), loadSome(at(scale, j), N - j));
      storeSome(at(y, p * N + j), bias ? f32x4.add(loadSome(at(bias, j), N - j), product4) : product4, N - j);
    }
  }
}
