/** What SNN-YOLOv3's heads mean: decoded boxes, anchors and losses, overlaps, suppression; and its schedule and optimiser. */
import { backward, giou, Parameter, tensor, type Tensor } from "../../engine/index.ts";
import { anchorLoss, assignAnchors } from "../../detection/anchor-loss.ts";
import { decodeAnchors, scoredBoxes, type AnchorBox, type AnchorPrediction } from "../../detection/anchor-head.ts";
import { overlap, xywhToXyxy } from "../../detection/boxes.ts";
import type { BoxTargets } from "../../detection/loss.ts";
import { nonMaxSuppression } from "../../detection/nms.ts";
import { SGD } from "../../nn/optimizers.ts";
import { schedule } from "../../nn/schedules.ts";
import type { Check, OracleCase, Player, Recorded, Tolerance } from "./play.ts";

export const tolerance = ({ abs = 0, rel = 0 }: { abs?: number; rel?: number }): Tolerance => ({ atol: abs, rtol: rel });

/** [N, A, h, w, row] -> [N, h, w, A * row] and back. */
export function placesLast({ shape: [N, A, h, w, row], data }: Recorded): { shape: number[]; data: Float64Array } {
  const out = new Float64Array(data.length);
  let i = 0;
  for (let n = 0; n < N; n++) for (let a = 0; a < A; a++) for (let p = 0; p < h * w; p++) for (let k = 0; k < row; k++) out[((n * h * w + p) * A + a) * row + k] = data[i++];
  return { shape: [N, h, w, A * row], data: out };
}
export function placesFirst([N, h, w, channels]: readonly number[], data: ArrayLike<number>, A: number): Float64Array {
  const out = new Float64Array(data.length), row = channels / A;
  let i = 0;
  for (let n = 0; n < N; n++) for (let p = 0; p < h * w; p++) for (let a = 0; a < A; a++) for (let k = 0; k < row; k++) out[((n * A + a) * h * w + p) * row + k] = data[i++];
  return out;
}

/** Heads in the order of their anchors. */
export const anchorsOf = ({ anchors, masks }: OracleCase["params"]): AnchorBox[][] => (masks as number[][]).map((mask) => mask.map((i) => anchors[i] as AnchorBox));

/** Rows image, class, x, y, w, h. */
export function targetsOf({ shape: [n], data }: Recorded): BoxTargets {
  const column = (k: number): number[] => Array.from({ length: n }, (_, i) => data[6 * i + k]);
  return { image: Int32Array.from(column(0)), class: Int32Array.from(column(1)), xywh: Float64Array.from({ length: 4 * n }, (_, k) => data[6 * (k >> 2) + 2 + (k & 3)]) };
}

const decode: Player = { places: ["reference64", "best"], play: (c, check) => {
  const { nc: classes, strides } = c.params, anchors = anchorsOf(c.params), wanted = [0, 1, 2].map((k) => c.tensor(`decoded${k}`));
  wanted.forEach((want, k) => {
    const { shape: [N, C, h, w], data } = c.tensor(`conv_out${k}`), { shape, data: last } = placesLast({ shape: [N, C, 1, h * w, 1], data, integer: false });
    const prediction: AnchorPrediction = { heads: [tensor(last, [shape[0], h, w, C])], strides: [strides[k]], anchors: [anchors[k]], classes };
    check.close(`decoded${k}`, decodeAnchors(prediction).data, want, tolerance(c.record.tolerance));
  });
} };

const loss: Player = { places: ["reference64", "reference", "best"], play: (c, check) => {
  const { nc: classes, strides, hyp, gr } = c.params, anchors = anchorsOf(c.params), targets = targetsOf(c.tensor("targets"));
  for (const kind of ["plain", "repo"]) {
    const heads = [0, 1, 2].map((k) => { const { shape, data } = placesLast(c.tensor(`p${k}`)); return tensor(data, shape, { requiresGrad: true }); });
    const prediction: AnchorPrediction = { heads, strides, anchors, classes };
    const found = anchorLoss(prediction, targets, { box: hyp.giou, objectness: hyp.obj, classes: hyp.cls, gr, leastIoU: hyp.iou_t, squared: kind === "repo" });
    const wanted = c.tensor(`${kind}_loss_box_obj_cls`).data, relative = c.record.tolerance.loss.rel;
    [found.box, found.objectness, found.classes].forEach((part, i) => check.within(`${kind} loss ${i}`, [part], [wanted[i]], relative * Math.abs(wanted[i])));
    backward(found.total);
    heads.forEach((head, k) => check.close(`${kind}_grad_p${k}`, placesFirst(head.shape, head.grad!.data, anchors[k].length), c.tensor(`${kind}_grad_p${k}`), { rtol: 2e-5, atol: 0 }));
    if (kind === "plain") compareAssignment(c, check, prediction, targets);
    found.targets.forEach((target, k) => check.close(`tobj${k}`, placesFirst([...heads[k].shape.slice(0, 3), anchors[k].length], target, anchors[k].length), c.tensor(`tobj${k}`), { rtol: 0, atol: 1e-5 }));
  }
} };

function compareAssignment(c: OracleCase, check: Check, prediction: AnchorPrediction, targets: BoxTargets): void {
  assignAnchors(prediction, targets, c.params["hyp"].iou_t).forEach((found, k) => {
    check.equal(`index${k}`, Array.from(found.image, (image, i) => [image, found.anchor[i], found.row[i], found.column[i]]).flat(), c.tensor(`index${k}`).data);
    check.equal(`tcls${k}`, found.class, c.tensor(`tcls${k}`).data);
    check.close(`tbox${k}`, found.box, c.tensor(`tbox${k}`), tolerance(c.record.tolerance.tbox));
    check.close(`anchor${k}`, found.size, c.tensor(`anchor${k}`), tolerance(c.record.tolerance.tbox));
  });
}

