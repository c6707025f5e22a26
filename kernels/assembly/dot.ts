/**
 * Dense convolution of small whole numbers with int8 weights, exact in int32.
 *
 *   packed [N/8][tap][K/4][8][4] int8: four neighbouring k of eight output channels are two vectors, zeros past N and K
 *
 * Loops and table are those of f32_conv: a panel of 8 output channels outside, tiles of pixels inside, row pointers for im2col. Input bytes are plain
 * values: to mask the window bit of spikes inside the loop takes a quarter of its speed, to strip it beforehand (spike_values) next to nothing.
 */
import { dot_tile3x8 } from "./generated/dot";
import { at } from "./lanes";

const PANEL: i32 = 8;
const TILE: i32 = 3;

/** y = s without its window bit */
export function spike_values(begin: i32, end: i32, s: usize, y: usize): void {
  const nibble = i8x16.splat(15);
  let i = begin;
  for (; i <= end - 16; i += 16) v128.store(y + i, v128.and(v128.load(s + i), nibble));
  for (; i < end; i++) store<u8>(y + i, load<u8>(s + i) & 15);
}

/** packed[panel][tap][k/4][j][k%4] = w[8*panel + j][tap][k] */
export function dot_i8_pack(begin: i32, end: i32, w: usize, packed: usize, N: i32, taps: i32, K: i32): void {
  const K4 = K + 3 & ~3;
  let to = packed + <usize>(begin * PANEL * taps * K4);
  for (let panel = begin; panel < end; panel++) {
    for (let tap = 0; tap < taps; tap++) {
      for (let k4 = 0; k4 < K4; k4 += 4) {
        for (let j = panel * PANEL; j < (panel + 1) * PANEL; j++) {
          for (let k = k4; k < k4 + 4; k++, to++) store<i8>(to, j < N && k < K ? load<i8>(w + (j * taps + tap) * K + k) : 0);
        }
      }
    }
  }
}

/** y[p][j] = sum_tap sum_k x[table[tap][p]][k] * w[j][tap][k].  table 0: one tap, row p itself. */
export function dot_i8(
  begin: i32, end: i32, x: usize, ldx: i32, table: usize, pixels: i32, taps: i32, K: i32, packed: usize, D: i32, y: usize, ldy: i32, N: i32,
): void {
  const K4 = K + 3 & ~3, yBytes = at(0, ldy), nextTap = at(0, pixels);
  for (let j = 0; j < N; j += PANEL) {
    const b = packed + <usize>(j * taps * K4);
    for (let p = begin; p < end; p += TILE) {
      const from = table ? x : x + p * ldx, rows = table ? at(table, p) : 0, to = at(y, p * ldy + j), last = end - 1 - p;
      dot_tile3x8(from, ldx, rows, nextTap, taps, K, b, D, to, yBytes, last, N - j);
    }
  }
}
