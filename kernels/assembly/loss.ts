/** Losses and their gradients. Exponentials are our own (exponential.ts), logarithms and arc tangents AssemblyScript's: no host's libm is asked. */
import { exp4, log1p4, sigmoid4 } from "./exponential";
import { LANES, at, loadSome, storeSome, sum4 } from "./lanes";

// ── softmax over rows of `bins` ────────────────────────────────────────────────────────────────────────────────────

/** The largest logit; where one is NaN it may be overlooked, since its exponential is not. */
function maximum(x: usize, bins: i32): f32 {
  let most4 = f32x4.splat(-Infinity), j = 0;
  for (; j <= bins - LANES; j += LANES) most4 = f32x4.pmax(most4, v128.load(at(x, j)));
  most4 = f32x4.pmax(most4, v128.shuffle<f32>(most4, most4, 2, 3, 0, 1));
  let most = max(f32x4.extract_lane(most4, 0), f32x4.extract_lane(most4, 1));
  for (; j < bins; j++) most = max(most, load<f32>(at(x, j)));
  return most;
}

/** exp(x[j] - most) of four bins, 0 past the end of the row */
// @ts-ignore: decorator
@inline function expSome(x: usize, j: i32, bins: i32, most4: v128): v128 {
  const e4 = exp4(f32x4.sub(loadSome(at(x, j), bins - j), most4));
  return bins - j >= LANES ? e4 : v128.and(e4, i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(bins - j)));
}

/** e[j] = exp(x[j] - max) of one row; their sum */
function exponentials(x: usize, e: usize, bins: i32): f32 {
  const most4 = f32x4.splat(maximum(x, bins));
  let total4 = f32x4.splat(0);
  for (let j = 0; j < bins; j += LANES) {
    const e4 = expSome(x, j, bins, most4);
    storeSome(at(e, j), e4, bins - j);
    total4 = f32x4.add(total4, e4);
  }
  return sum4(total4);
}

/** y[row] = exp(x[row] - max) / sum of the same */
export function f32_softmax(begin: i32, end: i32, x: usize, y: usize, bins: i32): void {
  for (let row = begin; row < end; row++) {
    const yr = at(y, row * bins), total4 = f32x4.splat(exponentials(at(x, row * bins), yr, bins));
    for (let j = 0; j < bins; j += LANES) storeSome(at(yr, j), f32x4.div(loadSome(at(yr, j), bins - j), total4), bins - j);
  }
}

/** dx = y * (dy - sum(dy*y)) */
export function f32_softmax_backward(begin: i32, end: i32, y: usize, dy: usize, dx: usize, bins: i32): void {
  for (let row = begin; row < end; row++) {
    const yr = at(y, row * bins), dyr = at(dy, row * bins), dxr = at(dx, row * bins);
    let dot4 = f32x4.splat(0);
    for (let j = 0; j < bins; j += LANES) dot4 = f32x4.add(dot4, f32x4.mul(loadSome(at(dyr, j), bins - j), loadSome(at(yr, j), bins - j)));
    dot4 = f32x4.splat(sum4(dot4));
    for (let j = 0; j < bins; j += LANES) {
      storeSome(at(dxr, j), f32x4.mul(loadSome(at(yr, j), bins - j), f32x4.sub(loadSome(at(dyr, j), bins - j), dot4)), bins - j);
    }
  }
}

/** y[row] = sum_j j*p[j],  p = softmax(x[row]) */
export function f32_expectation(begin: i32, end: i32, x: usize, y: usize, bins: i32): void {
  for (let row = begin; row < end; row++) {
    const xr = at(x, row * bins), most4 = f32x4.splat(maximum(xr, bins)), four4 = f32x4.splat(4);
    let total4 = f32x4.splat(0), moment4 = total4, j4 = f32x4(0, 1, 2, 3);
    for (let j = 0; j < bins; j += LANES) {
      const e4 = expSome(xr, j, bins, most4);
      total4 = f32x4.add(total4, e4);
      moment4 = f32x4.add(moment4, f32x4.mul(j4, e4));
      j4 = f32x4.add(j4, four4);
    }
    store<f32>(at(y, row), sum4(moment4) / sum4(total4));
  }
}

