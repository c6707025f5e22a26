/** Rows and time: copies, broadcasts and sums. Sums are taken in float64 and rounded once. */
import type { Machine } from "./machine.ts";

const BLOCK = 4096; // elements of one partial sum
const ROWS = 256; // rows of one partial column sum
const FEW = 8; // rows whose mean stands for that of a block

export const rows = ({ real, i32, round }: Machine) => {
  /** partial[block][c] = sum of term(row, c) over the rows of the block */
  const columnSums = (begin: number, end: number, partial: number, rows: number, C: number, term: (row: number, c: number) => number): void => {
    const P = real(partial);
    for (let block = begin; block < end; block++) {
      for (let c = 0; c < C; c++) {
        let sum = 0;
        for (let row = block * ROWS; row < Math.min(rows, (block + 1) * ROWS); row++) sum += term(row, c);
        P[block * C + c] = sum;
      }
    }
  };

  return {
    f32_copy_columns(begin: number, end: number, x: number, ldx: number, y: number, ldy: number, width: number): void {
      const X = real(x), Y = real(y);
      for (let row = begin; row < end; row++) {
        for (let i = 0; i < width; i++) Y[row * ldy + i] = X[row * ldx + i];
      }
    },

    f32_mul_row(begin: number, end: number, x: number, row0: number, y: number, C: number): void {
      const X = real(x), R = real(row0), Y = real(y);
      for (let row = begin; row < end; row++) {
        for (let c = 0; c < C; c++) Y[row * C + c] = X[row * C + c] * R[c];
      }
    },

    f32_affine_row(begin: number, end: number, x: number, scale: number, shift: number, y: number, C: number): void {
      const X = real(x), S = real(scale), B = real(shift), Y = real(y);
      for (let row = begin; row < end; row++) {
        for (let c = 0; c < C; c++) Y[row * C + c] = round(X[row * C + c] * S[c]) + B[c];
      }
    },

    f32_gather_rows(begin: number, end: number, x: number, index: number, y: number, width: number): void {
      const X = real(x), I = i32(index), Y = real(y);
      for (let row = begin; row < end; row++) {
        for (let i = 0; i < width; i++) Y[row * width + i] = X[I[row] * width + i];
      }
    },

    f32_scatter_rows(begin: number, end: number, dy: number, index: number, dx: number, rows: number, width: number): void {
      if (begin >= end) return;
      const dY = real(dy), I = i32(index), dX = real(dx);
      for (let row = 0; row < rows; row++) {
        for (let i = 0; i < width; i++) dX[I[row] * width + i] += dY[row * width + i];
      }
    },

    f32_repeat(begin: number, end: number, x: number, y: number, T: number, stride: number, a: number): void {
      const X = real(x), Y = real(y), factor = round(a);
      for (let t = 0; t < T; t++) {
        for (let i = begin; i < end; i++) Y[t * stride + i] = factor * X[i];
      }
    },

    f32_sum_over(begin: number, end: number, x: number, y: number, T: number, stride: number, a: number): void {
      const X = real(x), Y = real(y), factor = round(a);
      for (let i = begin; i < end; i++) {
        let sum = 0;
        for (let t = 0; t < T; t++) sum = round(sum + X[t * stride + i]);
        Y[i] = factor * sum;
      }
    },

    f32_sum(begin: number, end: number, x: number, partial: number, total: number): void {
      const X = real(x), P = real(partial);
      for (let block = begin; block < end; block++) {
        let sum = 0;
        for (let i = block * BLOCK; i < Math.min(total, (block + 1) * BLOCK); i++) sum += X[i];
        P[block] = sum;
      }
    },

    f32_sum_squares(begin: number, end: number, x: number, partial: number, total: number): void {
      const X = real(x), P = real(partial);
      for (let block = begin; block < end; block++) {
        let sum = 0;
        for (let i = block * BLOCK; i < Math.min(total, (block + 1) * BLOCK); i++) sum += X[i] * X[i];
        P[block] = sum;
      }
    },

    f32_column_sums(begin: number, end: number, x: number, partial: number, rows: number, C: number, ldx: number): void {
      const X = real(x);
      columnSums(begin, end, partial, rows, C, (row, c) => X[row * ldx + c]);
    },

    f32_column_dots(begin: number, end: number, x: number, mean: number, dy: number, sums: number, dots: number, rows: number, C: number): void {
      const X = real(x), M = real(mean), dY = real(dy);
      columnSums(begin, end, sums, rows, C, (row, c) => dY[row * C + c]);
      columnSums(begin, end, dots, rows, C, (row, c) => dY[row * C + c] * (X[row * C + c] - M[c]));
    },

    f32_column_moments(begin: number, end: number, x: number, means: number, rests: number, squares: number, rows: number, C: number): void {
      const X = real(x), M = real(means);
      const z = (row: number, c: number): number => round(X[row * C + c] - M[Math.floor(row / ROWS) * C + c]);
      for (let block = begin; block < end; block++) {
        const few = Math.min(FEW, rows - block * ROWS);
        for (let c = 0; c < C; c++) {
          let sum = 0;
          for (let row = block * ROWS; row < block * ROWS + few; row++) sum = round(sum + X[row * C + c]);
          M[block * C + c] = sum / few;
        }
      }
      columnSums(begin, end, rests, rows, C, z);
      columnSums(begin, end, squares, rows, C, (row, c) => z(row, c) * z(row, c));
    },

    f32_combine_columns(begin: number, end: number, partial: number, y: number, blocks: number, C: number, a: number): void {
      const P = real(partial), Y = real(y), factor = round(a);
      for (let c = begin; c < end; c++) {
        let sum = 0;
        for (let block = 0; block < blocks; block++) sum += P[block * C + c];
        Y[c] = factor * sum;
      }
    },

    f32_combine_moments(begin: number, end: number, means: number, rests: number, squares: number, mean: number, variance: number, rows: number, C: number): void {
      const M = real(means), R = real(rests), S = real(squares), blocks = Math.ceil(rows / ROWS);
      for (let c = begin; c < end; c++) {
        let sum = 0, spread = 0;
        for (let block = 0; block < blocks; block++) {
          const i = block * C + c, count = Math.min(ROWS, rows - block * ROWS);
          sum += count * M[i] + R[i];
        }
        const whole = sum / rows;
        for (let block = 0; block < blocks; block++) {
          const i = block * C + c, count = Math.min(ROWS, rows - block * ROWS), away = M[i] + R[i] / count - whole;
          spread += S[i] - (R[i] * R[i]) / count + count * away * away;
        }
        real(mean)[c] = whole;
        real(variance)[c] = Math.max(0, spread) / rows;
      }
    },
  };
};
