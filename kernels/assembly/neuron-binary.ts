/**
 * Neurons that emit 0 or 1: charge, fire, reset, and the way back. A spike byte is value | windowOpen << 4.
 *
 *   h[t] = decay*v[t-1] + gain*x[t]                                 charge
 *   s[t] = [h[t] >= threshold]                                      fire
 *   v[t] = h[t] - threshold*s[t]  or  h[t]*(1 - s[t])  or  h[t]     reset
 *
 * Membranes are not kept: the way back charges again from the same currents, to the same bits. No sum here is fused with its product.
 */
import { exp4 } from "./exponential";
import { LANES, at, loadSome, narrow, storeBytes, storeSome } from "./lanes";

/** Neurons side by side in a line of the cache. Timesteps lie powers of two apart, in one set, so a line is done with before the next. */
// @ts-ignore: decorator
@inline const LINE: i32 = 16;

/** What becomes of the membrane when a neuron fires. */
// @ts-ignore: decorator
@inline const SUBTRACT: i32 = 0;
// @ts-ignore: decorator
@inline const ZERO: i32 = 1;

// @ts-ignore: decorator
@inline function charge4(x4: v128, v4: v128, decay4: v128, gain4: v128): v128 { return f32x4.add(f32x4.mul(decay4, v4), f32x4.mul(gain4, x4)); }

