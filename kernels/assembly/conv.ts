/**
 * Dense convolution as a product with indirect rows: the table says which input pixel each output pixel sees through each
 * tap, which is im2col without the copy. At most 4096 input channels (the row of zeros behind index -1 is that long).
 *
 *   for each panel of 8 output channels          73 KB of weights for 256 channels 3x3: L2
 *     for each tile of 4 output pixels
 *       for each tap, for each k                 8 accumulators stay in registers
 *
 * Every output is one running sum, bias first, then tap by tap and k by k: its bits do not depend on the tile that made it.
 */
import { conv_tile4x8, weight_grad_tile4x8 } from "./generated/dense";
import { LANES, at, rowOf, transpose4 } from "./lanes";

const PANEL: i32 = 8;
const TILE: i32 = 4;
const LINE: i32 = 16; // f32 in a cache line

/** table[tap][b][oy][ox] = row of input pixel (oy*stride - padding + ky*dilation, ox*stride - padding + kx*dilation), or -1 outside */
export function conv_table(
  begin: i32, end: i32, table: usize, B: i32, H: i32, W: i32, OH: i32, OW: i32, kw: i32, stride: i32, padding: i32, dilation: i32,
): void {
  let to = at(table, begin * B * OH * OW);
  for (let tap = begin; tap < end; tap++) {
    const ky = tap / kw * dilation - padding, kx = tap % kw * dilation - padding;
    for (let b = 0; b < B; b++) {
      for (let oy = 0; oy < OH; oy++) {
        const iy = oy * stride + ky, row = (b * H + iy) * W;
        for (let ox = 0; ox < OW; ox++, to += 4) {
          const ix = ox * stride + kx;
          store<i32>(to, <u32>iy < <u32>H && <u32>ix < <u32>W ? row + ix : -1);
        }
      }
    }
  }
}

/** table[tap][b][iy][ix] = row of the output pixel (oy, ox) with oy*stride = iy + padding - ky*dilation (ox likewise), or -1 where there is none */
export function conv_table_transposed(
  begin: i32, end: i32, table: usize, B: i32, H: i32, W: i32, OH: i32, OW: i32, kw: i32, stride: i32, padding: i32, dilation: i32,
): void {
  let to = at(table, begin * B * H * W);
  for (let tap = begin; tap < end; tap++) {
    const ky = padding - tap / kw * dilation, kx = padding - tap % kw * dilation;
    for (let b = 0; b < B; b++) {
      for (let iy = 0; iy < H; iy++) {
        const y = iy + ky, oy = y / stride, row = (b * OH + oy) * OW;
        const inside = y >= 0 && oy * stride == y && oy < OH;
        for (let ix = 0; ix < W; ix++, to += 4) {
          const x = ix + kx, ox = x / stride;
          store<i32>(to, inside && x >= 0 && ox * stride == x && ox < OW ? row + ox : -1);
        }
      }
    }
  }
}

/** y[p][j] = bias[j] + sum_tap sum_k x[table[tap][p]][k] * w[j][tap][k] */
export function f32_conv(
  begin: i32, end: i32, x: usize, ldx: i32, table: usize, pixels: i32, taps: i32, K: i32, packed: usize, bias: usize, y: usize, ldy: i32, N: i32,
): void {
  const xBytes = at(0, ldx), yBytes = at(0, ldy), nextTap = at(0, pixels);
  for (let j = 0; j < N; j += PANEL) {
    const b = at(packed, j * taps * K), bias8 = bias ? at(bias, j) : 0;
    for (let p = begin; p < end; p += TILE) {
      conv_tile4x8(x, xBytes, at(table, p), nextTap, taps, K, b, bias8, at(y, p * ldy + j), yBytes, end - 1 - p, N - j);
    }
  }
}

/**
 * dwt[tap][k][j] = sum_p x[table[tap][p]][k] * dy[p][j].  table 0: the input row is p itself.
 *
 * Columns of x and dy at a stride of 2^n bytes fall into a handful of cache sets, so a block of pixels is copied first: dy into panels
 * of 8 channels, x into strips of 4. The workspace is the end of dwt itself: a pass computes all but the last rows of the range,
 * and leaves those for the next, smaller pass. Every element is one running sum over the pixels in order, whatever the pass, the block, or the range.
 */
