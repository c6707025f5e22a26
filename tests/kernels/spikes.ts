/** Spikes for tests: bytes of a given density, their event lists, and tables of pixels. */
import { values } from "./harness.ts";

/** Bytes value | window << 4, a share `density` of them with a value from 1 to `most`, every second window open. */
export function spikeBytes(size: number, density: number, most = 15, seed = 1): Uint8Array {
  const dice = values(size, seed), pips = values(size, seed + 1), windows = values(size, seed + 2);
  return Uint8Array.from(dice, (d, i) => ((d + 1) / 2 < density ? 1 + Math.floor(((pips[i] + 1) / 2) * most) : 0) | (windows[i] > 0 ? 16 : 0));
}

/** Events (c << 4 | value) of spikes [pixels][C] in slots of C entries, and how many each pixel has. */
export function eventLists(s: Uint8Array, C: number, d?: number): { events: Uint16Array; counts: Int32Array } {
  const events = new Uint16Array(s.length), counts = new Int32Array(s.length / C);
  s.forEach((byte, i) => {
    const p = Math.floor(i / C), value = byte & 15;
    if (value > (d ?? 0)) events[p * C + counts[p]++] = ((i % C) << 4) | (d === undefined ? value : 1);
  });
  return { events, counts };
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
