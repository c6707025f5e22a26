/** Losses and their gradients. */
import { atan, exp, log, log1p } from "../elementary.ts";
import type { Machine, RealArray } from "./machine.ts";

const EPS = 1e-7, PI_SQUARED = Math.PI * Math.PI; // of CIoU

/** 1 where a < b, 0 where a > b, and one half to each of two equals, as PyTorch shares the gradient of a minimum. */
const share = (a: number, b: number): number => (a < b ? 1 : a > b ? 0 : 0.5);

/**
 * CIoU = IoU - rho2/c2 - alpha*v, v = 4/pi^2 * (atan(w2/h2) - atan(w1/h1))^2, alpha = v / (v - IoU + 1 + eps), and its gradients times dy,
 * alpha held constant. Always in float64.
 */
function ciou(a: ArrayLike<number>, b: ArrayLike<number>, dy: number): { value: number; da: number[]; db: number[] } {
  const [ax1, ay1, ax2, ay2] = [a[0], a[1], a[2], a[3]], [bx1, by1, bx2, by2] = [b[0], b[1], b[2], b[3]];
  const w1 = ax2 - ax1, h1 = ay2 - ay1 + EPS, w2 = bx2 - bx1, h2 = by2 - by1 + EPS;
  const overlapX = Math.min(ax2, bx2) - Math.max(ax1, bx1), overlapY = Math.min(ay2, by2) - Math.max(ay1, by1);
  const iw = Math.max(overlapX, 0), ih = Math.max(overlapY, 0);
  const inter = iw * ih, union = w1 * h1 + w2 * h2 - inter + EPS, iou = inter / union;
  const cw = Math.max(ax2, bx2) - Math.min(ax1, bx1), ch = Math.max(ay2, by2) - Math.min(ay1, by1), c2 = cw * cw + ch * ch + EPS;
  const sx = bx1 + bx2 - ax1 - ax2, sy = by1 + by2 - ay1 - ay2, rho2 = (sx * sx + sy * sy) / 4;
  const angle = atan(w2 / h2) - atan(w1 / h1), v = (4 / PI_SQUARED) * (angle * angle);
  const alpha = v / (v - iou + (1 + EPS));

  const dinter = dy * (1 / union + inter / (union * union)), dareas = (-dy * inter) / (union * union);
  const dangle = ((-dy * alpha * 8) / PI_SQUARED) * angle, drho2 = -dy / c2, dc2 = (dy * rho2) / (c2 * c2);
  const turn1 = dangle / (w1 * w1 + h1 * h1), turn2 = dangle / (w2 * w2 + h2 * h2); // d atan(w/h) = (h dw - w dh) / (w^2 + h^2)
  const diw = overlapX >= 0 ? dinter * ih : 0, dih = overlapY >= 0 ? dinter * iw : 0;
  const x = axis(ax1, ax2, bx1, bx2, dareas * h1 - turn1 * h1, dareas * h2 + turn2 * h2, diw, dc2 * 2 * cw, (drho2 * sx) / 2);
  const y = axis(ay1, ay2, by1, by2, dareas * w1 + turn1 * w1, dareas * w2 - turn2 * w2, dih, dc2 * 2 * ch, (drho2 * sy) / 2);
  return { value: iou - (rho2 / c2 + v * alpha), da: [x[0], y[0], x[1], y[1]], db: [x[2], y[2], x[3], y[3]] };
}