export function f32_conv_weight_grad(
  begin: i32, end: i32, x: usize, ldx: i32, table: usize, pixels: i32, K: i32, dy: usize, ldy: i32, N: i32, dwt: usize,
): void {
  const width = (N + PANEL - 1) / PANEL * PANEL, perPixel = width + TILE;
  while (begin < end) {
    const block = min(max(32, min(256, 32768 / width)), (end - begin) / 4 * N / perPixel);
    if (N < 64 || block < 8) { // short rows, or too few to make room
      grad_pass(begin, end, x, ldx, table, pixels, K, dy, ldy, N, dwt, max(32, min(512, 32768 / (K + N))), 0);
      return;
    }
    const stop = end - (block * perPixel + LINE + N - 1) / N;
    const work = (at(dwt, stop * N) + 4 * LINE - 1) & ~(4 * LINE - 1);
    grad_pass(begin, stop, x, ldx, table, pixels, K, dy, ldy, N, dwt, block, work);
    begin = stop;
  }
}

/** Rows begin..end-1 in blocks of pixels, copied to work (strip [block][4], panels [N/8][block][8]) unless work is 0. */
function grad_pass(
  begin: i32, end: i32, x: usize, ldx: i32, table: usize, pixels: i32, K: i32, dy: usize, ldy: i32, N: i32, dwt: usize, block: i32, work: usize,
): void {
  const xBytes = at(0, ldx), yBytes = at(0, ldy), wBytes = at(0, N);
  const strip = work, panels = at(work, block * TILE);
  memory.fill(at(dwt, begin * N), 0, at(0, (end - begin) * N));
  for (let p = 0; p < pixels; p += block) {
    const count = min(block, pixels - p), dyBlock = at(dy, p * ldy);
    if (work) for (let j = 0; j < N; j += PANEL) copy_panel(at(dyBlock, j), yBytes, count, at(panels, j * block));
    for (let row = begin, rows = 0; row < end; row += rows) {
      const tap = row / K, k = row % K;
      const from = at(table ? x : at(x, p * ldx), k), index = table ? at(table, tap * pixels + p) : 0;
      rows = min(TILE, min(end - row, K - k));
      if (work) copy_strip(from, xBytes, index, count, strip);
      for (let j = 0; j < N; j += PANEL) {
        const to = at(dwt, row * N + j);
        if (work) weight_grad_tile4x8(strip, 4 * TILE, 0, count, at(panels, j * block), 4 * PANEL, to, wBytes, rows, N - j);
        else weight_grad_tile4x8(from, xBytes, index, count, at(dyBlock, j), yBytes, to, wBytes, rows, N - j);
      }
    }
  }
}

/** to[p][0..7] = from[p][0..7] */
function copy_panel(from: usize, ld: usize, pixels: i32, to: usize): void {
  for (const end = to + <usize>pixels * (4 * PANEL); to < end; to += 4 * PANEL, from += ld) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
  }
}

/** to[p][0..3] = x[row of p][0..3], zeros where there is no row */
function copy_strip(x: usize, ldx: usize, table: usize, pixels: i32, to: usize): void {
  const end = to + <usize>pixels * (4 * TILE);
  if (table) for (; to < end; to += 4 * TILE, table += 4) v128.store(to, v128.load(rowOf(x, ldx, load<i32>(table))));
  else for (; to < end; to += 4 * TILE, x += ldx) v128.store(to, v128.load(x));
}

/** dw[j][row] = dwt[j/width][row][j%width] */
export function conv_unpack_weight_grad(begin: i32, end: i32, dwt: usize, dw: usize, width: i32, rows: i32): void {
  const across = at(0, width), down = at(0, rows);
  for (let j = begin; j < end;) {
    const lane = j % width, from = at(dwt, (j - lane) * rows + lane), to = at(dw, j * rows), lanes = min(min(LANES, width - lane), end - j);
    let row = 0;
    if (lanes == LANES) for (; row <= rows - LANES; row += LANES) transpose4(at(from, row * width), across, at(to, row), down);
    for (; row < rows; row++) {
      for (let i = 0; i < lanes; i++) store<f32>(at(to, i * rows + row), load<f32>(at(from, row * width + i)));
    }
    j += lanes;
  }
}
