/**
 * Matrix products over the last axes, on the dense micro-kernel of 1x1 convolutions.
 *
 *   linear   y = x w^T + bias     dx = dy w,     dw = dy^T x,   dbias = sum over rows of dy
 *   matmul   y = a b              da = dy b^T,   db = a^T dy
 */
import { host } from "../host.ts";
import { defineOp } from "../op.ts";
import { equalShapes, lastAxis, rowsOf, show, type Shape } from "../shape.ts";
import { empty, gradientOf, type Tensor } from "../tensor.ts";

/** y = x weight^T + bias: x [..., in], weight [out, in], bias [out] -> [..., out] */
export const linearOp = defineOp<[x: Tensor, weight: Tensor, bias: Tensor | undefined]>({
  name: "linear",
  shape: ([x, weight, bias]) => {
    const [out, features] = weight.shape;
    if (weight.shape.length !== 2) throw new Error(`linear: expected a weight [out, in], got ${show(weight.shape)} for x ${show(x.shape)}`);
    if (x.shape.length === 0 || lastAxis(x.shape) !== features) throw new Error(`linear: weight ${show(weight.shape)} expects x [..., ${features}], got ${show(x.shape)}`);
    if (bias && !equalShapes(bias.shape, [out])) throw new Error(`linear: weight ${show(weight.shape)} expects a bias of [${out}], got ${show(bias.shape)}`);
    return [...x.shape.slice(0, -1), out];
  },
  forward: (_, [x, weight, bias], y) => {
    const [out, features] = weight.shape;
    timesTransposed(x.ptr, weight.ptr, y.ptr, rowsOf(x.shape), features, out, bias?.ptr);
  },
  backward: (dy, [x, weight, bias], { needs }) => {
    const [out, features] = weight.shape, rows = rowsOf(x.shape);
    const dx = needs[0] ? empty(x.shape) : undefined, dw = needs[1] ? gradientOf(weight) : undefined, db = needs[2] ? gradientOf(bias!) : undefined;
    if (dx) times(dy.ptr, weight.ptr, dx.ptr, rows, out, features);
    if (dw) transposedTimes(dy.ptr, x.ptr, dw.ptr, rows, out, features);
    if (db) columnSums(dy.ptr, db.ptr, rows, out);
    return [dx, dw, db];
  },
});

/** y = x weight^T + bias on the last axis: x [..., in], weight [out, in], bias [out] -> [..., out]. Throws where shapes disagree. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor { return linearOp(x, weight, bias); }

/** Matrix product: a [..., M, K], b [..., K, N] -> [..., M, N]. Leading axes are equal, or b has none and serves all of a's. Throws where shapes disagree. */
export const matmul = defineOp<[a: Tensor, b: Tensor]>({
  name: "matmul",
  shape: ([a, b]) => {
    const lead = a.shape.slice(0, -2), [M, K] = a.shape.slice(-2), [rows, N] = b.shape.slice(-2), leadOfB = b.shape.slice(0, -2);
    const got = `got ${show(a.shape)} and ${show(b.shape)}`;
    if (N === undefined || K === undefined || rows !== K) throw new Error(`matmul: expected [..., M, K] and [..., K, N], ${got}`);
    if (leadOfB.length && !equalShapes(leadOfB, lead)) throw new Error(`matmul: expected equal leading axes, or none on the right, ${got}`);
    return [...lead, M, N];
  },
  forward: (_, [a, b], y) => eachMatrix(a.shape, b.shape, ({ M, K, N, A, B, Y }) => times(a.ptr + A, b.ptr + B, y.ptr + Y, M, K, N)),
  backward: (dy, [a, b], { needs }) => {
    const da = needs[0] ? empty(a.shape) : undefined, db = needs[1] ? empty(b.shape) : undefined;
    eachMatrix(a.shape, b.shape, ({ M, K, N, A, B, Y }) => {
      if (da) timesTransposed(dy.ptr + Y, b.ptr + B, da.ptr + A, M, N, K);
      if (db) transposedTimes(a.ptr + A, dy.ptr + Y, db.ptr + B, M, K, N);
    });
    return [da, db];
  },
});

/** One product of a batch: its sizes, and where its matrices begin, in bytes. */
interface Product { M: number; K: number; N: number; A: number; B: number; Y: number }

/** The products that a [..., M, K] and b [..., K, N] stand for. Where b is one matrix, the rows of all of a are one product. */
function eachMatrix(a: Shape, b: Shape, run: (product: Product) => void): void {
  const { memory, bytes } = host();
  const [K, N] = b.slice(-2), count = rowsOf(b) / K, M = rowsOf(a) / count;
  for (let i = 0; i < count; i++) memory.withWorkspace(() => run({ M, K, N, A: i * M * K * bytes, B: i * K * N * bytes, Y: i * M * N * bytes }));
}

// ── products of matrices by address; all are row-major and dense ────────────────────────────────────────────────────

const panels = (columns: number): number => Math.ceil(columns / 8);

/** y [M, N] = a [M, K] b [K, N] */
function times(a: number, b: number, y: number, M: number, K: number, N: number): void {
  const { kernels: k, memory, bytes } = host();
  const packed = memory.workspace(panels(N) * 8 * K * bytes);
  k.conv_pack_transposed(panels(N), b, packed, K, 1, N);
  k.f32_gemm(M, a, K, K, packed, 0, y, N, N);
}

/** y [M, N] = a [M, K] (b [N, K])^T + bias [N] */
function timesTransposed(a: number, b: number, y: number, M: number, K: number, N: number, bias = 0): void {
  const { kernels: k, memory, bytes } = host();
  const packed = memory.workspace(panels(N) * 8 * K * bytes);
  k.conv_pack(panels(N), b, packed, N, 1, K, 0);
  k.f32_gemm(M, a, K, K, packed, bias, y, N, N);
}

/** y [K, N] = (a [M, K])^T b [M, N] */
function transposedTimes(a: number, b: number, y: number, M: number, K: number, N: number): void {
  host().kernels.f32_conv_weight_grad(K, a, K, 0, M, K, b, N, N, y);
}

/** y[j] = sum over rows of x[row][j] */
export function columnSums(x: number, y: number, rows: number, columns: number): void {
  const { kernels: k, memory, bytes } = host();
  const blocks = Math.ceil(rows / 256), partial = memory.workspace(blocks * columns * bytes);
  k.f32_column_sums(blocks, x, partial, rows, columns, columns);
  k.f32_combine_columns(columns, partial, y, blocks, columns, 1);
}
