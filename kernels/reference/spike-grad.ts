/** The weight gradient of spike convolutions, from events by channel. */
import { BAND, LISTED } from "../signatures.ts";
import type { Machine } from "./machine.ts";

const BLOCK = 32;

export const spikeGrad = ({ real, u8, u16, i32, round }: Machine) => ({
  spike_channel_events(begin: number, end: number, s: number, events: number, spans: number, B: number, H: number, W: number, C: number, Hp: number, Wp: number, step: number, top: number, left: number): void {
    const S = u8(s), E = u16(events), span = i32(spans);
    for (let band = begin; band < end; band++) {
      let e = band * LISTED * C;
      for (let c = 0; c < C; c++) {
        span[2 * (band * C + c)] = e;
        for (let place = band * BAND; place < Math.min((band + 1) * BAND, B * Hp * Wp); place++) {
          const row = Math.floor(place / Wp), x = left + place % Wp * step, y = top + row % Hp * step, b = Math.floor(row / Hp);
          const value = y < H && x < W ? S[((b * H + y) * W + x) * C + c] & 15 : 0;
          if (value > 0) E[e++] = (place - band * BAND) << 4 | value;
        }
        span[2 * (band * C + c) + 1] = e;
      }
    }
  },

  spike_gradient_blocks(begin: number, end: number, dy: number, dyb: number, B: number, H: number, W: number, N: number, Hp: number, Wp: number, top: number, left: number): void {
    const DY = real(dy), blocks = real(dyb);
    for (let j = 0; j < Math.ceil(N / BLOCK) * BLOCK; j++) {
      for (let place = begin * Wp; place < end * Wp; place++) {
        const row = Math.floor(place / Wp), x = place % Wp - left, y = row % Hp - top, b = Math.floor(row / Hp);
        const inside = x >= 0 && x < W && y >= 0 && y < H && j < N;
        blocks[(j - j % BLOCK) * B * Hp * Wp + place * BLOCK + j % BLOCK] = inside ? DY[((b * H + y) * W + x) * N + j] : 0;
      }
    }
  },

  spike_weight_grad(
    begin: number, end: number, events: number, spans: number, table: number, places: number, rows: number, taps: number, kw: number, Wp: number, K: number, dyb: number, dwt: number, N: number,
    all: number, top: number, step: number, line: number,
  ): void {
    const E = u16(events), span = i32(spans), DY = real(dyb), DW = real(dwt), fed = i32(table);
    for (let j = 0; j < written(N); j++) {
      const block = j - j % BLOCK, item = (block / BLOCK) * K;
      for (let tap = 0; tap < taps; tap++) {
        const to = top + Math.floor(tap / kw) * line + (tap % kw) * step, turned = taps - 1 - tap, offset = Math.floor(turned / kw) * Wp + turned % kw;
        for (let k = Math.max(0, begin - item); k < Math.min(K, end - item); k++) {
          let sum = 0;
          for (let band = 0; band < Math.ceil(places / BAND); band++) {
            for (let e = span[2 * (band * K + k)]; e < span[2 * (band * K + k) + 1]; e++) {
              const place = band * BAND + (E[e] >> 4), row = table ? fed[tap * places + place] : place + offset;
              if (row >= 0) sum = round(sum + round((E[e] & 15) * DY[block * rows + row * BLOCK + j % BLOCK]));
            }
          }
          DW[block * all * K + (to * K + k) * BLOCK + j % BLOCK] = sum;
        }
      }
    }
  },
});

/** N, or so many columns more that the last block has 4, 8, 16 or 32. */
function written(N: number): number {
  const last = (N - 1) % BLOCK + 1;
  return N - last + [4, 8, 16, 32].find((width) => width >= last)!;
}