/** dx[j] = dy * p[j] * (j - y) */
export function f32_expectation_backward(begin: i32, end: i32, x: usize, y: usize, dy: usize, dx: usize, bins: i32): void {
  for (let row = begin; row < end; row++) {
    const dxr = at(dx, row * bins), total4 = f32x4.splat(exponentials(at(x, row * bins), dxr, bins));
    const y4 = v128.load32_splat(at(y, row)), dy4 = v128.load32_splat(at(dy, row)), four4 = f32x4.splat(4);
    let j4 = f32x4(0, 1, 2, 3);
    for (let j = 0; j < bins; j += LANES) {
      const p4 = f32x4.div(loadSome(at(dxr, j), bins - j), total4);
      storeSome(at(dxr, j), f32x4.mul(f32x4.mul(dy4, p4), f32x4.sub(j4, y4)), bins - j);
      j4 = f32x4.add(j4, four4);
    }
  }
}

// ── distribution focal loss: cross entropy with the two bins beside the target ─────────────────────────────────────

/** floor(t), kept where l and l + 1 are both bins */
// @ts-ignore: decorator
@inline function lowerBin(t: f32, bins: i32): i32 { return max(0, min(bins - 2, <i32>floor(t))); }

/** y = -(l+1-t)*log p[l] - (t-l)*log p[l+1] = log(sum_j exp(x[j] - max)) - (l+1-t)*(x[l] - max) - (t-l)*(x[l+1] - max) */
export function f32_dfl(begin: i32, end: i32, x: usize, target: usize, y: usize, bins: i32): void {
  for (let row = begin; row < end; row++) {
    const xr = at(x, row * bins), most = maximum(xr, bins), most4 = f32x4.splat(most), t = load<f32>(at(target, row)), l = lowerBin(t, bins);
    const lower = load<f32>(at(xr, l)) - most, upper = load<f32>(at(xr, l + 1)) - most;
    let total4 = f32x4.splat(0);
    for (let j = 0; j < bins; j += LANES) total4 = f32x4.add(total4, expSome(xr, j, bins, most4));
    store<f32>(at(y, row), NativeMathf.log(sum4(total4)) - (<f32>(l + 1) - t) * lower - (t - <f32>l) * upper);
  }
}

/** dx[j] = dy * (p[j] - [j=l](l+1-t) - [j=l+1](t-l)) */
export function f32_dfl_backward(begin: i32, end: i32, x: usize, target: usize, dy: usize, dx: usize, bins: i32): void {
  for (let row = begin; row < end; row++) {
    const dxr = at(dx, row * bins), total4 = f32x4.splat(exponentials(at(x, row * bins), dxr, bins));
    const t = load<f32>(at(target, row)), l = lowerBin(t, bins), d = load<f32>(at(dy, row)), d4 = f32x4.splat(d);
    for (let j = 0; j < bins; j += LANES) storeSome(at(dxr, j), f32x4.mul(d4, f32x4.div(loadSome(at(dxr, j), bins - j), total4)), bins - j);
    const lower = at(dxr, l), upper = at(dxr, l + 1);
    store<f32>(lower, load<f32>(lower) - d * (<f32>(l + 1) - t));
    store<f32>(upper, load<f32>(upper) - d * (t - <f32>l));
  }
}

// ── binary cross entropy ───────────────────────────────────────────────────────────────────────────────────────────

/** y = max(x, 0) - x*target + log(1 + exp(-|x|)) */
export function f32_bce_with_logits(begin: i32, end: i32, x: usize, target: usize, y: usize): void {
  for (let i = begin; i < end; i += LANES) {
    const x4 = loadSome(at(x, i), end - i), linear4 = f32x4.sub(f32x4.pmax(x4, f32x4.splat(0)), f32x4.mul(x4, loadSome(at(target, i), end - i)));
    storeSome(at(y, i), f32x4.add(linear4, log1p4(exp4(f32x4.neg(f32x4.abs(x4))))), end - i);
  }
}

/** dx = dy * (sigmoid(x) - target) */
export function f32_bce_with_logits_backward(begin: i32, end: i32, x: usize, target: usize, dy: usize, dx: usize): void {
  for (let i = begin; i < end; i += LANES) {
    const error4 = f32x4.sub(sigmoid4(loadSome(at(x, i), end - i)), loadSome(at(target, i), end - i));
    storeSome(at(dx, i), f32x4.mul(loadSome(at(dy, i), end - i), error4), end - i);
  }
}

