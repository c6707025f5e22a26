/** One pass over a parameter and its state. */
import { LANES, at, loadSome, storeSome } from "./lanes";

// @ts-ignore: decorator
@inline function sgd(count: i32, w: usize, dw: usize, m: usize, lr4: v128, momentum4: v128, decay4: v128, clip4: v128, nesterov: i32): void {
  const w4 = loadSome(w, count), g4 = f32x4.add(f32x4.mul(clip4, loadSome(dw, count)), f32x4.mul(decay4, w4));
  const m4 = f32x4.add(f32x4.mul(momentum4, loadSome(m, count)), g4);
  const step4 = nesterov ? f32x4.add(g4, f32x4.mul(momentum4, m4)) : m4;
  storeSome(m, m4, count);
  storeSome(w, f32x4.sub(w4, f32x4.mul(lr4, step4)), count);
}

/** g = clip*dw + decay*w;  m = momentum*m + g;  w -= lr * (nesterov ? g + momentum*m : m) */
export function f32_sgd(begin: i32, end: i32, w: usize, dw: usize, m: usize, lr: f32, momentum: f32, decay: f32, clip: f32, nesterov: i32): void {
  const lr4 = f32x4.splat(lr), momentum4 = f32x4.splat(momentum), decay4 = f32x4.splat(decay), clip4 = f32x4.splat(clip);
  let i = begin;
  for (; i <= end - LANES; i += LANES) sgd(LANES, at(w, i), at(dw, i), at(m, i), lr4, momentum4, decay4, clip4, nesterov);
  if (i < end) sgd(end - i, at(w, i), at(dw, i), at(m, i), lr4, momentum4, decay4, clip4, nesterov);
}

/** average = d*average + (1-d)*w */
export function f32_ema(begin: i32, end: i32, w: usize, average: usize, d: f32): void {
  const d4 = f32x4.splat(d), rest4 = f32x4.splat(1 - d);
  let i = begin;
  for (; i <= end - LANES; i += LANES) v128.store(at(average, i), f32x4.add(f32x4.mul(d4, v128.load(at(average, i))), f32x4.mul(rest4, v128.load(at(w, i)))));
  for (; i < end; i++) store<f32>(at(average, i), d * load<f32>(at(average, i)) + (1 - d) * load<f32>(at(w, i)));
}
