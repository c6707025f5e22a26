/** Spikes for tests: bytes of a given density, their event lists, and tables of pixels. */
import { values } from "./harness.ts";

/** Bytes value | window << 4, a share `density` of them with a value from 1 to `most`, every second window open. */
export function spikeBytes(size: number, density: number, most = 15, seed = 1): Uint8Array {
  const dice = values(size, seed), pips = values(size, seed + 1), windows = values(size, seed + 2);
  return Uint8Array.from(dice, (d, i) => ((d + 1) / 2 < density ? 1 + Math.floor(((pips[i] + 1) / 2) * most) : 0) | (windows[i] > 0 ? 16 : 0));
}

/** Events (c << 4 | value) of spikes [pixels][C], back to back in runs of 64 pixels that start at 64*C*run, and where those of each pixel begin and end. */
export function eventLists(s: Uint8Array, C: number, d?: number): { events: Uint16Array; spans: Int32Array } {
  const events = new Uint16Array(s.length), spans = new Int32Array(2 * s.length / C);
  for (let p = 0, e = 0; p < s.length / C; p++) {
    if (p % 64 === 0) e = p * C;
    spans[2 * p] = e;
    for (let c = 0; c < C; c++) {
      const value = s[p * C + c] & 15;
      if (value > (d ?? 0)) events[e++] = (c << 4) | (d === undefined ? value : 1);
    }
    spans[2 * p + 1] = e;
  }
  return { events, spans };
}

/** The entries between the ends of each span. */
export function listed(events: ArrayLike<number>, spans: ArrayLike<number>): number[][] {
  const all = Array.from(events);
  return Array.from({ length: spans.length / 2 }, (_, i) => all.slice(spans[2 * i], spans[2 * i + 1]));
}

/** table[tap][p] of a 3x3 window on one H x W image, stride 1 and padding 1; -1 in the padding. */
export function table3x3(H: number, W: number): Int32Array {
  const table = new Int32Array(9 * H * W);
  for (let tap = 0; tap < 9; tap++) {
    for (let p = 0; p < H * W; p++) {
      const y = Math.floor(p / W) + Math.floor(tap / 3) - 1, x = (p % W) + (tap % 3) - 1;
      table[tap * H * W + p] = y < 0 || y >= H || x < 0 || x >= W ? -1 : y * W + x;
    }
  }
  return table;
}

/** Little-endian bytes, for a bench to place. */
export const asBytes = (x: Uint16Array): Uint8Array => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
