/** Batch normalisation over channels-last rows, after Ioffe and Szegedy (arXiv:1502.03167). */
import { host } from "../host.ts";
import { defineOp, type Binary, type Value } from "../op.ts";
import { realValues } from "../spikes.ts";
import { lastAxis, rowsOf, show } from "../shape.ts";
import { empty, gradientOf, scratch, type Tensor } from "../tensor.ts";

/** Rows per block of the column kernels. */
const ROWS = 256;

export interface Statistics {
  /** [C] */
  readonly mean: Tensor;
  /** [C], biased: the mean of squared deviations */
  readonly variance: Tensor;
}

/** running += share (new - running), per channel; the new variance counts `factor` times. */
export function updateRunning(running: Statistics, { mean, variance }: Statistics, { share, factor = 1 }: { share: number; factor?: number }): void {
  host().kernels.f32_norm_running(mean.size, mean.ptr, variance.ptr, running.mean.ptr, running.variance.ptr, share, factor);
}

/** Mean and biased variance of each channel over all rows of x [..., C]: those of each block of rows first, so that a large mean costs no digits. */
export function batchStatistics(x: Value): Statistics {
  const { kernels: k, memory, bytes } = host();
  const C = lastAxis(x.shape), rows = rowsOf(x.shape), blocks = Math.ceil(rows / ROWS);
  const mean = empty([C]), variance = empty([C]);
  memory.withWorkspace(() => {
    const [means, rests, squares] = [0, 1, 2].map(() => memory.workspace(blocks * C * bytes));
    k.f32_column_moments(blocks, realValues(x), means, rests, squares, rows, C);
    k.f32_combine_moments(C, means, rests, squares, mean.ptr, variance.ptr, rows, C);
  });
  return { mean, variance };
}

export interface BatchNormAttributes extends Statistics {
  readonly eps: number;
  /** Whether the statistics are those of x itself, so that the gradient goes through them. */
  readonly ofBatch: boolean;
}

/**
 * y = gamma (x - mean) / sqrt(variance + eps) + beta, per channel.
 *
 * With r = 1/sqrt(variance + eps), n rows, S = sum dy, Q = sum dy (x - mean):
 *
 *   dbeta = S,  dgamma = r Q
 *   dx = gamma r dy                                                          statistics given
 *   dx = gamma r (dy - S/n - (x - mean) r^2 Q/n)                             statistics of the batch
 */
export const batchNorm = defineOp<[x: Tensor, gamma: Tensor, beta: Tensor], BatchNormAttributes>({
  name: "batchNorm",
  reads: { inputs: [0, 1] },
  again: true,
  shape: ([x, gamma, beta]) => {
    const C = lastAxis(x.shape);
    if (gamma.size !== C || beta.size !== C) {
      throw new Error(`batchNorm: x ${show(x.shape)} expects gamma and beta [${C}], got ${show(gamma.shape)} and ${show(beta.shape)}`);
    }
    return x.shape;
  },
  forward: (k, [x, gamma, beta], y, { mean, variance, eps }) => {
    const C = lastAxis(x.shape), scale = scratch([C]), shift = scratch([C]);
    k.f32_norm_affine(C, gamma.ptr, beta.ptr, mean.ptr, variance.ptr, eps, scale.ptr, shift.ptr);
    k.f32_affine_row(rowsOf(x.shape), x.ptr, scale.ptr, shift.ptr, y.ptr, C);
  },
  backward: (dy, [x, gamma, beta], { attributes: { mean, variance, eps, ofBatch }, needs }) => {
    const { kernels: k, memory, bytes } = host();
    const C = lastAxis(x.shape), n = rowsOf(x.shape), blocks = Math.ceil(n / ROWS);
    const dgamma = gradientOf(gamma), dbeta = gradientOf(beta);
    const sums = memory.workspace(blocks * C * bytes), dots = memory.workspace(blocks * C * bytes);
    k.f32_column_dots(blocks, x.ptr, mean.ptr, dy.ptr, sums, dots, n, C);
    k.f32_combine_columns(C, sums, dbeta.ptr, blocks, C, 1);
    k.f32_combine_columns(C, dots, dgamma.ptr, blocks, C, 1); // Q; scaled to r Q below
    const a = scratch([C]), b = scratch([C]), k0 = scratch([C]);
    k.f32_norm_coefficients(C, gamma.ptr, mean.ptr, variance.ptr, eps, dbeta.ptr, dgamma.ptr, ofBatch ? n : 0, a.ptr, b.ptr, k0.ptr);
    if (!needs[0]) return [undefined, dgamma, dbeta];
    const dx = empty(x.shape);
    k.f32_norm_backward(n, x.ptr, dy.ptr, a.ptr, b.ptr, k0.ptr, dx.ptr, C);
    return [dx, dgamma, dbeta];
  },
});

/** y[..., c] = x[..., c] * row[c]      dx = dy * row,  drow = sum over rows of dy * x */
export const mulRow: Binary = defineOp<[x: Tensor, row: Tensor]>({
  name: "mulRow",
  reads: { inputs: [0, 1] },
  shape: ([x, row]) => {
    if (row.size !== lastAxis(x.shape)) throw new Error(`mulRow: x ${show(x.shape)} expects a row of ${lastAxis(x.shape)}, got ${show(row.shape)}`);
    return x.shape;
  },
  forward: (k, [x, row], y) => k.f32_mul_row(rowsOf(x.shape), x.ptr, row.ptr, y.ptr, row.size),
  backward: (dy, [x, row], { needs }) => {
    const { kernels: k, memory, bytes } = host();
    const C = row.size, rows = rowsOf(x.shape), blocks = Math.ceil(rows / ROWS);
    const drow = needs[1] ? empty(row.shape) : undefined;
    if (drow) {
      const sums = memory.workspace(blocks * C * bytes), dots = memory.workspace(blocks * C * bytes), zero = memory.workspace(C * bytes);
      k.f32_fill(C, zero, 0);
      k.f32_column_dots(blocks, x.ptr, zero, dy.ptr, sums, dots, rows, C);
      k.f32_combine_columns(C, dots, drow.ptr, blocks, C, 1);
    }
    return [needs[0] ? mulRow(dy, row) : undefined, drow];
  },
});
