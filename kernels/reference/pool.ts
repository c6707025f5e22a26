/** Pooling, upsampling and padding of [B,H,W,C] images. */
import type { Machine } from "./machine.ts";

export const pool = ({ real, u8, round }: Machine) => ({
  f32_maxpool(begin: number, end: number, x: number, y: number, argmax: number, H: number, W: number, C: number, OH: number, OW: number, k: number, stride: number, padding: number): void {
    const X = real(x), Y = real(y), A = u8(argmax);
    for (let row = begin; row < end; row++) {
      const b = Math.floor(row / OH), top = (row % OH) * stride - padding;
      for (let ox = 0; ox < OW; ox++) {
        const left = ox * stride - padding;
        for (let c = 0; c < C; c++) {
          let best = -Infinity, arg = Math.max(0, -top) * k + Math.max(0, -left);
          for (let tap = 0; tap < k * k; tap++) {
            const py = top + Math.floor(tap / k), px = left + (tap % k);
            if (py < 0 || py >= H || px < 0 || px >= W) continue;
            const value = X[((b * H + py) * W + px) * C + c];
            if (value > best || Number.isNaN(value)) {
              best = value;
              arg = tap;
            }
          }
          Y[(row * OW + ox) * C + c] = best;
          A[(row * OW + ox) * C + c] = arg;
        }
      }
    }
  },

  f32_maxpool_backward(begin: number, end: number, dy: number, argmax: number, dx: number, H: number, W: number, C: number, OH: number, OW: number, k: number, stride: number, padding: number): void {
    const dY = real(dy), A = u8(argmax), dX = real(dx);
    for (let b = begin; b < end; b++) {
      dX.fill(0, b * H * W * C, (b + 1) * H * W * C);
      for (let oy = 0; oy < OH; oy++) {
        for (let ox = 0; ox < OW; ox++) {
          for (let c = 0; c < C; c++) {
            const out = ((b * OH + oy) * OW + ox) * C + c;
            const py = oy * stride - padding + Math.floor(A[out] / k), px = ox * stride - padding + (A[out] % k);
            dX[((b * H + py) * W + px) * C + c] += dY[out];
          }
        }
      }
    }
  },

  f32_upsample_nearest(begin: number, end: number, x: number, y: number, H: number, W: number, C: number, factor: number): void {
    const X = real(x), Y = real(y), OH = H * factor, OW = W * factor;
    for (let row = begin; row < end; row++) {
      const b = Math.floor(row / OH), py = Math.floor((row % OH) / factor);
      for (let ox = 0; ox < OW; ox++) {
        const px = Math.floor(ox / factor);
        for (let c = 0; c < C; c++) Y[(row * OW + ox) * C + c] = X[((b * H + py) * W + px) * C + c];
      }
    }
  },

  f32_upsample_nearest_backward(begin: number, end: number, dy: number, dx: number, H: number, W: number, C: number, factor: number): void {
    const dY = real(dy), dX = real(dx), OW = W * factor;
    for (let row = begin; row < end; row++) { // b * H + y
      for (let px = 0; px < W; px++) {
        for (let c = 0; c < C; c++) {
          let sum = 0;
          for (let ky = 0; ky < factor; ky++) {
            for (let kx = 0; kx < factor; kx++) sum = round(sum + dY[((row * factor + ky) * OW + px * factor + kx) * C + c]);
          }
          dX[(row * W + px) * C + c] = sum;
        }
      }
    }
  },

  f32_pad(begin: number, end: number, x: number, border: number, y: number, H: number, W: number, C: number, pad: number): void {
    const X = real(x), E = real(border), Y = real(y), OH = H + 2 * pad, OW = W + 2 * pad;
    for (let row = begin; row < end; row++) {
      const b = Math.floor(row / OH), py = (row % OH) - pad;
      for (let ox = 0; ox < OW; ox++) {
        const px = ox - pad, inside = py >= 0 && py < H && px >= 0 && px < W;
        for (let c = 0; c < C; c++) Y[(row * OW + ox) * C + c] = inside ? X[((b * H + py) * W + px) * C + c] : E[c];
      }
    }
  },

  f32_crop(begin: number, end: number, dy: number, dx: number, H: number, W: number, C: number, pad: number): void {
    const dY = real(dy), dX = real(dx), OH = H + 2 * pad, OW = W + 2 * pad;
    for (let row = begin; row < end; row++) {
      const b = Math.floor(row / H), py = row % H;
      for (let px = 0; px < W; px++) {
        for (let c = 0; c < C; c++) dX[(row * W + px) * C + c] = dY[((b * OH + py + pad) * OW + px + pad) * C + c];
      }
    }
  },
});
