/** Batch norm is column sums (rows.ts), an affine map per channel (rows.ts), and this: its numbers per channel, in float64 between loads and stores, and its gradient. */
import { LANES, at } from "./lanes";

/** dx[row][c] = a[c] * dy[row][c] + b[c] * x[row][c] + k[c] */
export function f32_norm_backward(begin: i32, end: i32, x: usize, dy: usize, a: usize, b: usize, k: usize, dx: usize, C: i32): void {
  for (let row = begin; row < end; row++) {
    const xr = at(x, row * C), dyr = at(dy, row * C), dxr = at(dx, row * C);
    let c = 0;
    for (; c <= C - LANES; c += LANES) {
      const linear = f32x4.add(f32x4.mul(v128.load(at(a, c)), v128.load(at(dyr, c))), f32x4.mul(v128.load(at(b, c)), v128.load(at(xr, c))));
      v128.store(at(dxr, c), f32x4.add(linear, v128.load(at(k, c))));
    }
    for (; c < C; c++) store<f32>(at(dxr, c), load<f32>(at(a, c)) * load<f32>(at(dyr, c)) + load<f32>(at(b, c)) * load<f32>(at(xr, c)) + load<f32>(at(k, c)));
  }
}

// @ts-ignore: decorator
@inline function number(p: usize, c: i32): f64 { return <f64>load<f32>(at(p, c)); }

/** Stores a number, and says what of it was stored. */
// @ts-ignore: decorator
@inline function stored(p: usize, c: i32, value: f64): f64 {
  store<f32>(at(p, c), <f32>value);
  return <f64><f32>value;
}

/** scale[c] = gamma[c] / sqrt(variance[c] + eps),  shift[c] = beta[c] - mean[c] * scale[c] */
export function f32_norm_affine(begin: i32, end: i32, gamma: usize, beta: usize, mean: usize, variance: usize, eps: f64, scale: usize, shift: usize): void {
  for (let c = begin; c < end; c++) {
    const s = stored(scale, c, number(gamma, c) / Math.sqrt(number(variance, c) + eps));
    stored(shift, c, number(beta, c) - number(mean, c) * s);
  }
}

/** runningMean[c] += share * (mean[c] - runningMean[c]), and so for variance[c] times factor */
export function f32_norm_running(begin: i32, end: i32, mean: usize, variance: usize, runningMean: usize, runningVariance: usize, share: f64, factor: f64): void {
  for (let c = begin; c < end; c++) {
    const m = number(runningMean, c), v = number(runningVariance, c);
    stored(runningMean, c, m + share * (number(mean, c) - m));
    stored(runningVariance, c, v + share * (number(variance, c) * factor - v));
  }
}

/** r = 1 / sqrt(variance[c] + eps);  a[c] = gamma[c] r;  b[c] = -a r^2 dot[c] / rows,  k[c] = -a sum[c] / rows - mean[c] b[c], both 0 if rows is 0;  dot[c] becomes r dot[c] */
export function f32_norm_coefficients(
  begin: i32, end: i32, gamma: usize, mean: usize, variance: usize, eps: f64, sum: usize, dot: usize, rows: f64, a: usize, b: usize, k: usize,
): void {
  for (let c = begin; c < end; c++) {
    const r = 1 / Math.sqrt(number(variance, c) + eps), ac = stored(a, c, number(gamma, c) * r);
    const bc = stored(b, c, rows > 0 ? -ac * r * r * number(dot, c) / rows : 0);
    stored(k, c, rows > 0 ? -ac * number(sum, c) / rows - number(mean, c) * bc : 0);
    stored(dot, c, number(dot, c) * r);
  }
}

/**
 * With lines a, b, v = lines[0..2] and sums S, T = sums[0..1]:
 * dw[o][c] = dA[o][c] a[c] + S[o] b[c] + (T[o] - S[o]) v[c];  ofLine[0][c] = sum over o of dA[o][c] w[o][c],  ofLine[1][c] = sum over o of S[o] w[o][c]
 */
export function f32_normed_weight_grad(begin: i32, end: i32, dA: usize, w: usize, lines: usize, sums: usize, dw: usize, ofLine: usize, out: i32, C: i32): void {
  let c = begin;
  for (; c <= end - LANES; c += LANES) {
    const a = v128.load(at(lines, c)), b = v128.load(at(lines, C + c)), v = v128.load(at(lines, 2 * C + c));
    let da = f32x4.splat(0), db = f32x4.splat(0);
    for (let o = 0, i = c; o < out; o++, i += C) {
      const inside = load<f32>(at(sums, o)), S = f32x4.splat(inside), d = v128.load(at(dA, i)), x = v128.load(at(w, i));
      v128.store(at(dw, i), f32x4.add(f32x4.add(f32x4.mul(d, a), f32x4.mul(S, b)), f32x4.mul(f32x4.splat(load<f32>(at(sums, out + o)) - inside), v)));
      da = f32x4.add(da, f32x4.mul(d, x));
      db = f32x4.add(db, f32x4.mul(S, x));
    }
    v128.store(at(ofLine, c), da);
    v128.store(at(ofLine, C + c), db);
  }
  for (; c < end; c++) {
    const a = load<f32>(at(lines, c)), b = load<f32>(at(lines, C + c)), v = load<f32>(at(lines, 2 * C + c));
    let da: f32 = 0, db: f32 = 0;
    for (let o = 0, i = c; o < out; o++, i += C) {
      const S = load<f32>(at(sums, o)), d = load<f32>(at(dA, i)), x = load<f32>(at(w, i));
      store<f32>(at(dw, i), d * a + S * b + (load<f32>(at(sums, out + o)) - S) * v);
      da += d * x;
      db += S * x;
    }
    store<f32>(at(ofLine, c), da);
    store<f32>(at(ofLine, C + c), db);
  }
}

/**
 * r = 1 / sqrt(variance[c] + eps),  t = ofLine[0][c] - mean[c] ofLine[1][c];  dgamma[c] = r t,  dbeta[c] = ofLine[1][c];
 * b[c] = -gamma[c] r^3 t / rows,  k[c] = -gamma[c] r ofLine[1][c] / rows - mean[c] b[c]
 */
export function f32_normed_coefficients(
  begin: i32, end: i32, ofLine: usize, gamma: usize, mean: usize, variance: usize, eps: f64, rows: f64, dgamma: usize, dbeta: usize, b: usize, k: usize, C: i32,
): void {
  for (let c = begin; c < end; c++) {
    const r = 1 / Math.sqrt(number(variance, c) + eps), db = number(ofLine, C + c), t = number(ofLine, c) - number(mean, c) * db;
    stored(dgamma, c, r * t);
    stored(dbeta, c, db);
    const bc = stored(b, c, -number(gamma, c) * r * r * r * t / rows);
    stored(k, c, -number(gamma, c) * r * db / rows - number(mean, c) * bc);
  }
}