// ── complete IoU: few boxes and many differences of nearly equal numbers, so in float64 ────────────────────────────

// @ts-ignore: decorator
@inline const EPS: f64 = 1e-7;

/** 1 where a < b, 0 where a > b, and one half to each of two equals, as PyTorch shares the gradient of a minimum. */
// @ts-ignore: decorator
@inline function share(a: f64, b: f64): f64 { return a < b ? 1 : a > b ? 0 : 0.5; }

/**
 * CIoU = IoU - rho2/c2 - alpha*v      (Zheng et al., arXiv:1911.08287; w = x2 - x1, h = y2 - y1 + eps)
 *
 *   rho2   squared distance of the centres,  c2 the squared diagonal of the enclosing box
 *   v      = 4/pi^2 * (atan(w2/h2) - atan(w1/h1))^2,  alpha = v / (v - IoU + 1 + eps), constant in the gradient
 *
 * With a null pointer the gradient of that box is not asked for.
 */
function ciou(a: usize, b: usize, dy: f64, da: usize, db: usize): f64 {
  const ax1: f64 = load<f32>(a), ay1: f64 = load<f32>(a, 4), ax2: f64 = load<f32>(a, 8), ay2: f64 = load<f32>(a, 12);
  const bx1: f64 = load<f32>(b), by1: f64 = load<f32>(b, 4), bx2: f64 = load<f32>(b, 8), by2: f64 = load<f32>(b, 12);
  const w1 = ax2 - ax1, h1 = ay2 - ay1 + EPS, w2 = bx2 - bx1, h2 = by2 - by1 + EPS;
  const overlapX = min(ax2, bx2) - max(ax1, bx1), overlapY = min(ay2, by2) - max(ay1, by1);
  const iw = max(overlapX, 0.0), ih = max(overlapY, 0.0);
  const inter = iw * ih, union = w1 * h1 + w2 * h2 - inter + EPS, iou = inter / union;
  const cw = max(ax2, bx2) - min(ax1, bx1), ch = max(ay2, by2) - min(ay1, by1), c2 = cw * cw + ch * ch + EPS;
  const sx = bx1 + bx2 - ax1 - ax2, sy = by1 + by2 - ay1 - ay2, rho2 = (sx * sx + sy * sy) / 4;
  const angle = NativeMath.atan(w2 / h2) - NativeMath.atan(w1 / h1), v = 4 / (Math.PI * Math.PI) * (angle * angle);
  const alpha = v / (v - iou + (1 + EPS));
  if (da | db) {
    const dinter = dy * (1 / union + inter / (union * union)), dareas = -dy * inter / (union * union);
    const dangle = -dy * alpha * 8 / (Math.PI * Math.PI) * angle, drho2 = -dy / c2, dc2 = dy * rho2 / (c2 * c2);
    const turn1 = dangle / (w1 * w1 + h1 * h1), turn2 = dangle / (w2 * w2 + h2 * h2);  // d atan(w/h) = (h dw - w dh) / (w^2 + h^2)
    const diw = overlapX >= 0 ? dinter * ih : 0, dih = overlapY >= 0 ? dinter * iw : 0;
    axis(ax1, ax2, bx1, bx2, dareas * h1 - turn1 * h1, dareas * h2 + turn2 * h2, diw, dc2 * 2 * cw, drho2 * sx / 2, da, db);
    axis(ay1, ay2, by1, by2, dareas * w1 + turn1 * w1, dareas * w2 - turn2 * w2, dih, dc2 * 2 * ch, drho2 * sy / 2, da ? da + 4 : 0, db ? db + 4 : 0);
  }
  return iou - (rho2 / c2 + v * alpha);
}