/** Rows in which edges coincide, where subgradients differ. */
const TIED = [0, 1, 4];

const family: Player = { places: ["reference64", "best"], play: (c, check) => {
  const a = xywhToXyxy(Float64Array.from(c.tensor("box1").data)), b = xywhToXyxy(Float64Array.from(c.tensor("box2").data)), n = a.length / 4, { abs, grad } = c.record.tolerance;
  for (const name of ["IoU", "GIoU", "DIoU", "CIoU"] as const) {
    const kind = name.toLowerCase() as "iou" | "giou" | "diou" | "ciou";
    check.close(name, Array.from({ length: n }, (_, i) => overlap(kind, a, i, b, i, c.params["eps"])), c.tensor(name), { rtol: 0, atol: abs });
  }
  // a move of the centre moves both corners, one of the width moves them apart
  const box1 = tensor(a, [n, 4], { requiresGrad: true }), box2 = tensor(b, [n, 4]), value = giou(box1, box2);
  check.close("GIoU by the op", value.data, c.tensor("GIoU"), { rtol: 0, atol: abs });
  backward(value, [tensor(new Float64Array(n).fill(1))]);
  compareGradient(check, "GIoU", box1, c.tensor("GIoU_grad_box1"), grad.abs);
} };

function compareGradient(check: Check, name: string, corners: Tensor, want: Recorded, abs: number): void {
  const d = corners.grad!.data;
  const got = Float64Array.from(d, (_, k) => { const at = k - (k & 3), axis = k & 1, low = d[at + axis], high = d[at + 2 + axis]; return (k & 3) < 2 ? low + high : (high - low) / 2; });
  for (let row = 0; row < got.length / 4; row++) if (!TIED.includes(row)) check.within(`${name} gradient, row ${row}`, got.subarray(4 * row, 4 * row + 4), Array.from(want.data).slice(4 * row, 4 * row + 4), abs);
}

const suppression: Player = { places: ["reference64", "reference"], play: (c, check) => {
  const { conf_thres: confidence, iou_thres: iou, max_num: maxDetections } = c.params, { shape, data } = c.tensor("pred");
  const scored = scoredBoxes(tensor(data, shape));
  for (const [name, multiLabel] of [["single", false], ["multi", true]] as const) {
    nonMaxSuppression(scored.data, scored.shape as [number, number, number], { confidence, iou, multiLabel, maxDetections }).forEach((found, image) => {
      const want = c.tensor(`out${image}_${name}`), column = (from: number, to: number): number[] => Array.from({ length: want.shape[0] }, (_, row) => Array.from(want.data).slice(6 * row + from, 6 * row + to)).flat();
      check.within(`out${image}_${name} boxes`, found.flatMap(({ x1, y1, x2, y2 }) => [x1, y1, x2, y2]), column(0, 4), 2e-3);
      check.within(`out${image}_${name} scores`, found.map(({ score }) => score), column(4, 5), 1e-6);
      check.equal(`out${image}_${name} classes`, found.map((d) => d.class), column(5, 6));
    });
  }
} };

/** Nothing but a cosine: one batch in an epoch, no warm-up. */
const cosine = { warmupEpochs: 0, warmupMomentum: 0, warmupBiasLr: 0, nbs: 1, batch: 1, cosine: true, minWarmupIterations: 0, oneEpochLate: false };

const descent: Player = { places: ["reference64"], play: (c, check) => {
  const { epochs, lrf, lr0 } = c.params, grads = c.tensor("grads"), [steps, n] = grads.shape;
  for (const [name, momentum, weightDecay, nesterov] of [["repo", 0.937, 5e-4, true], ["paper", 0.9, 5e-3, false]] as const) {
    const w = new Parameter([n], "weight", c.tensor("w0").data), plan = schedule({ ...cosine, lr0, lrf, epochs, momentum, weightDecay }, 1), weights: number[] = [], rates: number[] = [];
    const optimizer = new SGD([w], { lr: lr0, momentum, nesterov, weightDecay: plan.weightDecay });
    for (let step = 0; step < steps; step++) {
      w.accumulate(tensor(Array.from(grads.data).slice(n * step, n * step + n)));
      optimizer.rates = plan.at(step, 0).rates;
      rates.push(optimizer.rates.weight);
      optimizer.step();
      weights.push(...w.data);
    }
    check.close(`${name}_lr`, rates, c.tensor(`${name}_lr`), tolerance(c.record.tolerance));
    check.close(`${name}_w`, weights, c.tensor(`${name}_w`), tolerance(c.record.tolerance));
  }
} };

const warmup: Player = { places: [], play: (c, check) => {
  const { n, lr0 } = c.params, want = c.tensor("lr"), batches = want.data.length;
  const plan = schedule({ ...cosine, lr0, lrf: 1, epochs: 1, momentum: 0, weightDecay: 0, warmupEpochs: n / batches, warmupFrom: 1e-3, warmupBiasLr: 1e-3 * lr0 }, batches);
  for (const role of ["weight", "bias", "norm"] as const) {
    check.close(role, Array.from({ length: batches }, (_, k) => plan.at(0, k).rates[role]), want, tolerance(c.record.tolerance));
  }
} };

export const snnYolov3HeadPlayers: ReadonlyMap<string, Player> = new Map([
  ["yolov3_decode", decode], ["yolov3_loss", loss], ["iou_family", family], ["yolov3_nms", suppression], ["sgd_cosine", descent], ["warmup", warmup],
]);
