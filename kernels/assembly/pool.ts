/** Pooling, upsampling and padding of [B,H,W,C] images. */
import { LANES, at, copyRow, loadSome, storeBytes, storeSome } from "./lanes";

/** The largest of the taps [ky0, ky1) x [kx0, kx1) of a window whose corner is x, and its number. */
// @ts-ignore: decorator
@inline function maxOf(count: i32, x: usize, y: usize, argmax: usize, W: i32, C: i32, k: i32, ky0: i32, ky1: i32, kx0: i32, kx1: i32): void {
  let best4 = f32x4.splat(-Infinity), arg4 = i32x4.splat(ky0 * k + kx0);
  for (let ky = ky0; ky < ky1; ky++) {
    let tap = at(x, (ky * W + kx0) * C);
    for (let kx = kx0; kx < kx1; kx++, tap = at(tap, C)) {
      const value4 = loadSome(tap, count);
      const greater4 = v128.or(f32x4.gt(value4, best4), f32x4.ne(value4, value4));
      best4 = v128.bitselect(value4, best4, greater4);
      arg4 = v128.bitselect(i32x4.splat(ky * k + kx), arg4, greater4);
    }
  }
  storeSome(y, best4, count);
  storeBytes(argmax, arg4, count);
}

/**
 * y = max over the k x k window; argmax = ky*k + kx of the first maximum in row-major order.
 * Taps in the padding are not looked at. NaN is greater than everything, as in PyTorch.
 */
export function f32_maxpool(begin: i32, end: i32, x: usize, y: usize, argmax: usize, H: i32, W: i32, C: i32, OH: i32, OW: i32, k: i32, stride: i32, padding: i32): void {
  for (let row = begin; row < end; row++) {
    const b = row / OH, top = row % OH * stride - padding;
    const ky0 = max(0, -top), ky1 = min(k, H - top);
    for (let ox = 0; ox < OW; ox++) {
      const left = ox * stride - padding;
      const kx0 = max(0, -left), kx1 = min(k, W - left);
      const corner = ((b * H + top) * W + left) * C, out = (row * OW + ox) * C;
      let c = 0;
      for (; c <= C - LANES; c += LANES) maxOf(LANES, at(x, corner + c), at(y, out + c), argmax + out + c, W, C, k, ky0, ky1, kx0, kx1);
      if (c < C) maxOf(C - c, at(x, corner + c), at(y, out + c), argmax + out + c, W, C, k, ky0, ky1, kx0, kx1);
    }
  }
}

/** dx = 0, then dx at each argmax += dy, output pixel after output pixel */
export function f32_maxpool_backward(begin: i32, end: i32, dy: usize, argmax: usize, dx: usize, H: i32, W: i32, C: i32, OH: i32, OW: i32, k: i32, stride: i32, padding: i32): void {
  for (let b = begin; b < end; b++) {
    memory.fill(at(dx, b * H * W * C), 0, at(0, H * W * C));
    for (let oy = 0; oy < OH; oy++) {
      for (let ox = 0; ox < OW; ox++) {
        const out = ((b * OH + oy) * OW + ox) * C;
        const corner = ((b * H + oy * stride - padding) * W + ox * stride - padding) * C;
        for (let c = 0; c < C; c++) {
          const tap = <i32>load<u8>(argmax + out + c), ky = tap / k, kx = tap - ky * k;
          const target = at(dx, corner + (ky * W + kx) * C + c);
          store<f32>(target, load<f32>(target) + load<f32>(at(dy, out + c)));
        }
      }
    }
  }
}

/** y[b][oy][ox] = x[b][oy / factor][ox / factor] */
export function f32_upsample_nearest(begin: i32, end: i32, x: usize, y: usize, H: i32, W: i32, C: i32, factor: i32): void {
  for (let row = begin; row < end; row++) {
    let from = at(x, row / factor * W * C), to = at(y, row * W * factor * C);
    for (let px = 0; px < W; px++, from = at(from, C)) {
      for (let f = 0; f < factor; f++, to = at(to, C)) copyRow(from, to, C);
    }
  }
}

// @ts-ignore: decorator
@inline function sumBlock(count: i32, dy: usize, dx: usize, line: i32, C: i32, factor: i32): void {
  let sum4 = f32x4.splat(0);
  for (let ky = 0; ky < factor; ky++, dy = at(dy, line)) {
    for (let kx = 0; kx < factor; kx++) sum4 = f32x4.add(sum4, loadSome(at(dy, kx * C), count));
  }
  storeSome(dx, sum4, count);
}

/** dx[b][y][x] = sum of its factor x factor block of dy, in row-major order */
export function f32_upsample_nearest_backward(begin: i32, end: i32, dy: usize, dx: usize, H: i32, W: i32, C: i32, factor: i32): void {
  for (let row = begin; row < end; row++) {
    for (let px = 0; px < W; px++) {
      const block = (row * factor * W + px) * factor * C;
      const from = at(dy, block), to = at(dx, (row * W + px) * C);
      let c = 0;
      for (; c <= C - LANES; c += LANES) sumBlock(LANES, at(from, c), at(to, c), W * factor * C, C, factor);
      if (c < C) sumBlock(C - c, at(from, c), at(to, c), W * factor * C, C, factor);
    }
  }
}

/** y = x in the interior, border[c] in the frame of `pad` pixels around it */
export function f32_pad(begin: i32, end: i32, x: usize, border: usize, y: usize, H: i32, W: i32, C: i32, pad: i32): void {
  const OH = H + 2 * pad, OW = W + 2 * pad;
  for (let row = begin; row < end; row++) {
    const b = row / OH, py = row % OH - pad, to = at(y, row * OW * C), inside = py >= 0 && py < H, left = inside ? pad : OW;
    for (let ox = 0; ox < left; ox++) copyRow(border, at(to, ox * C), C);
    if (!inside) continue;
    copyRow(at(x, (b * H + py) * W * C), at(to, pad * C), W * C);
    for (let ox = pad + W; ox < OW; ox++) copyRow(border, at(to, ox * C), C);
  }
}

/** dx = the interior of dy */
export function f32_crop(begin: i32, end: i32, dy: usize, dx: usize, H: i32, W: i32, C: i32, pad: i32): void {
  for (let row = begin; row < end; row++) {
    const b = row / H, from = ((b * (H + 2 * pad) + row % H + pad) * (W + 2 * pad) + pad) * C;
    copyRow(at(dy, from), at(dx, row * W * C), W * C);
  }
}