/** Along one axis: from the gradients of both sizes, the overlap, the enclosing size and the distance of centres to those of low and high ends. */
function axis(low1: f64, high1: f64, low2: f64, high2: f64, dsize1: f64, dsize2: f64, doverlap: f64, denclosing: f64, dcentre: f64, d1: usize, d2: usize): void {
  const high = share(high1, high2), low = share(low2, low1);  // the share of box 1 in min(high), in max(low)
  if (d1) {
    store<f32>(d1, <f32>(-dsize1 - doverlap * low - denclosing * (1 - low) - dcentre));
    store<f32>(d1, <f32>(dsize1 + doverlap * high + denclosing * (1 - high) - dcentre), 8);
  }
  if (d2) {
    store<f32>(d2, <f32>(-dsize2 - doverlap * (1 - low) - denclosing * low + dcentre));
    store<f32>(d2, <f32>(dsize2 + doverlap * (1 - high) + denclosing * high + dcentre), 8);
  }
}

/** y[row] = CIoU(box1[row], box2[row]) */
export function f32_ciou(begin: i32, end: i32, box1: usize, box2: usize, y: usize): void {
  for (let row = begin; row < end; row++) store<f32>(at(y, row), <f32>ciou(at(box1, 4 * row), at(box2, 4 * row), 0, 0, 0));
}

/** dbox1, dbox2 = dy * the gradients of CIoU; either may be null */
export function f32_ciou_backward(begin: i32, end: i32, box1: usize, box2: usize, dy: usize, dbox1: usize, dbox2: usize): void {
  for (let row = begin; row < end; row++) {
    ciou(at(box1, 4 * row), at(box2, 4 * row), load<f32>(at(dy, row)), dbox1 ? at(dbox1, 4 * row) : 0, dbox2 ? at(dbox2, 4 * row) : 0);
  }
}

// ── generalised IoU, in float64 for the same reasons ───────────────────────────────────────────────────────────────

/**
 * GIoU = I/U - (H - U)/H      (Rezatofighi et al., arXiv:1902.09630)      U: union + 1e-16, H: area of the hull + 1e-16
 */
function giou(a: usize, b: usize, dy: f64, da: usize, db: usize): f64 {
  const ax1: f64 = load<f32>(a), ay1: f64 = load<f32>(a, 4), ax2: f64 = load<f32>(a, 8), ay2: f64 = load<f32>(a, 12);
  const bx1: f64 = load<f32>(b), by1: f64 = load<f32>(b, 4), bx2: f64 = load<f32>(b, 8), by2: f64 = load<f32>(b, 12);
  const w1 = ax2 - ax1, h1 = ay2 - ay1, w2 = bx2 - bx1, h2 = by2 - by1;
  const overlapX = min(ax2, bx2) - max(ax1, bx1), overlapY = min(ay2, by2) - max(ay1, by1);
  const iw = max(overlapX, 0.0), ih = max(overlapY, 0.0), inter = iw * ih, union = w1 * h1 + w2 * h2 - inter + 1e-16;
  const cw = max(ax2, bx2) - min(ax1, bx1), ch = max(ay2, by2) - min(ay1, by1), hull = cw * ch + 1e-16;
  if (da | db) {
    const dunion = dy * (1 / hull - inter / (union * union)), dinter = dy / union - dunion, dhull = -dy * union / (hull * hull);
    const diw = overlapX >= 0 ? dinter * ih : 0, dih = overlapY >= 0 ? dinter * iw : 0;
    axis(ax1, ax2, bx1, bx2, dunion * h1, dunion * h2, diw, dhull * ch, 0, da, db);
    axis(ay1, ay2, by1, by2, dunion * w1, dunion * w2, dih, dhull * cw, 0, da ? da + 4 : 0, db ? db + 4 : 0);
  }
  return inter / union - (hull - union) / hull;
}

/** y[row] = GIoU(box1[row], box2[row]) */
export function f32_giou(begin: i32, end: i32, box1: usize, box2: usize, y: usize): void {
  for (let row = begin; row < end; row++) store<f32>(at(y, row), <f32>giou(at(box1, 4 * row), at(box2, 4 * row), 0, 0, 0));
}

/** dbox1, dbox2 = dy * the gradients of GIoU; either may be null */
export function f32_giou_backward(begin: i32, end: i32, box1: usize, box2: usize, dy: usize, dbox1: usize, dbox2: usize): void {
  for (let row = begin; row < end; row++) {
    giou(at(box1, 4 * row), at(box2, 4 * row), load<f32>(at(dy, row)), dbox1 ? at(dbox1, 4 * row) : 0, dbox2 ? at(dbox2, 4 * row) : 0);
  }
}
