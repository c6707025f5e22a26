/** Spike convolution with int16 weights. This build keeps them as they are, [N][taps][K], and its sums know no overflow. */
import type { Machine } from "./machine.ts";

const BLOCK = 64; // output channels of one item of packing

export const spikeI16 = ({ u16, i16, i32 }: Machine) => ({
  spike_conv_i16_reach(begin: number, end: number, w: number, reach: number, taps: number, K: number): void {
    const W = i16(w), Reach = i32(reach);
    for (let j = begin; j < end; j++) {
      Reach[j] = 0;
      for (let tap = j * taps; tap < (j + 1) * taps; tap++) {
        let sum = 0;
        for (let k = 0; k < K; k++) sum += Math.abs(W[tap * K + k]);
        Reach[j] = Math.max(Reach[j], sum);
      }
    }
  },

  spike_conv_i16_pack(begin: number, end: number, w: number, packed: number, N: number, taps: number, K: number): void {
    const block = BLOCK * taps * K;
    i16(packed).set(i16(w).subarray(begin * block, Math.min(end * block, N * taps * K)), begin * block);
  },

  spike_conv_i16(
    begin: number, end: number, events: number, spans: number, table: number, pixels: number, taps: number, K: number, packed: number, _together: number, y: number, ldy: number, N: number,
  ): void {
    const E = u16(events), span = i32(spans), pixelOf = i32(table), W = i16(packed), Y = i32(y);
    for (let p = begin; p < end; p++) {
      for (let j = 0; j < N; j++) {
        let sum = 0;
        for (let tap = 0; tap < taps; tap++) {
          const pixel = table ? pixelOf[tap * pixels + p] : p;
          if (pixel >= 0) for (let e = span[2 * pixel]; e < span[2 * pixel + 1]; e++) sum += (E[e] & 15) * W[(j * taps + tap) * K + (E[e] >> 4)];
        }
        Y[p * ldy + j] = sum;
      }
    }
  },
});
