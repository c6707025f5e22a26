/** Pooling, upsampling and padding of [B,H,W,C] images. */
import { LANES, at, loadSome, storeBytes, storeSome } from "./lanes";

// @ts-ignore: decorator
@inline function copyPixel(x: usize, y: usize, C: i32): void {
  for (let c = 0; c < C; c += LANES) storeSome(at(y, c), loadSome(at(x, c), C - c), C - c);
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
      for (let c = 0; c < C; c += LANES) {
        let best4 = f32x4.splat(-Infinity), arg4 = i32x4.splat(ky0 * k + kx0);
        for (let ky = ky0; ky < ky1; ky++) {
          for (let kx = kx0; kx < kx1; kx++) {
            const value4 = loadSome(at(x, corner + (ky * W + kx) * C + c), C - c);
            const greater4 = v128.or(f32x4.gt(value4, best4), f32x4.ne(value4, value4));
            best4 = v128.bitselect(value4, best4, greater4);
            arg4 = v128.bitselect(i32x4.splat(ky * k + kx), arg4, greater4);
          }
        }
        storeSome(at(y, out + c), best4, C - c);
        storeBytes(argmax + out + c, arg4, C - c);
      }
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
    for (let ox = 0; ox < W * factor; ox++) copyPixel(at(x, (row / factor * W + ox / factor) * C), at(y, (row * W * factor + ox) * C), C);
  }
}

/** dx[b][y][x] = sum of its factor x factor block of dy, in row-major order */
export function f32_upsample_nearest_backward(begin: i32, end: i32, dy: usize, dx: usize, H: i32, W: i32, C: i32, factor: i32): void {
  for (let row = begin; row < end; row++) {
    for (let px = 0; px < W; px++) {
      const block = (row * factor * W + px) * factor * C;
      for (let c = 0; c < C; c += LANES) {
        let sum4 = f32x4.splat(0);
        for (let ky = 0; ky < factor; ky++) {
          for (let kx = 0; kx < factor; kx++) sum4 = f32x4.add(sum4, loadSome(at(dy, block + (ky * W * factor + kx) * C + c), C - c));
        }
        storeSome(at(dx, (row * W + px) * C + c), sum4, C - c);
      }
    }
  }
}

/** y = x in the interior, border[c] in the frame of `pad` pixels around it */
export function f32_pad(begin: i32, end: i32, x: usize, border: usize, y: usize, H: i32, W: i32, C: i32, pad: i32): void {
  const OH = H + 2 * pad, OW = W + 2 * pad;
  for (let row = begin; row < end; row++) {
    const b = row / OH, py = row % OH - pad;
    for (let ox = 0; ox < OW; ox++) {
      const px = ox - pad, inside = py >= 0 && py < H && px >= 0 && px < W;
      copyPixel(inside ? at(x, ((b * H + py) * W + px) * C) : border, at(y, (row * OW + ox) * C), C);
    }
  }
}

/** dx = the interior of dy */
export function f32_crop(begin: i32, end: i32, dy: usize, dx: usize, H: i32, W: i32, C: i32, pad: i32): void {
  for (let row = begin; row < end; row++) {
    const b = row / H, from = ((b * (H + 2 * pad) + row % H + pad) * (W + 2 * pad) + pad) * C;
    copyPixel(at(dy, from), at(dx, row * W * C), W * C);
  }
}
