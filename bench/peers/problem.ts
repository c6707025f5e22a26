/** What all sides compute, and what a side is. */
import type { Shape } from "../convolutions.ts";

export type Pass = "forward" | "dX" | "dW" | "dX and dW";

/** One convolution at stride 1 that keeps the size; depthwise where `groups` is C. */
export interface Problem {
  readonly pass: Pass;
  readonly shape: Shape;
  readonly groups: number;
  /** [B, S, S, C] */
  readonly x: Float32Array;
  /** [N, k, k, C / groups] */
  readonly w: Float32Array;
  /** [B, S, S, N] */
  readonly dy: Float32Array;
}

/** Somebody's way of computing it. */
export interface Side {
  readonly name: string;
  /** Which of the ways that this somebody has. */
  readonly form: string;
  /** Computes once; milliseconds. */
  time(): number | Promise<number>;
  /** y as [B, S, S, N], dX as x, dW as w; of both, dX then dW. */
  result(): Float32Array | Promise<Float32Array>;
  /** The same call with nothing to compute; milliseconds that are no merit of ours. */
  overhead?(): Promise<number>;
  close?(): void | Promise<void>;
}

/** [rows, a, b] -> [rows, b, a] */
export function transposed(x: Float32Array, rows: number, a: number, b: number): Float32Array {
  const y = new Float32Array(x.length);
  for (let row = 0; row < rows; row++) for (let i = 0; i < a; i++) for (let j = 0; j < b; j++) y[(row * b + j) * a + i] = x[(row * a + i) * b + j];
  return y;
}

export function timed(run: () => unknown): number {
  const start = performance.now();
  run();
  return performance.now() - start;
}
