/**
 * Neurons: charge, fire, reset, and the way back. The membrane stays in registers from the first timestep to the last.
 * A spike byte is value | windowOpen << 4. No sum here is fused with its product: a spike is a rounding, and must be the same everywhere.
 */
import { exp4 } from "./exponential";
import { RUN, listRun } from "./lists";
import { LANES, at, loadBytes, loadSome, storeBytes, storeSome } from "./lanes";

/** 1.5 * 2^23: a sum with it is rounded half to even to an integer, which stands in its low bits. In memory, because v128 constants are rebuilt at each use. */
// @ts-ignore: decorator
@lazy const MAGIC = memory.data<f32>([12582912]);
// @ts-ignore: decorator
@lazy const OPEN = memory.data<u8>([16]);

/** h = decay*v + gain*x */
// @ts-ignore: decorator
@inline function charge(decay4: v128, v4: v128, gain4: v128, x4: v128): v128 {
  return f32x4.add(f32x4.mul(decay4, v4), f32x4.mul(gain4, x4));
}

/** clamp(h, 0, D), and 0 for NaN */
// @ts-ignore: decorator
@inline function clamp4(h4: v128, D4: v128): v128 { return f32x4.pmin(f32x4.pmax(f32x4.splat(0), h4), D4); }

/** Four vectors of small integers as sixteen bytes. */
// @ts-ignore: decorator
@inline function narrow(a: v128, b: v128, c: v128, d: v128): v128 {
  return i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
}

/**
 * Integer leaky integrate-and-fire.
 *
 *   h[t] = decay*v[t-1] + gain*x[t]          charge
 *   s[t] = round(clamp(h[t], 0, D))          fire; the window is open where the clamp changed nothing
 *   v[t] = h[t] - s[t]                       reset
 */
export function f32_fire_integer(begin: i32, end: i32, x: usize, s: usize, T: i32, stride: i32, decay: f32, gain: f32, D: i32): void {
  const decay4 = f32x4.splat(decay), gain4 = f32x4.splat(gain), D4 = f32x4.splat(<f32>D), magic = v128.load32_splat(MAGIC), open = v128.load8_splat(OPEN);
  let i = begin;
  for (; i <= end - 16; i += 16) {
    let v0 = f32x4.splat(0), v1 = v0, v2 = v0, v3 = v0;
    for (let t = 0; t < T; t++) {
      const xt = at(x, t * stride + i);
      const h0 = charge(decay4, v0, gain4, v128.load(xt)), clamped0 = clamp4(h0, D4), q0 = f32x4.add(clamped0, magic);
      const h1 = charge(decay4, v1, gain4, v128.load(xt, 16)), clamped1 = clamp4(h1, D4), q1 = f32x4.add(clamped1, magic);
      const h2 = charge(decay4, v2, gain4, v128.load(xt, 32)), clamped2 = clamp4(h2, D4), q2 = f32x4.add(clamped2, magic);
      const h3 = charge(decay4, v3, gain4, v128.load(xt, 48)), clamped3 = clamp4(h3, D4), q3 = f32x4.add(clamped3, magic);
      v0 = f32x4.sub(h0, f32x4.sub(q0, magic));
      v1 = f32x4.sub(h1, f32x4.sub(q1, magic));
      v2 = f32x4.sub(h2, f32x4.sub(q2, magic));
      v3 = f32x4.sub(h3, f32x4.sub(q3, magic));
      const values = narrow(i32x4.sub(q0, magic), i32x4.sub(q1, magic), i32x4.sub(q2, magic), i32x4.sub(q3, magic));
      const windows = narrow(f32x4.eq(h0, clamped0), f32x4.eq(h1, clamped1), f32x4.eq(h2, clamped2), f32x4.eq(h3, clamped3));
      v128.store(s + t * stride + i, v128.or(values, v128.and(windows, open)));
    }
  }
  for (; i < end; i++) {
    let v: f32 = 0;
    for (let t = 0; t < T; t++) {
      const h = decay * v + gain * load<f32>(at(x, t * stride + i));
      const clamped: f32 = h > 0 ? min(h, <f32>D) : 0, value = nearest(clamped);
      v = h - value;
      store<u8>(s + t * stride + i, <i32>value | (h == clamped ? 16 : 0));
    }
  }
}

/** Fires runs [begin, end) of 64 pixels and lists their events while their bytes are at hand. */
export function f32_fire_integer_events(
  begin: i32, end: i32, x: usize, s: usize, events: usize, spans: usize, T: i32, pixels: i32, C: i32, decay: f32, gain: f32, D: i32,
): void {
  for (let run = begin; run < end; run++) {
    const first = run * RUN, last = min(first + RUN, pixels);
    f32_fire_integer(first * C, last * C, x, s, T, pixels * C, decay, gain, D);
    for (let t = 0; t < T; t++) listRun(false, t * pixels + first, t * pixels + last, s, events, spans, C, 0);
  }
}

/** dh[t] = window[t]*ds[t] + decay*dh[t+1];  dx[t] = gain*dh[t] */
export function f32_fire_integer_backward(begin: i32, end: i32, s: usize, ds: usize, dx: usize, T: i32, stride: i32, decay: f32, gain: f32): void {
  const decay4 = f32x4.splat(decay), gain4 = f32x4.splat(gain);
  for (let i = begin; i < end; i += LANES) {
    let dh4 = f32x4.splat(0);
    for (let t = T - 1; t >= 0; t--) {
      const now = t * stride + i;
      const window4 = i32x4.shr_s(i32x4.shl(loadBytes(s + now, end - i), 27), 31);
      dh4 = f32x4.add(v128.and(window4, loadSome(at(ds, now), end - i)), f32x4.mul(decay4, dh4));
      storeSome(at(dx, now), f32x4.mul(gain4, dh4), end - i);
    }
  }
}

