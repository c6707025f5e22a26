/** The weight gradient of spike convolutions, from events by channel. */
import type { Machine } from "./machine.ts";

const BAND = 128, BLOCK = 32;

export const spikeGrad = ({ real, u8, u16, i32, round }: Machine) => ({
  spike_channel_events(begin: number, end: number, s: number, events: number, counts: number, pixels: number, C: number): void {
    const S = u8(s), E = u16(events), n = i32(counts);
    for (let band = begin; band < end; band++) {
      for (let c = 0; c < C; c++) {
        let count = 0;
        for (let q = band * BAND; q < Math.min((band + 1) * BAND, pixels); q++) {
          const value = S[q * C + c] & 15;
          if (value > 0) E[(band * C + c) * BAND + count++] = (q - band * BAND) << 4 | value;
        }
        n[band * C + c] = count;
      }
    }
  },

  spike_gradient_blocks(begin: number, end: number, dy: number, dyb: number, pixels: number, N: number): void {
    const DY = real(dy), blocks = real(dyb);
    for (let p = begin; p < end; p++) {
      for (let j = 0; j < Math.ceil(N / BLOCK) * BLOCK; j++) blocks[(j - j % BLOCK) * pixels + p * BLOCK + j % BLOCK] = j < N ? DY[p * N + j] : 0;
    }
  },

  spike_weight_grad(
    begin: number, end: number, events: number, counts: number, table: number, pixels: number, outputs: number, taps: number, K: number, dyb: number, dwt: number, N: number,
  ): void {
    const E = u16(events), n = i32(counts), DY = real(dyb), DW = real(dwt), fed = i32(table);
    for (let tap = 0; tap < taps; tap++) {
      for (let k = begin; k < end; k++) {
        for (let j = 0; j < N; j++) {
          let sum = 0;
          for (let band = 0; band < Math.ceil(pixels / BAND); band++) {
            for (let e = 0; e < n[band * K + k]; e++) {
              const event = E[(band * K + k) * BAND + e], q = band * BAND + (event >> 4), p = table ? fed[tap * pixels + q] : q;
              if (p >= 0) sum = round(sum + round((event & 15) * DY[(j - j % BLOCK) * outputs + p * BLOCK + j % BLOCK]));
            }
          }
          DW[(tap * K + k) * N + j] = sum;
        }
      }
    }
  },
});
