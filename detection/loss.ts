/**
 * The detection loss of the reference trainer: which anchors answer for which object is decided by task-aligned assignment
 * (Feng et al., arXiv:2108.07755), then
 *
 *   box    sum w (1 - CIoU) / S                           w: target score of an anchor, S = max(sum of target scores, 1)
 *   dfl    sum w mean over sides of DFL / S
 *   class  sum BCE(logits, target scores) / S             over all anchors and classes
 *   total  (7.5 box + 0.5 class + 1.5 dfl) * B
 */
import {
  add, bceWithLogits, ciou, distributionFocal, gatherRows, mul, mulRow, noGrad, reshape, scale, show, sigmoid, sub, sum, tensor, type Tensor,
} from "../engine/index.ts";
import { assign, type Assignment } from "./assigner.ts";
import { bbox2dist, dist2bbox, makeAnchors, xywhToXyxy, type Anchors } from "./boxes.ts";
import { BINS, sideDistances, type Prediction } from "./head.ts";

/** Objects of a batch in columns; boxes are centre x, centre y, width, height over the sides of the image. */
export interface BoxTargets {
  /** Which image of the batch: [n] */
  readonly image: Int32Array;
  readonly class: Int32Array;
  /** [n, 4], 0..1 */
  readonly xywh: Float32Array | Float64Array;
}

export interface LossGains { readonly box: number; readonly classes: number; readonly dfl: number }
export const lossGains: LossGains = { box: 7.5, classes: 0.5, dfl: 1.5 };

export interface DetectionLoss {
  /** Scalar to go backward from: the sum of the parts times the batch size. */
  readonly total: Tensor;
  /** The parts with their gains, per image. */
  readonly box: number;
  readonly classes: number;
  readonly dfl: number;
  /** How many anchors answer for an object. */
  readonly positives: number;
}

/** Loss of the raw predictions of a batch against its objects. */
export function detectionLoss(prediction: Prediction, boxes: BoxTargets, gains: LossGains = lossGains): DetectionLoss {
  const [B, A, classes] = prediction.classes.shape;
  const anchors = makeAnchors(prediction.levels, prediction.strides);
  const assignment = assignObjects(prediction, boxes, anchors);
  const { position, score } = assignment, n = position.length;
  const S = Math.max(score.reduce((total, w) => total + w, 0), 1);

  const targets = new Float64Array(B * A * classes);
  for (let i = 0; i < n; i++) targets[position[i] * classes + assignment.class[i]] = score[i];
  const classLoss = scale(sum(bceWithLogits(prediction.classes, tensor(targets, [B, A, classes]))), { by: gains.classes / S });
  if (n === 0) return { total: scale(classLoss, { by: B }), box: 0, classes: classLoss.item(), dfl: 0, positives: 0 };

  // positives only, in cells of their level
  const logits = gatherRows(reshape(prediction.box, [B * A, 4 * BINS]), { index: position });                        // [n, 4 bins]
  const points = new Float64Array(2 * n), wanted = new Float64Array(4 * n);
  for (let i = 0; i < n; i++) {
    const a = position[i] % A;
    for (let j = 0; j < 2; j++) points[2 * i + j] = anchors.points[2 * a + j];
    for (let j = 0; j < 4; j++) wanted[4 * i + j] = assignment.xyxy[4 * i + j] / anchors.strides[a];
  }
  const corners = tensor(Float64Array.from({ length: 4 * n }, (_, k) => points[2 * (k >> 2) + (k & 1)]), [n, 4]);
  const found = add(mulRow(sideDistances(logits), tensor([-1, -1, 1, 1])), corners);                                 // [n, 4] xyxy
  const w = tensor(score, [n]);
  const overlap = ciou(found, tensor(wanted, [n, 4]));                                                               // [n]
  const boxLoss = scale(sub(sum(w), sum(mul(overlap, w))), { by: gains.box / S });

  const sides = distributionFocal(reshape(logits, [4 * n, BINS]), tensor(bbox2dist(wanted, points, BINS), [4 * n])); // [4n]
  const sideWeights = tensor(Float64Array.from({ length: 4 * n }, (_, k) => score[k >> 2]), [4 * n]);
  const dflLoss = scale(sum(mul(sides, sideWeights)), { by: gains.dfl / (4 * S) });

  const total = scale(add(add(boxLoss, classLoss), dflLoss), { by: B });
  return { total, box: boxLoss.item(), classes: classLoss.item(), dfl: dflLoss.item(), positives: n };
}

/** Runs the assigner on what the network predicts now. No gradient goes through it. */
function assignObjects(prediction: Prediction, { image, class: classOf, xywh }: BoxTargets, anchors: Anchors): Assignment {
  const [B, A, classes] = prediction.classes.shape, { levels, strides } = prediction;
  if (xywh.length !== 4 * image.length || classOf.length !== image.length) {
    throw new Error(`detectionLoss: expected one class and one box per object, got ${image.length} objects, ${classOf.length} classes, boxes [${xywh.length / 4}, 4]`);
  }
  const wrong = classOf.findIndex((c) => !(c >= 0 && c < classes));
  if (wrong >= 0) throw new Error(`detectionLoss: object ${wrong} has class ${classOf[wrong]}, the model has ${classes} classes ${show([B, A, classes])}`);
  return noGrad(() => {
    const scores = sigmoid(prediction.classes);
    const boxes = dist2bbox(sideDistances(prediction.box).data, anchors.points, "xyxy");
    for (let k = 0; k < boxes.length; k++) boxes[k] *= anchors.strides[(k >> 2) % A];
    const points = anchors.points.map((p, k) => p * anchors.strides[k >> 1]);
    const height = levels[0][0] * strides[0], width = levels[0][1] * strides[0];
    const xyxy = xywhToXyxy(Float64Array.from(xywh, (value, k) => value * (k & 1 ? height : width)));
    return assign({ scores: scores.data, boxes, points, classes }, { image, class: classOf, xyxy });
  });
}
