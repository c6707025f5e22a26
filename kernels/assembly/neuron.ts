/**
 * Neurons that emit integers: charge, fire, reset, and the way back. The membrane stays in registers from the first timestep to the last.
 * A spike byte is value | windowOpen << 4. No sum here is fused with its product: a spike is a rounding, and must be the same everywhere.
 */
import { RUN, listRun } from "./lists";
import { LANES, at, loadSome, narrow, storeBytes, storeSome } from "./lanes";

/** 1.5 * 2^23: a sum with it is rounded half to even to an integer, which stands in its low bits. In memory, because v128 constants are rebuilt at each use. */
// @ts-ignore: decorator
@lazy const MAGIC = memory.data<f32>([12582912]);
// @ts-ignore: decorator
@lazy const OPEN = memory.data<u8>([16]);

/** clamp(h, 0, D), and 0 for NaN */
// @ts-ignore: decorator
@inline function clamp4(h4: v128, D4: v128): v128 { return f32x4.pmin(f32x4.pmax(f32x4.splat(0), h4), D4); }

/** scale*x + shift */
// @ts-ignore: decorator
@inline function affine4(x4: v128, scale4: v128, shift4: v128): v128 { return f32x4.add(f32x4.mul(x4, scale4), shift4); }

/** Sixteen neurons, from the first timestep to the last, on x or, `normed`, on scale*x + shift (+ residual), which is kept where u leads. */
// @ts-ignore: decorator
@inline function fire16(
  normed: bool, x: usize, scale: usize, shift: usize, residual: usize, u: usize, s: usize, T: i32, stride: i32, decay4: v128, gain4: v128, D4: v128, magic: v128, open: v128,
): void {
  let v0 = f32x4.splat(0), v1 = v0, v2 = v0, v3 = v0;
  for (let t = 0; t < T; t++) {
    let u0 = v128.load(x), u1 = v128.load(x, 16), u2 = v128.load(x, 32), u3 = v128.load(x, 48);
    if (normed) {
      u0 = affine4(u0, v128.load(scale), v128.load(shift));
      u1 = affine4(u1, v128.load(scale, 16), v128.load(shift, 16));
      u2 = affine4(u2, v128.load(scale, 32), v128.load(shift, 32));
      u3 = affine4(u3, v128.load(scale, 48), v128.load(shift, 48));
      if (residual) {
        u0 = f32x4.add(u0, v128.load(residual));
        u1 = f32x4.add(u1, v128.load(residual, 16));
        u2 = f32x4.add(u2, v128.load(residual, 32));
        u3 = f32x4.add(u3, v128.load(residual, 48));
      }
      if (u) {
        v128.store(u, u0);
        v128.store(u, u1, 16);
        v128.store(u, u2, 32);
        v128.store(u, u3, 48);
      }
    }
    let h0 = f32x4.mul(gain4, u0), h1 = f32x4.mul(gain4, u1), h2 = f32x4.mul(gain4, u2), h3 = f32x4.mul(gain4, u3);
    if (t > 0) {
      h0 = f32x4.add(f32x4.mul(decay4, v0), h0);
      h1 = f32x4.add(f32x4.mul(decay4, v1), h1);
      h2 = f32x4.add(f32x4.mul(decay4, v2), h2);
      h3 = f32x4.add(f32x4.mul(decay4, v3), h3);
    }
    const clamped0 = clamp4(h0, D4), clamped1 = clamp4(h1, D4), clamped2 = clamp4(h2, D4), clamped3 = clamp4(h3, D4);
    const windows = narrow(f32x4.eq(h0, clamped0), f32x4.eq(h1, clamped1), f32x4.eq(h2, clamped2), f32x4.eq(h3, clamped3));
    const q0 = f32x4.add(clamped0, magic), q1 = f32x4.add(clamped1, magic), q2 = f32x4.add(clamped2, magic), q3 = f32x4.add(clamped3, magic);
    const values = narrow(i32x4.sub(q0, magic), i32x4.sub(q1, magic), i32x4.sub(q2, magic), i32x4.sub(q3, magic));
    v128.store(s, v128.or(values, v128.and(windows, open)));
    if (t == T - 1) break;
    x = at(x, stride);
    s += stride;
    if (normed && residual) residual = at(residual, stride);
    if (normed && u) u = at(u, stride);
    v0 = f32x4.sub(h0, f32x4.sub(q0, magic));
    v1 = f32x4.sub(h1, f32x4.sub(q1, magic));
    v2 = f32x4.sub(h2, f32x4.sub(q2, magic));
    v3 = f32x4.sub(h3, f32x4.sub(q3, magic));
  }
}

