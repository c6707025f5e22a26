/** Dense convolution of small whole numbers with int8 weights. This build keeps the weights as they are: [N][taps][K]. */
import type { Machine } from "./machine.ts";

const PANEL = 8; // the unit in which packing is counted

export const dot = ({ u8, i8, i32 }: Machine) => {
  const dot_i8 = (
    begin: number, end: number, x: number, ldx: number, table: number, pixels: number, taps: number, K: number, packed: number, _D: number, y: number, ldy: number, N: number,
  ): void => {
    const X = u8(x), Table = i32(table), Weight = i8(packed), Y = i32(y);
    for (let p = begin; p < end; p++) {
      for (let j = 0; j < N; j++) {
        let sum = 0;
        for (let tap = 0; tap < taps; tap++) {
          const row = table ? Table[tap * pixels + p] : p;
          if (row >= 0) for (let k = 0; k < K; k++) sum += X[row * ldx + k] * Weight[(j * taps + tap) * K + k];
        }
        Y[p * ldy + j] = sum;
      }
    }
  };

  return {
    dot_i8,

    spike_values(begin: number, end: number, s: number, y: number): void {
      const S = u8(s), Y = u8(y);
      for (let i = begin; i < end; i++) Y[i] = S[i] & 15;
    },

    dot_i8_pack(begin: number, end: number, w: number, packed: number, N: number, taps: number, K: number): void {
      const panel = PANEL * taps * K;
      i8(packed).set(i8(w).subarray(begin * panel, Math.min(end * panel, N * taps * K)), begin * panel);
    },
  };
};
