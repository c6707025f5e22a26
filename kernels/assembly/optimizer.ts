/** One pass over a parameter and its state. */
import { LANES, at, loadSome, storeSome } from "./lanes";

/** g = clip*dw + decay*w;  m = momentum*m + g;  w -= lr * (nesterov ? g + momentum*m : m) */
export function f32_sgd(begin: i32, end: i32, w: usize, dw: usize, m: usize, lr: f32, momentum: f32, decay: f32, clip: f32, nesterov: i32): void {
  const lr4 = f32x4.splat(lr), momentum4 = f32x4.splat(momentum), decay4 = f32x4.splat(decay), clip4 = f32x4.splat(clip);
  for (let i = begin; i < end; i += LANES) {
    const w4 = loadSome(at(w, i), end - i);
    const g4 = f32x4.add(f32x4.mul(clip4, loadSome(at(dw, i), end - i)), f32x4.mul(decay4, w4));
    const m4 = f32x4.add(f32x4.mul(momentum4, loadSome(at(m, i), end - i)), g4);
    const step4 = nesterov ? f32x4.add(g4, f32x4.mul(momentum4, m4)) : m4;
    storeSome(at(m, i), m4, end - i);
    storeSome(at(w, i), f32x4.sub(w4, f32x4.mul(lr4, step4)), end - i);
  }
}

/** average = d*average + (1-d)*w */
export function f32_ema(begin: i32, end: i32, w: usize, average: usize, d: f32): void {
  const d4 = f32x4.splat(d), rest4 = f32x4.splat(1 - d);
  for (let i = begin; i < end; i += LANES) {
    const average4 = f32x4.mul(d4, loadSome(at(average, i), end - i)), w4 = f32x4.mul(rest4, loadSome(at(w, i), end - i));
    storeSome(at(average, i), f32x4.add(average4, w4), end - i);
  }
}
