/** Winograd F(4x4,3x3) in the layouts of the contract, every sum in the order that the contract's builds take. */
import type { Machine } from "./machine.ts";

const PANEL = 8, LANES = 4, LINE = 16, OUT = 4, SIDE = 6;
type Square = number[][];

const padded = (multiple: number, n: number): number => Math.ceil(n / multiple) * multiple;
const turned = (square: Square): Square => square[0].map((_, x) => square.map((row) => row[x]));
const square = (side: number, at: (y: number, x: number) => number): Square => Array.from({ length: side }, (_, y) => Array.from({ length: side }, (_, x) => at(y, x)));

export const winograd = ({ real, round }: Machine) => {
  const add = (a: number, b: number): number => round(a + b);
  const sub = (a: number, b: number): number => round(a - b);
  const sixth = round(-1 / 6), part = round(1 / 24);

  const weightLine = ([g0, g1, g2]: number[]): number[] => {
    const ends = add(g0, g2), wide = add(g0, 4 * g2);
    return [round(g0 / 4), round(add(ends, g1) * sixth), round(sub(ends, g1) * sixth), round(add(wide, 2 * g1) * part), round(sub(wide, 2 * g1) * part), g2];
  };
  const inputLine = ([d0, d1, d2, d3, d4, d5]: number[]): number[] => {
    const even = sub(d4, d2), odd = sub(d3, d1), fore = sub(d4, 4 * d2), aft = sub(d3, 4 * d1);
    return [add(4 * sub(d0, d2), even), add(fore, aft), sub(fore, aft), add(even, 2 * odd), sub(even, 2 * odd), sub(sub(d5, d3), 4 * odd)];
  };
  const outputLine = ([m0, m1, m2, m3, m4, m5]: number[]): number[] => {
    const near = add(m1, m2), far = add(m3, m4), nearOdd = sub(m1, m2), farOdd = sub(m3, m4);
    return [add(add(m0, near), far), add(nearOdd, 2 * farOdd), add(near, 4 * far), add(add(nearOdd, 8 * farOdd), m5)];
  };
  /** A line transform down the columns, then along the rows. */
  const both = (values: Square, line: (column: number[]) => number[]): Square => turned(turned(values).map(line)).map(line);

  /** The picture of a tile, and its first output pixel. */
  const place = (tile: number, OH: number, OW: number): { b: number; oy: number; ox: number } => {
    const across = Math.ceil(OW / OUT), perPicture = Math.ceil(OH / OUT) * across, inside = tile % perPicture;
    return { b: Math.floor(tile / perPicture), oy: Math.floor(inside / across) * OUT, ox: (inside % across) * OUT };
  };

  return {
    winograd_weights(begin: number, end: number, packed: number, u: number, N: number, K: number, flip: number): void {
      const Packed = real(packed), U = real(u), step = padded(PANEL, N) * K + LINE;
      for (let j = begin * PANEL; j < end * PANEL; j++) for (let k = 0; k < K; k++) {
        const taps = square(3, (y, x) => (j < N ? Packed[(j * 9 + (flip ? 8 - (3 * y + x) : 3 * y + x)) * K + k] : 0));
        both(taps, weightLine).flat().forEach((value, position) => { U[position * step + (Math.floor(j / PANEL) * K + k) * PANEL + (j % PANEL)] = value; });
      }
    },

    f32_winograd_input(
      begin: number, end: number, x: number, v: number, first: number, tiles: number, H: number, W: number, OH: number, OW: number, K: number, padding: number,
    ): void {
      const X = real(x), V = real(v), width = padded(LANES, K), step = tiles * width + LINE;
      for (let t = begin; t < end; t++) {
        const { b, oy, ox } = place(first + t, OH, OW);
        for (let k = 0; k < width; k++) {
          const values = square(SIDE, (y, x) => {
            const iy = oy + y - padding, ix = ox + x - padding;
            return k < K && iy >= 0 && iy < H && ix >= 0 && ix < W ? X[((b * H + iy) * W + ix) * K + k] : 0;
          });
          both(values, inputLine).flat().forEach((value, position) => { V[position * step + t * width + k] = value; });
        }
      }
    },

    f32_winograd_multiply(begin: number, end: number, v: number, u: number, m: number, tiles: number, K: number, N: number): void {
      const V = real(v), U = real(u), M = real(m), vWidth = padded(LANES, K), mWidth = padded(PANEL, N), panels = mWidth / PANEL;
      for (let item = begin; item < end; item++) {
        const position = Math.floor(item / panels), panel = item % panels;
        const from = position * (tiles * vWidth + LINE), weights = position * (mWidth * K + LINE) + panel * K * PANEL, to = position * (tiles * mWidth + LINE) + panel * PANEL;
        for (let t = 0; t < tiles; t++) for (let j = 0; j < PANEL; j++) {
          let sum = 0;
          for (let k = 0; k < K; k++) sum = round(sum + round(V[from + t * vWidth + k] * U[weights + k * PANEL + j]));
          M[to + t * mWidth + j] = sum;
        }
      }
    },

    f32_winograd_output(begin: number, end: number, m: number, bias: number, y: number, first: number, tiles: number, OH: number, OW: number, N: number): void {
      const M = real(m), Bias = real(bias), Y = real(y), width = padded(PANEL, N), step = tiles * width + LINE;
      for (let t = begin; t < end; t++) {
        const { b, oy, ox } = place(first + t, OH, OW);
        for (let j = 0; j < N; j++) {
          const values = both(square(SIDE, (y, x) => M[(y * SIDE + x) * step + t * width + j]), outputLine);
          for (let row = 0; row < Math.min(OUT, OH - oy); row++) for (let column = 0; column < Math.min(OUT, OW - ox); column++) {
            Y[((b * OH + oy + row) * OW + ox + column) * N + j] = add(values[row][column], bias ? Bias[j] : 0);
          }
        }
      }
    },
  };
};
