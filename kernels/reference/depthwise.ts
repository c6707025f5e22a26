/** Depthwise convolution on four-channel planes with a halo:  x4 [B][C/4][Hp][Wp][4],  w4 [C/4][taps][4],  y [B][OH][OW][C]. */
import type { Machine } from "./machine.ts";

const LANES = 4;
const blocksOf = (C: number): number => Math.ceil(C / LANES);

export const depthwise = ({ real, u8, round }: Machine) => {
  /** x4[plane][top + y*step][left + x*step][lane] = value(element of x); zeros elsewhere */
  function pack(
    begin: number, end: number, value: (i: number) => number, x4: number, H: number, W: number, C: number,
    Hp: number, Wp: number, top: number, left: number, step: number,
  ): void {
    const X4 = real(x4), blocks = blocksOf(C);
    X4.fill(0, begin * Hp * Wp * LANES, end * Hp * Wp * LANES);
    for (let plane = begin; plane < end; plane++) {
      const b = Math.floor(plane / blocks), c = (plane % blocks) * LANES;
      for (let y = 0; y < H; y++) for (let x = 0; x < W; x++) {
        const py = top + y * step, px = left + x * step;
        if (py < 0 || py >= Hp || px < 0 || px >= Wp) continue;
        for (let lane = 0; lane < LANES && c + lane < C; lane++) {
          X4[((plane * Hp + py) * Wp + px) * LANES + lane] = value(((b * H + y) * W + x) * C + c + lane);
        }
      }
    }
  }

  return {
    nc4_pack(
      begin: number, end: number, x: number, x4: number, H: number, W: number, C: number,
      Hp: number, Wp: number, top: number, left: number, step: number,
    ): void {
      const X = real(x);
      pack(begin, end, (i) => X[i], x4, H, W, C, Hp, Wp, top, left, step);
    },

    nc4_pack_spikes(
      begin: number, end: number, s: number, x4: number, H: number, W: number, C: number,
      Hp: number, Wp: number, top: number, left: number, step: number,
    ): void {
      const S = u8(s);
      pack(begin, end, (i) => S[i] & 15, x4, H, W, C, Hp, Wp, top, left, step);
    },

    depthwise_pack(begin: number, end: number, w: number, w4: number, C: number, taps: number, flip: number, scale: number): void {
      const Weight = real(w), W4 = real(w4), Scale = real(scale);
      for (let c = begin * LANES; c < end * LANES; c++) {
        for (let tap = 0; tap < taps; tap++) {
          const from = flip ? taps - 1 - tap : tap;
          W4[(Math.floor(c / LANES) * taps + tap) * LANES + (c % LANES)] = c < C ? Weight[c * taps + from] * (scale ? Scale[c] : 1) : 0;
        }
      }
    },

    f32_depthwise(
      begin: number, end: number, x4: number, w4: number, bias: number, y: number, C: number, Hp: number, Wp: number,
      OH: number, OW: number, kh: number, kw: number, stride: number, dilation: number,
    ): void {
      const X4 = real(x4), W4 = real(w4), Bias = real(bias), Y = real(y), blocks = blocksOf(C);
      for (let plane = begin; plane < end; plane++) {
        const b = Math.floor(plane / blocks), block = plane % blocks;
        for (let c = block * LANES; c < Math.min(C, (block + 1) * LANES); c++) {
          for (let oy = 0; oy < OH; oy++) for (let ox = 0; ox < OW; ox++) {
            let sum = bias ? Bias[c] : 0;
            for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < kw; kx++) {
              const pixel = (plane * Hp + oy * stride + ky * dilation) * Wp + ox * stride + kx * dilation;
              const tap = (block * kh + ky) * kw + kx;
              sum = round(sum + round(X4[pixel * LANES + (c % LANES)] * W4[tap * LANES + (c % LANES)]));
            }
            Y[((b * OH + oy) * OW + ox) * C + c] = sum;
          }
        }
      }
    },

    f32_depthwise_weight_grad(
      begin: number, end: number, x4: number, dy4: number, dw: number, B: number, C: number, Hp: number, Wp: number,
      OH: number, OW: number, kh: number, kw: number, stride: number, dilation: number, Hg: number, Wg: number, top: number, left: number, step: number,
    ): void {
      const X4 = real(x4), DY4 = real(dy4), DW = real(dw), blocks = blocksOf(C);
      for (let c = begin * LANES; c < Math.min(C, end * LANES); c++) {
        for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < kw; kx++) {
          let sum = 0;
          for (let b = 0; b < B; b++) for (let oy = 0; oy < OH; oy++) for (let ox = 0; ox < OW; ox++) {
            const plane = b * blocks + Math.floor(c / LANES);
            const pixel = (plane * Hp + oy * stride + ky * dilation) * Wp + ox * stride + kx * dilation;
            const fed = (plane * Hg + top + oy * step) * Wg + left + ox * step;
            sum = round(sum + round(X4[pixel * LANES + (c % LANES)] * DY4[fed * LANES + (c % LANES)]));
          }
          DW[(c * kh + ky) * kw + kx] = sum;
        }
      }
    },
  };
};