/** What becomes of the membrane when a neuron fires. */
// @ts-ignore: decorator
@inline const SUBTRACT: i32 = 0;
// @ts-ignore: decorator
@inline const ZERO: i32 = 1;

/**
 * Binary firing.
 *
 *   h[t] = decay*v[t-1] + gain*x[t]                          charge; kept for the backward pass
 *   s[t] = [h[t] >= threshold]                               fire
 *   v[t] = h[t] - threshold*s[t]  or  h[t]*(1 - s[t])  or  h[t]     reset
 */
export function f32_fire_binary(begin: i32, end: i32, x: usize, h: usize, s: usize, T: i32, stride: i32, decay: f32, gain: f32, threshold: f32, reset: i32): void {
  const decay4 = f32x4.splat(decay), gain4 = f32x4.splat(gain), threshold4 = f32x4.splat(threshold);
  const subtracted4 = f32x4.splat(reset == SUBTRACT ? threshold : 0), cleared4 = i32x4.splat(reset == ZERO ? -1 : 0);
  for (let i = begin; i < end; i += LANES) {
    let v4 = f32x4.splat(0);
    for (let t = 0; t < T; t++) {
      const now = t * stride + i;
      const h4 = charge(decay4, v4, gain4, loadSome(at(x, now), end - i)), fired4 = f32x4.ge(h4, threshold4);
      storeSome(at(h, now), h4, end - i);
      storeBytes(s + now, i32x4.shr_u(fired4, 31), end - i);
      v4 = v128.andnot(f32x4.sub(h4, v128.and(fired4, subtracted4)), v128.and(fired4, cleared4));
    }
  }
}

// @ts-ignore: decorator
@inline const RECTANGULAR: i32 = 0;
// @ts-ignore: decorator
@inline const ATAN: i32 = 1;
// @ts-ignore: decorator
@inline const SIGMOID: i32 = 2;

/** The surrogate derivative at u = h - threshold: kinds 0 rectangular, 1 atan, 2 sigmoid, 3 triangular. */
// @ts-ignore: decorator
@inline function surrogate4(kind: i32, u4: v128, alpha4: v128, half4: v128, slope4: v128): v128 {
  const one4 = f32x4.splat(1);
  if (kind == RECTANGULAR) return v128.and(f32x4.lt(f32x4.abs(u4), half4), alpha4);
  if (kind == ATAN) {
    const z4 = f32x4.mul(slope4, u4);
    return f32x4.div(half4, f32x4.add(one4, f32x4.mul(z4, z4)));
  }
  if (kind == SIGMOID) {  // sig(z) sig(-z) = e / (1 + e)^2 with e = exp(-|z|), which cannot overflow
    const e4 = exp4(f32x4.neg(f32x4.abs(f32x4.mul(alpha4, u4)))), below4 = f32x4.add(one4, e4);
    return f32x4.div(f32x4.mul(alpha4, e4), f32x4.mul(below4, below4));
  }
  return f32x4.mul(f32x4.pmax(f32x4.sub(one4, f32x4.abs(f32x4.mul(alpha4, u4))), f32x4.splat(0)), alpha4);
}

/**
 *   g      = surrogate'(h[t] - threshold)
 *   dh[t]  = g*(ds[t] + resetTerm) + (dv/dh)*dv[t]      resetTerm, only if attached: -threshold*dv[t] or -h[t]*dv[t]
 *   dx[t]  = gain*dh[t],  dv[t-1] = decay*dh[t]
 */
export function f32_fire_binary_backward(
  begin: i32, end: i32, h: usize, s: usize, ds: usize, dx: usize, T: i32, stride: i32,
  decay: f32, gain: f32, threshold: f32, reset: i32, attached: i32, kind: i32, alpha: f32,
): void {
  const decay4 = f32x4.splat(decay), gain4 = f32x4.splat(gain), threshold4 = f32x4.splat(threshold), alpha4 = f32x4.splat(alpha);
  const half4 = f32x4.splat(kind == RECTANGULAR ? 1 / (2 * alpha) : alpha / 2), slope4 = f32x4.splat(<f32>(Math.PI / 2) * alpha);
  for (let i = begin; i < end; i += LANES) {
    let dv4 = f32x4.splat(0);
    for (let t = T - 1; t >= 0; t--) {
      const now = t * stride + i;
      const h4 = loadSome(at(h, now), end - i), fired4 = i32x4.neg(loadBytes(s + now, end - i));
      const g4 = surrogate4(kind, f32x4.sub(h4, threshold4), alpha4, half4, slope4);
      let out4 = loadSome(at(ds, now), end - i);
      if (attached && reset == SUBTRACT) out4 = f32x4.sub(out4, f32x4.mul(threshold4, dv4));
      if (attached && reset == ZERO) out4 = f32x4.sub(out4, f32x4.mul(h4, dv4));
      const kept4 = reset == ZERO ? v128.andnot(dv4, fired4) : dv4;
      const dh4 = f32x4.add(f32x4.mul(g4, out4), kept4);
      storeSome(at(dx, now), f32x4.mul(gain4, dh4), end - i);
      dv4 = f32x4.mul(decay4, dh4);
    }
  }
}