/** GIoU = I/U - (H - U)/H of one pair (arXiv:1902.09630) and dy times its gradients; U and H + 1e-16. Always in float64. */
function giou(a: ArrayLike<number>, b: ArrayLike<number>, dy: number): { value: number; da: number[]; db: number[] } {
  const [ax1, ay1, ax2, ay2] = [a[0], a[1], a[2], a[3]], [bx1, by1, bx2, by2] = [b[0], b[1], b[2], b[3]];
  const w1 = ax2 - ax1, h1 = ay2 - ay1, w2 = bx2 - bx1, h2 = by2 - by1;
  const overlapX = Math.min(ax2, bx2) - Math.max(ax1, bx1), overlapY = Math.min(ay2, by2) - Math.max(ay1, by1);
  const iw = Math.max(overlapX, 0), ih = Math.max(overlapY, 0), inter = iw * ih, union = w1 * h1 + w2 * h2 - inter + 1e-16;
  const cw = Math.max(ax2, bx2) - Math.min(ax1, bx1), ch = Math.max(ay2, by2) - Math.min(ay1, by1), hull = cw * ch + 1e-16;
  const dunion = dy * (1 / hull - inter / (union * union)), dinter = dy / union - dunion, dhull = (-dy * union) / (hull * hull);
  const diw = overlapX >= 0 ? dinter * ih : 0, dih = overlapY >= 0 ? dinter * iw : 0;
  const x = axis(ax1, ax2, bx1, bx2, dunion * h1, dunion * h2, diw, dhull * ch, 0);
  const y = axis(ay1, ay2, by1, by2, dunion * w1, dunion * w2, dih, dhull * cw, 0);
  return { value: inter / union - (hull - union) / hull, da: [x[0], y[0], x[1], y[1]], db: [x[2], y[2], x[3], y[3]] };
}

/** Along one axis: from the gradients of both sizes, the overlap, the enclosing size and the distance of centres to those of [low1, high1, low2, high2]. */
function axis(low1: number, high1: number, low2: number, high2: number, dsize1: number, dsize2: number, doverlap: number, denclosing: number, dcentre: number): number[] {
  const high = share(high1, high2), low = share(low2, low1); // the share of box 1 in min(high), in max(low)
  return [
    -dsize1 - doverlap * low - denclosing * (1 - low) - dcentre,
    dsize1 + doverlap * high + denclosing * (1 - high) - dcentre,
    -dsize2 - doverlap * (1 - low) - denclosing * low + dcentre,
    dsize2 + doverlap * (1 - high) + denclosing * high + dcentre,
  ];
}