/** The same for one neuron. */
// @ts-ignore: decorator
@inline function fire1(
  normed: bool, i: i32, c: i32, x: usize, scale: usize, shift: usize, residual: usize, u: usize, s: usize, T: i32, stride: i32, decay: f32, gain: f32, D: i32,
): void {
  let v: f32 = 0;
  for (let t = 0; t < T; t++, i += stride) {
    let current = load<f32>(at(x, i));
    if (normed) {
      current = current * load<f32>(at(scale, c)) + load<f32>(at(shift, c));
      if (residual) current += load<f32>(at(residual, i));
      if (u) store<f32>(at(u, i), current);
    }
    const h = decay * v + gain * current;
    const clamped: f32 = h > 0 ? min(h, <f32>D) : 0, value = nearest(clamped);
    v = h - value;
    store<u8>(s + i, <i32>value | (h == clamped ? 16 : 0));
  }
}

/**
 * Integer leaky integrate-and-fire.
 *
 *   h[t] = decay*v[t-1] + gain*x[t]          charge; in the first timestep there is no v
 *   s[t] = round(clamp(h[t], 0, D))          fire; the window is open where the clamp changed nothing
 *   v[t] = h[t] - s[t]                       reset
 */
export function f32_fire_integer(begin: i32, end: i32, x: usize, s: usize, T: i32, stride: i32, decay: f32, gain: f32, D: i32): void {
  const decay4 = f32x4.splat(decay), gain4 = f32x4.splat(gain), D4 = f32x4.splat(<f32>D), magic = v128.load32_splat(MAGIC), open = v128.load8_splat(OPEN);
  let i = begin;
  if (T == 1) for (; i <= end - 16; i += 16) fire16(false, at(x, i), 0, 0, 0, 0, s + i, 1, stride, decay4, gain4, D4, magic, open); // needs no registers for membranes
  else for (; i <= end - 16; i += 16) fire16(false, at(x, i), 0, 0, 0, 0, s + i, T, stride, decay4, gain4, D4, magic, open);
  for (; i < end; i++) fire1(false, i, 0, x, 0, 0, 0, 0, s, T, stride, decay, gain, D);
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

// @ts-ignore: decorator
@inline function normFire(
  begin: i32, end: i32, x: usize, scale: usize, shift: usize, residual: usize, u: usize, s: usize, events: usize, spans: usize,
  T: i32, pixels: i32, C: i32, decay: f32, gain: f32, D: i32,
): void {
  const decay4 = f32x4.splat(decay), gain4 = f32x4.splat(gain), D4 = f32x4.splat(<f32>D), magic = v128.load32_splat(MAGIC), open = v128.load8_splat(OPEN);
  for (let run = begin; run < end; run++) {
    const first = run * RUN, last = min(first + RUN, pixels);
    for (let p = first; p < last; p++) {
      let c = 0, i = p * C;
      for (; c <= C - 16; c += 16, i += 16) {
        fire16(true, at(x, i), at(scale, c), at(shift, c), residual ? at(residual, i) : 0, u ? at(u, i) : 0, s + i, T, pixels * C, decay4, gain4, D4, magic, open);
      }
      for (; c < C; c++, i++) fire1(true, i, c, x, scale, shift, residual, u, s, T, pixels * C, decay, gain, D);
    }
    if (events) for (let t = 0; t < T; t++) listRun(false, t * pixels + first, t * pixels + last, s, events, spans, C, 0);
  }
}

/** Fires runs [begin, end) of 64 pixels on u[t] = scale*x[t] + shift (+ residual[t]) in one pass; u is kept, and events listed, where asked for. */
export function f32_norm_fire_integer(
  begin: i32, end: i32, x: usize, scale: usize, shift: usize, residual: usize, u: usize, s: usize, events: usize, spans: usize,
  T: i32, pixels: i32, C: i32, decay: f32, gain: f32, D: i32,
): void {
  if (T == 1) normFire(begin, end, x, scale, shift, residual, u, s, events, spans, 1, pixels, C, decay, gain, D);
  else normFire(begin, end, x, scale, shift, residual, u, s, events, spans, T, pixels, C, decay, gain, D);
}

/** dh[t] = window[t]*ds[t] + decay*dh[t+1];  dx[t] = gain*dh[t] */
export function f32_fire_integer_backward(begin: i32, end: i32, s: usize, ds: usize, dx: usize, T: i32, stride: i32, decay: f32, gain: f32): void {
  const decay4 = f32x4.splat(decay), gain4 = f32x4.splat(gain);
  let i = begin;
  for (; i <= end - 8; i += 8) {
    let low4 = f32x4.splat(0), high4 = low4;
    for (let t = T - 1; t >= 0; t--) {
      const now = t * stride + i, from = at(ds, now), to = at(dx, now);
      const windows = i16x8.shr_s(i16x8.shl(v128.load8x8_u(s + now), 11), 15);
      low4 = f32x4.add(v128.and(i32x4.extend_low_i16x8_s(windows), v128.load(from)), f32x4.mul(decay4, low4));
      high4 = f32x4.add(v128.and(i32x4.extend_high_i16x8_s(windows), v128.load(from, 16)), f32x4.mul(decay4, high4));
      v128.store(to, f32x4.mul(gain4, low4));
      v128.store(to, f32x4.mul(gain4, high4), 16);
    }
  }
  for (; i < end; i++) {
    let dh: f32 = 0;
    for (let t = T - 1; t >= 0; t--) {
      const now = t * stride + i;
      dh = (load<u8>(s + now) & 16 ? load<f32>(at(ds, now)) : 0) + decay * dh;
      store<f32>(at(dx, now), gain * dh);
    }
  }
}

// @ts-ignore: decorator
@inline function fireOnward(count: i32, x: usize, v: usize, s: usize, T: i32, stride: i32, decay4: v128, gain4: v128, D4: v128, magic: v128, open: v128): void {
  let v4 = loadSome(v, count);
  for (let t = 0; t < T; t++, x = at(x, stride), s += stride) {
    const h4 = f32x4.add(f32x4.mul(decay4, v4), f32x4.mul(gain4, loadSome(x, count))), clamped4 = clamp4(h4, D4), q4 = f32x4.add(clamped4, magic);
    storeBytes(s, v128.or(i32x4.sub(q4, magic), v128.and(f32x4.eq(h4, clamped4), open)), count);
    v4 = f32x4.sub(h4, f32x4.sub(q4, magic));
  }
  storeSome(v, v4, count);
}

/** The same from membranes v [stride], in whose place those after the last timestep are left. */
export function f32_fire_integer_onward(begin: i32, end: i32, x: usize, v: usize, s: usize, T: i32, stride: i32, decay: f32, gain: f32, D: i32): void {
  const decay4 = f32x4.splat(decay), gain4 = f32x4.splat(gain), D4 = f32x4.splat(<f32>D), magic = v128.load32_splat(MAGIC), open = i32x4.splat(16);
  for (let i = begin; i < end; i += LANES) fireOnward(end - i, at(x, i), at(v, i), s + i, T, stride, decay4, gain4, D4, magic, open);
}
