/** Dense convolution through a table of input rows. Packed weights are a plain copy, [N][taps][K], or transposed, [K][taps][N]. */
import type { Machine } from "./machine.ts";

const PANEL = 8; // the unit in which packing is counted

export const conv = ({ real, i32, round }: Machine) => ({
  conv_table(
    begin: number, end: number, table: number, B: number, H: number, W: number, OH: number, OW: number,
    kw: number, stride: number, padding: number, dilation: number,
  ): void {
    const Table = i32(table);
    for (let tap = begin; tap < end; tap++) {
      for (let b = 0; b < B; b++) for (let oy = 0; oy < OH; oy++) for (let ox = 0; ox < OW; ox++) {
        const iy = oy * stride - padding + Math.floor(tap / kw) * dilation, ix = ox * stride - padding + (tap % kw) * dilation;
        const inside = iy >= 0 && iy < H && ix >= 0 && ix < W;
        Table[((tap * B + b) * OH + oy) * OW + ox] = inside ? (b * H + iy) * W + ix : -1;
      }
    }
  },

  conv_table_transposed(
    begin: number, end: number, table: number, B: number, H: number, W: number, OH: number, OW: number,
    kw: number, stride: number, padding: number, dilation: number,
  ): void {
    const Table = i32(table).subarray(begin * B * H * W, end * B * H * W).fill(-1);
    for (let tap = begin; tap < end; tap++) {
      for (let b = 0; b < B; b++) for (let oy = 0; oy < OH; oy++) for (let ox = 0; ox < OW; ox++) {
        const iy = oy * stride - padding + Math.floor(tap / kw) * dilation, ix = ox * stride - padding + (tap % kw) * dilation;
        const inside = iy >= 0 && iy < H && ix >= 0 && ix < W;
        if (inside) Table[(((tap - begin) * B + b) * H + iy) * W + ix] = (b * OH + oy) * OW + ox;
      }
    }
  },

  conv_pack(begin: number, end: number, w: number, packed: number, N: number, taps: number, K: number, scale: number): void {
    const size = taps * K, from = begin * PANEL * size, to = Math.min(end * PANEL, N) * size, Packed = real(packed), Scale = real(scale);
    Packed.set(real(w).subarray(from, to), from);
    if (scale) for (let i = from; i < to; i++) Packed[i] *= Scale[Math.floor(i / size)];
  },

  conv_pack_transposed(begin: number, end: number, w: number, packed: number, N: number, taps: number, K: number): void {
    const Weight = real(w), Packed = real(packed);
    for (let k = begin * PANEL; k < Math.min(end * PANEL, K); k++) {
      for (let tap = 0; tap < taps; tap++) for (let n = 0; n < N; n++) Packed[(k * taps + tap) * N + n] = Weight[(n * taps + tap) * K + k];
    }
  },

  f32_conv(
    begin: number, end: number, x: number, ldx: number, table: number, pixels: number, taps: number, K: number,
    packed: number, bias: number, y: number, ldy: number, N: number,
  ): void {
    const X = real(x), Table = i32(table), Weight = real(packed), Bias = real(bias), Y = real(y);
    for (let p = begin; p < end; p++) {
      for (let j = 0; j < N; j++) {
        let sum = bias ? Bias[j] : 0;
        for (let tap = 0; tap < taps; tap++) {
          const row = Table[tap * pixels + p];
          if (row < 0) continue;
          for (let k = 0; k < K; k++) sum = round(sum + round(X[row * ldx + k] * Weight[(j * taps + tap) * K + k]));
        }
        Y[p * ldy + j] = sum;
      }
    }
  },

  f32_gemm(
    begin: number, end: number, x: number, ldx: number, K: number, packed: number, bias: number, y: number, ldy: number, N: number,
  ): void {
    const X = real(x), Weight = real(packed), Bias = real(bias), Y = real(y);
    for (let p = begin; p < end; p++) {
      for (let j = 0; j < N; j++) {
        let sum = bias ? Bias[j] : 0;
        for (let k = 0; k < K; k++) sum = round(sum + round(X[p * ldx + k] * Weight[j * K + k]));
        Y[p * ldy + j] = sum;
      }
    }
  },

  f32_conv_weight_grad(
    begin: number, end: number, x: number, ldx: number, table: number, pixels: number, K: number,
    dy: number, ldy: number, N: number, dwt: number,
  ): void {
    const X = real(x), Table = i32(table), DY = real(dy), DWT = real(dwt);
    for (let i = begin; i < end; i++) {
      const tap = Math.floor(i / K), k = i % K;
      for (let j = 0; j < N; j++) {
        let sum = 0;
        for (let p = 0; p < pixels; p++) {
          const row = table ? Table[tap * pixels + p] : p;
          sum = round(sum + round((row >= 0 ? X[row * ldx + k] : 0) * DY[p * ldy + j]));
        }
        DWT[i * N + j] = sum;
      }
    }
  },

  conv_unpack_weight_grad(begin: number, end: number, dwt: number, dw: number, width: number, rows: number): void {
    const DWT = real(dwt), DW = real(dw);
    for (let j = begin; j < end; j++) for (let row = 0; row < rows; row++) DW[j * rows + row] = DWT[(j - j % width) * rows + row * width + j % width];
  },
});
