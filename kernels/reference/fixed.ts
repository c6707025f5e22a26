/** Exact spike arithmetic: int32 weights on a power-of-two grid, int32 accumulators that cannot overflow. */
import { powerOfTwo } from "../elementary.ts";
import { nearest, type Machine } from "./machine.ts";

const BLOCK = 32; // output channels of one item of fixed_pack

export const fixed = ({ real, u16, i32, round }: Machine) => {
  /** y[p][j] += what each event says of the weight it meets */
  const accumulate = (
    begin: number, end: number, events: number, spans: number, table: number, pixels: number, taps: number, K: number, packed: number, y: number, N: number,
    term: (event: number, weight: number) => number,
  ): void => {
    const E = u16(events), span = i32(spans), pixelOf = i32(table), Q = i32(packed), Y = i32(y);
    for (let p = begin; p < end; p++) {
      for (let j = 0; j < N; j++) {
        for (let tap = 0; tap < taps; tap++) {
          const pixel = table ? pixelOf[tap * pixels + p] : p;
          if (pixel < 0) continue;
          for (let e = span[2 * pixel]; e < span[2 * pixel + 1]; e++) Y[p * N + j] += term(E[e], Q[(j * taps + tap) * K + (E[e] >> 4)]);
        }
      }
    }
  };

  /** The same with one weight per channel: y[p][c] meets only the events of its own channel. */
  const depthwise = (
    begin: number, end: number, events: number, spans: number, table: number, pixels: number, taps: number, C: number, q: number, y: number,
    term: (event: number, weight: number) => number,
  ): void => {
    const E = u16(events), span = i32(spans), pixelOf = i32(table), Q = i32(q), Y = i32(y);
    for (let p = begin; p < end; p++) {
      for (let tap = 0; tap < taps; tap++) {
        const pixel = table ? pixelOf[tap * pixels + p] : p;
        if (pixel < 0) continue;
        for (let e = span[2 * pixel]; e < span[2 * pixel + 1]; e++) Y[p * C + (E[e] >> 4)] += term(E[e], Q[tap * C + (E[e] >> 4)]);
      }
    }
  };

  const valueTimesWeight = (event: number, weight: number): number => (event & 15) * weight;
  const weightAlone = (_event: number, weight: number): number => weight;

  return {
    fixed_quantize(begin: number, end: number, w: number, q: number, scale: number, size: number, D: number): void {
      const W = real(w), Q = i32(q), S = real(scale);
      for (let j = begin; j < end; j++) {
        let sum = 0;
        for (let i = 0; i < size; i++) sum += Math.abs(W[j * size + i]);
        const finite = sum < Infinity;
        let e = sum > 0 ? 40 : 0;
        if (finite) while (D * sum * powerOfTwo(e) >= 2 ** 30) e--;
        for (let i = 0; i < size; i++) Q[j * size + i] = finite ? nearest(W[j * size + i] * powerOfTwo(e)) : 0;
        S[j] = finite ? powerOfTwo(-e) : NaN;
      }
    },

    /** This build keeps q as it is: [N][taps][K]. */
    fixed_pack(begin: number, end: number, q: number, packed: number, N: number, taps: number, K: number): void {
      const block = BLOCK * taps * K;
      i32(packed).set(i32(q).subarray(begin * block, Math.min(end * block, N * taps * K)), begin * block);
    },

    fixed_multiply_accumulate(begin: number, end: number, events: number, spans: number, table: number, pixels: number, taps: number, K: number, packed: number, y: number, N: number): void {
      accumulate(begin, end, events, spans, table, pixels, taps, K, packed, y, N, valueTimesWeight);
    },

    fixed_accumulate(begin: number, end: number, events: number, spans: number, table: number, pixels: number, taps: number, K: number, packed: number, y: number, N: number): void {
      accumulate(begin, end, events, spans, table, pixels, taps, K, packed, y, N, weightAlone);
    },

    fixed_depthwise_multiply_accumulate(begin: number, end: number, events: number, spans: number, table: number, pixels: number, taps: number, C: number, q: number, y: number): void {
      depthwise(begin, end, events, spans, table, pixels, taps, C, q, y, valueTimesWeight);
    },

    fixed_depthwise_accumulate(begin: number, end: number, events: number, spans: number, table: number, pixels: number, taps: number, C: number, q: number, y: number): void {
      depthwise(begin, end, events, spans, table, pixels, taps, C, q, y, weightAlone);
    },

    fixed_to_f32(begin: number, end: number, acc: number, scale: number, bias: number, y: number, N: number): void {
      const A = i32(acc), S = real(scale), B = real(bias), Y = real(y);
      for (let p = begin; p < end; p++) {
        for (let j = 0; j < N; j++) {
          const product = round(round(A[p * N + j]) * S[j]);
          Y[p * N + j] = bias ? B[j] + product : product;
        }
      }
    },
  };
};