export const loss = ({ real, round }: Machine) => {
  /** exp(x - max) of one row, and the sum of it */
  const exponentials = (X: RealArray, row: number, bins: number): { e: number[]; total: number; most: number } => {
    const x = Array.from(X.subarray(row * bins, (row + 1) * bins)), most = x.reduce((a, b) => Math.max(a, b), -Infinity);
    const e = x.map((xj) => round(exp(round(xj - most))));
    return { e, total: e.reduce((a, b) => round(a + b), 0), most };
  };

  const sigmoid = (x: number): number => round(1 / round(1 + round(exp(-x))));

  /** floor(t), kept where l and l + 1 are both bins */
  const lowerBin = (t: number, bins: number): number => Math.max(0, Math.min(bins - 2, Math.floor(t))) || 0;

  return {
    f32_softmax(begin: number, end: number, x: number, y: number, bins: number): void {
      const X = real(x), Y = real(y);
      for (let row = begin; row < end; row++) {
        const { e, total } = exponentials(X, row, bins);
        for (let j = 0; j < bins; j++) Y[row * bins + j] = e[j] / total;
      }
    },

    f32_softmax_backward(begin: number, end: number, y: number, dy: number, dx: number, bins: number): void {
      const Y = real(y), dY = real(dy), dX = real(dx);
      for (let row = begin; row < end; row++) {
        let dot = 0;
        for (let i = row * bins; i < (row + 1) * bins; i++) dot = round(dot + round(dY[i] * Y[i]));
        for (let i = row * bins; i < (row + 1) * bins; i++) dX[i] = Y[i] * round(dY[i] - dot);
      }
    },

    f32_expectation(begin: number, end: number, x: number, y: number, bins: number): void {
      const X = real(x), Y = real(y);
      for (let row = begin; row < end; row++) {
        const { e, total } = exponentials(X, row, bins);
        Y[row] = e.reduce((sum, ej, j) => round(sum + round(j * ej)), 0) / total;
      }
    },

    f32_expectation_backward(begin: number, end: number, x: number, y: number, dy: number, dx: number, bins: number): void {
      const X = real(x), Y = real(y), dY = real(dy), dX = real(dx);
      for (let row = begin; row < end; row++) {
        const { e, total } = exponentials(X, row, bins);
        for (let j = 0; j < bins; j++) dX[row * bins + j] = round(dY[row] * round(e[j] / total)) * round(j - Y[row]);
      }
    },

    f32_dfl(begin: number, end: number, x: number, target: number, y: number, bins: number): void {
      const X = real(x), target_ = real(target), Y = real(y);
      for (let row = begin; row < end; row++) {
        const { total, most } = exponentials(X, row, bins), t = target_[row], l = lowerBin(t, bins);
        const lower = round(X[row * bins + l] - most), upper = round(X[row * bins + l + 1] - most);
        Y[row] = round(round(log(total)) - round(round(l + 1 - t) * lower)) - round(round(t - l) * upper);
      }
    },

    f32_dfl_backward(begin: number, end: number, x: number, target: number, dy: number, dx: number, bins: number): void {
      const X = real(x), target_ = real(target), dY = real(dy), dX = real(dx);
      for (let row = begin; row < end; row++) {
        const { e, total } = exponentials(X, row, bins), t = target_[row], l = lowerBin(t, bins);
        for (let j = 0; j < bins; j++) dX[row * bins + j] = dY[row] * round(e[j] / total);
        dX[row * bins + l] -= round(dY[row] * round(l + 1 - t));
        dX[row * bins + l + 1] -= round(dY[row] * round(t - l));
      }
    },

    f32_bce_with_logits(begin: number, end: number, x: number, target: number, y: number): void {
      const X = real(x), target_ = real(target), Y = real(y);
      for (let i = begin; i < end; i++) {
        Y[i] = round(Math.max(X[i], 0) - round(X[i] * target_[i])) + round(log1p(round(exp(-Math.abs(X[i])))));
      }
    },

    f32_bce_with_logits_backward(begin: number, end: number, x: number, target: number, dy: number, dx: number): void {
      const X = real(x), target_ = real(target), dY = real(dy), dX = real(dx);
      for (let i = begin; i < end; i++) dX[i] = dY[i] * round(sigmoid(X[i]) - target_[i]);
    },

    f32_ciou(begin: number, end: number, box1: number, box2: number, y: number): void {
      const Y = real(y);
      for (let row = begin; row < end; row++) Y[row] = ciou(real(box1).subarray(4 * row), real(box2).subarray(4 * row), 0).value;
    },

    f32_ciou_backward(begin: number, end: number, box1: number, box2: number, dy: number, dbox1: number, dbox2: number): void {
      const dY = real(dy);
      for (let row = begin; row < end; row++) {
        const { da, db } = ciou(real(box1).subarray(4 * row), real(box2).subarray(4 * row), dY[row]);
        if (dbox1) real(dbox1).set(da, 4 * row);
        if (dbox2) real(dbox2).set(db, 4 * row);
      }
    },

    f32_giou(begin: number, end: number, box1: number, box2: number, y: number): void {
      const Y = real(y);
      for (let row = begin; row < end; row++) Y[row] = giou(real(box1).subarray(4 * row), real(box2).subarray(4 * row), 0).value;
    },

    f32_giou_backward(begin: number, end: number, box1: number, box2: number, dy: number, dbox1: number, dbox2: number): void {
      const dY = real(dy);
      for (let row = begin; row < end; row++) {
        const { da, db } = giou(real(box1).subarray(4 * row), real(box2).subarray(4 * row), dY[row]);
        if (dbox1) real(dbox1).set(da, 4 * row);
        if (dbox2) real(dbox2).set(db, 4 * row);
      }
    },
  };
};
