/** What losses are made of. Rows are [n, bins] or boxes [n, 4]. */
import { host } from "../host.ts";
import { defineOp } from "../op.ts";
import { lastAxis, rowsOf, sameShape, show } from "../shape.ts";
import { empty, type Tensor } from "../tensor.ts";

/** y = softmax over the last axis      dx = y (dy - <dy, y>) */
export const softmax = defineOp<[x: Tensor]>({
  name: "softmax",
  reads: { output: true },
  shape: ([x]) => x.shape,
  forward: (k, [x], y) => k.f32_softmax(rowsOf(x.shape), x.ptr, y.ptr, lastAxis(x.shape)),
  backward: (dy, _, { output: y }) => {
    const dx = empty(y.shape);
    host().kernels.f32_softmax_backward(rowsOf(y.shape), y.ptr, dy.ptr, dx.ptr, lastAxis(y.shape));
    return [dx];
  },
});

/** y = sum_j j p[j], p = softmax(x): the distance that a DFL side stands for, [n, bins] -> [n] */
export const expectation = defineOp<[x: Tensor]>({
  name: "expectation",
  reads: { inputs: [0], output: true },
  shape: ([x]) => x.shape.slice(0, -1),
  forward: (k, [x], y) => k.f32_expectation(y.size, x.ptr, y.ptr, lastAxis(x.shape)),
  backward: (dy, [x], { output: y }) => {
    const dx = empty(x.shape);
    host().kernels.f32_expectation_backward(y.size, x.ptr, y.ptr, dy.ptr, dx.ptr, lastAxis(x.shape));
    return [dx];
  },
});

/** Binary cross entropy of logits, per element: max(x, 0) - x target + log(1 + exp(-|x|))      dx = dy (sigmoid(x) - target); none for the target */
export const bceWithLogits = defineOp<[x: Tensor, target: Tensor]>({
  name: "bceWithLogits",
  reads: { inputs: [0, 1] },
  shape: ([x, target]) => sameShape("bceWithLogits", x, target),
  forward: (k, [x, target], y) => k.f32_bce_with_logits(y.size, x.ptr, target.ptr, y.ptr),
  backward: (dy, [x, target]) => {
    const dx = empty(x.shape);
    host().kernels.f32_bce_with_logits_backward(x.size, x.ptr, target.ptr, dy.ptr, dx.ptr);
    return [dx, undefined];
  },
});

/**
 * Distribution focal loss of one side per row (Li et al., arXiv:2006.04388, eq. 6): the cross entropy of p = softmax(x) with the two
 * bins beside target, weighted by nearness.  x [n, bins], target [n] in [0, bins - 1) -> [n]. No gradient for the target.
 */
export const distributionFocal = defineOp<[x: Tensor, target: Tensor]>({
  name: "distributionFocal",
  reads: { inputs: [0, 1] },
  shape: ([x, target]) => {
    if (target.size !== rowsOf(x.shape)) throw new Error(`distributionFocal: x ${show(x.shape)} expects ${rowsOf(x.shape)} targets, got ${show(target.shape)}`);
    return x.shape.slice(0, -1);
  },
  forward: (k, [x, target], y) => k.f32_dfl(y.size, x.ptr, target.ptr, y.ptr, lastAxis(x.shape)),
  backward: (dy, [x, target]) => {
    const dx = empty(x.shape);
    host().kernels.f32_dfl_backward(dy.size, x.ptr, target.ptr, dy.ptr, dx.ptr, lastAxis(x.shape));
    return [dx, undefined];
  },
});

/** Complete IoU (Zheng et al., arXiv:1911.08287) of boxes [n, 4] as corners x1, y1, x2, y2 -> [n]. alpha is constant in the gradient. */
export const ciou = defineOp<[a: Tensor, b: Tensor]>({
  name: "ciou",
  reads: { inputs: [0, 1] },
  shape: ([a, b]) => {
    if (lastAxis(sameShape("ciou", a, b)) !== 4) throw new Error(`ciou: expected boxes [n, 4], got ${show(a.shape)}`);
    return a.shape.slice(0, -1);
  },
  forward: (k, [a, b], y) => k.f32_ciou(y.size, a.ptr, b.ptr, y.ptr),
  backward: (dy, [a, b], { needs }) => {
    const da = needs[0] ? empty(a.shape) : undefined, db = needs[1] ? empty(b.shape) : undefined;
    host().kernels.f32_ciou_backward(dy.size, a.ptr, b.ptr, dy.ptr, da?.ptr ?? 0, db?.ptr ?? 0);
    return [da, db];
  },
});

/** Generalised IoU (Rezatofighi et al., arXiv:1902.09630) of boxes [n, 4] as corners x1, y1, x2, y2 -> [n]. */
export const giou = defineOp<[a: Tensor, b: Tensor]>({
  name: "giou",
  reads: { inputs: [0, 1] },
  shape: ([a, b]) => {
    if (lastAxis(sameShape("giou", a, b)) !== 4) throw new Error(`giou: expected boxes [n, 4], got ${show(a.shape)}`);
    return a.shape.slice(0, -1);
  },
  forward: (k, [a, b], y) => k.f32_giou(y.size, a.ptr, b.ptr, y.ptr),
  backward: (dy, [a, b], { needs }) => {
    const da = needs[0] ? empty(a.shape) : undefined, db = needs[1] ? empty(b.shape) : undefined;
    host().kernels.f32_giou_backward(dy.size, a.ptr, b.ptr, dy.ptr, da?.ptr ?? 0, db?.ptr ?? 0);
    return [da, db];
  },
});
