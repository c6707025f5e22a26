/** One value in, one value out. Bodies go four lanes at a time; the tail says the same one lane at a time. */
import { exp4, sigmoid4 } from "./exponential";
import { LANES, at, loadSome, storeSome } from "./lanes";

/** In memory, because v128 constants are rebuilt at each use. */
// @ts-ignore: decorator
@lazy const ONE = memory.data<f32>([1]);

/** x = value */
export function f32_fill(begin: i32, end: i32, x: usize, value: f32): void {
  const value4 = f32x4.splat(value);
  let i = begin;
  for (; i <= end - LANES; i += LANES) v128.store(at(x, i), value4);
  for (; i < end; i++) store<f32>(at(x, i), value);
}

/** y = x */
export function f32_copy(begin: i32, end: i32, x: usize, y: usize): void {
  if (begin < end) memory.copy(at(y, begin), at(x, begin), at(0, end - begin));
}

/** z = x + y */
export function f32_add(begin: i32, end: i32, x: usize, y: usize, z: usize): void {
  let i = begin;
  for (; i <= end - LANES; i += LANES) v128.store(at(z, i), f32x4.add(v128.load(at(x, i)), v128.load(at(y, i))));
  for (; i < end; i++) store<f32>(at(z, i), load<f32>(at(x, i)) + load<f32>(at(y, i)));
}

/** z = x - y */
export function f32_sub(begin: i32, end: i32, x: usize, y: usize, z: usize): void {
  let i = begin;
  for (; i <= end - LANES; i += LANES) v128.store(at(z, i), f32x4.sub(v128.load(at(x, i)), v128.load(at(y, i))));
  for (; i < end; i++) store<f32>(at(z, i), load<f32>(at(x, i)) - load<f32>(at(y, i)));
}

/** z = x * y */
export function f32_mul(begin: i32, end: i32, x: usize, y: usize, z: usize): void {
  let i = begin;
  for (; i <= end - LANES; i += LANES) v128.store(at(z, i), f32x4.mul(v128.load(at(x, i)), v128.load(at(y, i))));
  for (; i < end; i++) store<f32>(at(z, i), load<f32>(at(x, i)) * load<f32>(at(y, i)));
}

/** y = a * x */
export function f32_scale(begin: i32, end: i32, x: usize, y: usize, a: f32): void {
  const a4 = f32x4.splat(a);
  let i = begin;
  for (; i <= end - LANES; i += LANES) v128.store(at(y, i), f32x4.mul(a4, v128.load(at(x, i))));
  for (; i < end; i++) store<f32>(at(y, i), a * load<f32>(at(x, i)));
}

/** y += a * x */
export function f32_axpy(begin: i32, end: i32, x: usize, y: usize, a: f32): void {
  const a4 = f32x4.splat(a);
  let i = begin;
  for (; i <= end - LANES; i += LANES) v128.store(at(y, i), f32x4.add(v128.load(at(y, i)), f32x4.mul(a4, v128.load(at(x, i)))));
  for (; i < end; i++) store<f32>(at(y, i), load<f32>(at(y, i)) + a * load<f32>(at(x, i)));
}

/** y = 1 / (1 + exp(-x)) */
export function f32_sigmoid(begin: i32, end: i32, x: usize, y: usize): void {
  for (let i = begin; i < end; i += LANES) storeSome(at(y, i), sigmoid4(loadSome(at(x, i), end - i)), end - i);
}

/** dx = dy * y * (1 - y) */
export function f32_sigmoid_backward(begin: i32, end: i32, y: usize, dy: usize, dx: usize): void {
  const one4 = v128.load32_splat(ONE);
  let i = begin;
  for (; i <= end - LANES; i += LANES) {
    const y4 = v128.load(at(y, i));
    v128.store(at(dx, i), f32x4.mul(f32x4.mul(v128.load(at(dy, i)), y4), f32x4.sub(one4, y4)));
  }
  for (; i < end; i++) store<f32>(at(dx, i), load<f32>(at(dy, i)) * load<f32>(at(y, i)) * (1 - load<f32>(at(y, i))));
}

/** y = min(exp(x), most) */
export function f32_exp(begin: i32, end: i32, x: usize, y: usize, most: f32): void {
  const most4 = f32x4.splat(most);
  for (let i = begin; i < end; i += LANES) storeSome(at(y, i), f32x4.pmin(exp4(loadSome(at(x, i), end - i)), most4), end - i);
}

/** dx = dy * y where y < most */
export function f32_exp_backward(begin: i32, end: i32, y: usize, dy: usize, dx: usize, most: f32): void {
  const most4 = f32x4.splat(most);
  for (let i = begin; i < end; i += LANES) {
    const y4 = loadSome(at(y, i), end - i), dx4 = f32x4.mul(loadSome(at(dy, i), end - i), y4);
    storeSome(at(dx, i), v128.and(dx4, f32x4.lt(y4, most4)), end - i);
  }
}

/** y = x where x > 0, slope * x elsewhere */
export function f32_leaky(begin: i32, end: i32, x: usize, y: usize, slope: f32): void {
  f32_leaky_backward(begin, end, x, x, y, slope);
}

/** dx = dy where x > 0, slope * dy elsewhere */
export function f32_leaky_backward(begin: i32, end: i32, x: usize, dy: usize, dx: usize, slope: f32): void {
  const slope4 = f32x4.splat(slope), zero4 = f32x4.splat(0);
  for (let i = begin; i < end; i += LANES) {
    const x4 = loadSome(at(x, i), end - i), dy4 = loadSome(at(dy, i), end - i);
    storeSome(at(dx, i), v128.bitselect(dy4, f32x4.mul(slope4, dy4), f32x4.gt(x4, zero4)), end - i);
  }
}
