/**
 * Weights in panels of eight output channels, and the product that needs no table.
 *
 *   packed [N/8][taps*K][8]: one sequential stream of two vectors per k; output channels past N are zeros.
 */
import { product_rows4x8 } from "./generated/dense";
import { LANES, at, scaleColumns, storeLanes, transpose4 } from "./lanes";

const PANEL: i32 = 8;

/** packed[panel][i][j] = w[8*panel + j][i],  i over taps*K */
export function conv_pack(begin: i32, end: i32, w: usize, packed: usize, N: i32, taps: i32, K: i32, scale: usize): void {
  const size = taps * K, ld = at(0, size);
  for (let panel = begin; panel < end; panel++) {
    const from = at(w, panel * PANEL * size), to = at(packed, panel * PANEL * size);
    const valid = min(PANEL, N - panel * PANEL);
    let i = 0;
    if (valid == PANEL) {
      for (; i <= size - LANES; i += LANES) {
        transpose4(at(from, i), ld, at(to, i * PANEL), 4 * PANEL);
        transpose4(at(from, i) + 4 * ld, ld, at(to, i * PANEL + LANES), 4 * PANEL);
      }
    }
    for (; i < size; i++) {
      for (let j = 0; j < PANEL; j++) store<f32>(at(to, i * PANEL + j), j < valid ? load<f32>(at(from, j * size + i)) : 0);
    }
    if (scale) scaleColumns(to, size, PANEL, at(scale, panel * PANEL), valid);
  }
}

/** packed[panel][tap][n][j] = w[n][tap][8*panel + j] */
export function conv_pack_transposed(begin: i32, end: i32, w: usize, packed: usize, N: i32, taps: i32, K: i32): void {
  for (let panel = begin; panel < end; panel++) {
    const k = panel * PANEL, valid = min(PANEL, K - k);
    let to = at(packed, k * taps * N);
    for (let tap = 0; tap < taps; tap++) {
      for (let n = 0; n < N; n++, to += 4 * PANEL) {
        const from = at(w, (n * taps + tap) * K + k);
        if (valid == PANEL) {
          v128.store(to, v128.load(from));
          v128.store(to, v128.load(from, 16), 16);
        } else {
          memory.fill(to, 0, 4 * PANEL);
          storeLanes(to, v128.load(from), valid);
          storeLanes(to + 16, v128.load(from, 16), valid - LANES);
        }
      }
    }
  }
}

/** y[p][j] = bias[j] + sum_k x[p][k] * w[j][k] */
export function f32_gemm(begin: i32, end: i32, x: usize, ldx: i32, K: i32, packed: usize, bias: usize, y: usize, ldy: i32, N: i32): void {
  for (let j = 0; j < N; j += PANEL) product_rows4x8(at(x, begin * ldx), at(0, ldx), K, at(packed, j * K), bias ? at(bias, j) : 0, at(y, begin * ldy + j), at(0, ldy), end - begin, N - j);
}