/** What is left of h. `subtracted` is the threshold or 0, `cleared` all ones or 0: at most one of them is set. */
// @ts-ignore: decorator
@inline function reset4(h4: v128, fired4: v128, subtracted4: v128, cleared4: v128): v128 {
  return v128.andnot(f32x4.sub(h4, v128.and(fired4, subtracted4)), v128.and(fired4, cleared4));
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

/** Whether the surrogate derivative at u is not 0: |slope*u| < reach, or everywhere. */
// @ts-ignore: decorator
@inline function open4(u4: v128, slope4: v128, reach4: v128, everywhere4: v128): v128 {
  return v128.or(f32x4.lt(f32x4.abs(f32x4.mul(slope4, u4)), reach4), everywhere4);
}

/** Spike bytes, four lanes wide. */
// @ts-ignore: decorator
@inline function byte4(fired4: v128, open4: v128, bit4: v128): v128 { return v128.or(i32x4.shr_u(fired4, 31), v128.and(open4, bit4)); }

// @ts-ignore: decorator
@inline function fire16(
  x: usize, v: usize, s: usize, T: i32, stride: i32, decay4: v128, gain4: v128, threshold4: v128, subtracted4: v128, cleared4: v128, slope4: v128, reach4: v128, everywhere4: v128, bit4: v128,
): void {
  let v0 = f32x4.splat(0), v1 = v0, v2 = v0, v3 = v0;
  if (v) {
    v0 = v128.load(v);
    v1 = v128.load(v, 16);
    v2 = v128.load(v, 32);
    v3 = v128.load(v, 48);
  }
  for (let t = 0; t < T; t++, x = at(x, stride), s += stride) {
    const h0 = charge4(v128.load(x), v0, decay4, gain4), h1 = charge4(v128.load(x, 16), v1, decay4, gain4);
    const h2 = charge4(v128.load(x, 32), v2, decay4, gain4), h3 = charge4(v128.load(x, 48), v3, decay4, gain4);
    const fired0 = f32x4.ge(h0, threshold4), fired1 = f32x4.ge(h1, threshold4), fired2 = f32x4.ge(h2, threshold4), fired3 = f32x4.ge(h3, threshold4);
    v128.store(s, narrow(
      byte4(fired0, open4(f32x4.sub(h0, threshold4), slope4, reach4, everywhere4), bit4), byte4(fired1, open4(f32x4.sub(h1, threshold4), slope4, reach4, everywhere4), bit4),
      byte4(fired2, open4(f32x4.sub(h2, threshold4), slope4, reach4, everywhere4), bit4), byte4(fired3, open4(f32x4.sub(h3, threshold4), slope4, reach4, everywhere4), bit4),
    ));
    v0 = reset4(h0, fired0, subtracted4, cleared4);
    v1 = reset4(h1, fired1, subtracted4, cleared4);
    v2 = reset4(h2, fired2, subtracted4, cleared4);
    v3 = reset4(h3, fired3, subtracted4, cleared4);
  }
  if (v) {
    v128.store(v, v0);
    v128.store(v, v1, 16);
    v128.store(v, v2, 32);
    v128.store(v, v3, 48);
  }
}

// @ts-ignore: decorator
@inline function fireSome(
  count: i32, x: usize, v: usize, s: usize, T: i32, stride: i32, decay4: v128, gain4: v128, threshold4: v128, subtracted4: v128, cleared4: v128, slope4: v128, reach4: v128, everywhere4: v128, bit4: v128,
): void {
  let v4 = v ? loadSome(v, count) : f32x4.splat(0);
  for (let t = 0; t < T; t++, x = at(x, stride), s += stride) {
    const h4 = charge4(loadSome(x, count), v4, decay4, gain4), fired4 = f32x4.ge(h4, threshold4);
    storeBytes(s, byte4(fired4, open4(f32x4.sub(h4, threshold4), slope4, reach4, everywhere4), bit4), count);
    v4 = reset4(h4, fired4, subtracted4, cleared4);
  }
  if (v) storeSome(v, v4, count);
}

/** Fires from membranes v [stride], in whose place those after the last timestep are left; from 0, and keeping none, where v is null. */
export function f32_fire_binary(
  begin: i32, end: i32, x: usize, v: usize, s: usize, T: i32, stride: i32, decay: f32, gain: f32, threshold: f32, reset: i32, kind: i32, alpha: f32,
): void {
  const decay4 = f32x4.splat(decay), gain4 = f32x4.splat(gain), threshold4 = f32x4.splat(threshold), bit4 = i32x4.splat(16);
  const subtracted4 = f32x4.splat(reset == SUBTRACT ? threshold : 0), cleared4 = i32x4.splat(reset == ZERO ? -1 : 0);
  const slope4 = f32x4.splat(kind == RECTANGULAR ? <f32>1 : alpha), reach4 = f32x4.splat(kind == RECTANGULAR ? 1 / (2 * alpha) : <f32>1), everywhere4 = i32x4.splat(kind == ATAN || kind == SIGMOID ? -1 : 0);
  let i = begin;
  for (; i <= end - 16; i += 16) fire16(at(x, i), v ? at(v, i) : 0, s + i, T, stride, decay4, gain4, threshold4, subtracted4, cleared4, slope4, reach4, everywhere4, bit4);
  for (; i < end; i += LANES) fireSome(end - i, at(x, i), v ? at(v, i) : 0, s + i, T, stride, decay4, gain4, threshold4, subtracted4, cleared4, slope4, reach4, everywhere4, bit4);
}

/**
 *   g      = surrogate'(h[t] - threshold)
 *   dh[t]  = g*(ds[t] + resetTerm) + (dv/dh)*dv[t]      resetTerm, only if attached: -threshold*dv[t] or -h[t]*dv[t]
 *   dx[t]  = share*dh[t],  dv[t-1] = decay*dh[t]          share: gain, or 1 where dh itself is wanted
 *
 * On the way forward dx[t] holds h[t], until its gradient takes its place.
 */
export function f32_fire_binary_backward(
  begin: i32, end: i32, x: usize, ds: usize, dx: usize, T: i32, stride: i32,
  decay: f32, gain: f32, threshold: f32, reset: i32, attached: i32, kind: i32, alpha: f32, share: f32,
): void {
  const decay4 = f32x4.splat(decay), gain4 = f32x4.splat(gain), threshold4 = f32x4.splat(threshold), alpha4 = f32x4.splat(alpha), share4 = f32x4.splat(share);
  const subtracted4 = f32x4.splat(reset == SUBTRACT ? threshold : 0), cleared4 = i32x4.splat(reset == ZERO ? -1 : 0);
  const half4 = f32x4.splat(kind == RECTANGULAR ? 1 / (2 * alpha) : alpha / 2), slope4 = f32x4.splat(<f32>(Math.PI / 2) * alpha);
  for (let line = begin; line < end; line += LINE) {
    const after = min(line + LINE, end);
    for (let i = line; i < after; i += LANES) {
      const count = end - i;
      let v4 = f32x4.splat(0);
      for (let t = 0, now = i; t < T; t++, now += stride) {
        const h4 = charge4(loadSome(at(x, now), count), v4, decay4, gain4);
        storeSome(at(dx, now), h4, count);
        v4 = reset4(h4, f32x4.ge(h4, threshold4), subtracted4, cleared4);
      }
    }
    for (let i = line; i < after; i += LANES) {
      const count = end - i;
      let dv4 = f32x4.splat(0);
      for (let now = (T - 1) * stride + i; now >= i; now -= stride) {
        const h4 = loadSome(at(dx, now), count), g4 = surrogate4(kind, f32x4.sub(h4, threshold4), alpha4, half4, slope4);
        let out4 = loadSome(at(ds, now), count);
        if (attached && reset == SUBTRACT) out4 = f32x4.sub(out4, f32x4.mul(threshold4, dv4));
        if (attached && reset == ZERO) out4 = f32x4.sub(out4, f32x4.mul(h4, dv4));
        const dh4 = f32x4.add(f32x4.mul(g4, out4), v128.andnot(dv4, v128.and(f32x4.ge(h4, threshold4), cleared4)));
        storeSome(at(dx, now), f32x4.mul(share4, dh4), count);
        dv4 = f32x4.mul(decay4, dh4);
      }
    }
  }
}

/** Neurons of a partial sum. */
// @ts-ignore: decorator
@inline const BLOCK: i32 = 1024;

/** Sums in float64, in which the products are exact: partial[2 block] = sum dh[t]*v[t-1],  partial[2 block + 1] = sum dh[t]*x[t]. */
export function f32_fire_leak_grad(
  begin: i32, end: i32, x: usize, dh: usize, partial: usize, T: i32, stride: i32, decay: f32, gain: f32, threshold: f32, reset: i32,
): void {
  const decay4 = f32x4.splat(decay), gain4 = f32x4.splat(gain), threshold4 = f32x4.splat(threshold);
  const subtracted4 = f32x4.splat(reset == SUBTRACT ? threshold : 0), cleared4 = i32x4.splat(reset == ZERO ? -1 : 0);
  for (let block = begin; block < end; block++) {
    const first = block * BLOCK, after = min(first + BLOCK, stride);
    let kept0 = f64x2.splat(0), kept2 = kept0, fed0 = kept0, fed2 = kept0;
    for (let i = first; i < after; i += LANES) {
      let v4 = f32x4.splat(0);
      for (let t = 0; t < T; t++) {
        const now = t * stride + i, x4 = loadSome(at(x, now), after - i), dh4 = loadSome(at(dh, now), after - i);
        const dh0 = f64x2.promote_low_f32x4(dh4), dh2 = f64x2.promote_low_f32x4(upper(dh4));
        kept0 = f64x2.add(kept0, f64x2.mul(dh0, f64x2.promote_low_f32x4(v4)));
        kept2 = f64x2.add(kept2, f64x2.mul(dh2, f64x2.promote_low_f32x4(upper(v4))));
        fed0 = f64x2.add(fed0, f64x2.mul(dh0, f64x2.promote_low_f32x4(x4)));
        fed2 = f64x2.add(fed2, f64x2.mul(dh2, f64x2.promote_low_f32x4(upper(x4))));
        const h4 = charge4(x4, v4, decay4, gain4);
        v4 = reset4(h4, f32x4.ge(h4, threshold4), subtracted4, cleared4);
      }
    }
    store<f32>(at(partial, 2 * block), sumOf(f64x2.add(kept0, kept2)));
    store<f32>(at(partial, 2 * block + 1), sumOf(f64x2.add(fed0, fed2)));
  }
}

// @ts-ignore: decorator
@inline function upper(v4: v128): v128 { return v128.shuffle<f32>(v4, v4, 2, 3, 2, 3); }

// @ts-ignore: decorator
@inline function sumOf(v2: v128): f32 { return <f32>(f64x2.extract_lane(v2, 0) + f64x2.extract_lane(v2, 1)); }
