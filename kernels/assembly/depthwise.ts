/**
 * Depthwise convolution on four-channel planes with a halo (NC4HW4): every load is one pointer plus a constant, and no
 * border is ever tested.
 *
 *   x4 [B][C/4][Hp][Wp][4]    w4 [C/4][taps][4]    y [B][OH][OW][C]
 *
 * Ten (or eight) neighbouring output pixels are summed in registers. Four planes share the cache lines of an NHWC row, so what reads or
 * writes such rows takes groups of up to four planes through one tile, one row, or one band of rows, before the next.
 */
import { depthwise_grad1x7, depthwise_grad3x3, depthwise_rows3x3, depthwise_rows7x7 } from "./generated/depthwise";
import { LANES, addStrided, at, clearVectors, madd, storeLanes } from "./lanes";

/** Bytes of one pixel of a plane. */
const PIXEL: usize = 16;

/** The number of four-channel blocks. */
// @ts-ignore: decorator
@inline function blocksOf(C: i32): i32 { return (C + LANES - 1) / LANES; }

/** The end of the group of planes that starts here: those of one image that share cache lines, within the range. */
// @ts-ignore: decorator
@inline function groupEnd(plane: i32, blocks: i32, end: i32): i32 {
  const block = plane % blocks;
  return min(end, plane + min(4 - block % 4, blocks - block));
}

/** Output rows in a band: about 256 pixels, whose lines stay in L2 while a group passes over them. */
// @ts-ignore: decorator
@inline function bandOf(OW: i32): i32 { return max(1, 256 / OW); }

/** Output pixels in a band of the weight gradient: sums of so many products stay near, and adding them to dw costs nothing. */
// @ts-ignore: decorator
@inline const GRADIENT_BAND: i32 = 1024;

/** The bits of a spike byte that are its value: in memory, because v128 constants are rebuilt at each use. */
// @ts-ignore: decorator
@lazy const NIBBLE = memory.data<u8>([15]);

/** v with the lanes from `count` on cleared. */
// @ts-ignore: decorator
@inline function firstLanes(v: v128, count: i32): v128 {
  return v128.and(v, i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(count)));
}

/** Four channels as f32, from reals (size 4) or from the low nibbles of spike bytes (size 1). */
// @ts-ignore: decorator
@inline function load4<T>(p: usize): v128 {
  if (sizeof<T>() == 4) return v128.load(p);
  const bytes = v128.and(v128.load32_zero(p), i8x16.splat(15));
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(bytes)));
}

/** x4[b][c/4][top + y*step][left + x*step] = x[b][y][x][c..c+3]; zeros elsewhere, pixels that fall outside are dropped. */
function pack<T>(begin: i32, end: i32, x: usize, x4: usize, H: i32, W: i32, C: i32, Hp: i32, Wp: i32, top: i32, left: i32, step: i32): void {
  const blocks = blocksOf(C), pixelBytes = <usize>C * sizeof<T>(), rowBytes = <usize>Wp * PIXEL, planeBytes = <usize>Hp * rowBytes;
  const first = left < 0 ? (step - 1 - left) / step : 0;                    // columns first..last-1 land inside
  const last = left < Wp ? max(first, min(W, (Wp - left - 1) / step + 1)) : first;
  const from = left + first * step, to = from + (last - first) * step;       // and these columns of a plane are theirs
  for (let group = begin, next = 0; group < end; group = next) {
    next = groupEnd(group, blocks, end);
    const b = group / blocks, c = group % blocks * LANES, whole = C - c >= LANES * (next - group);
    for (let row = 0; row < Hp; row++) {
      const y = (row - top) / step, inside = row >= top && y * step == row - top && y < H && first < last;
      const rows = x4 + <usize>group * planeBytes + <usize>row * rowBytes;
      for (let plane = 0; plane < next - group; plane++) {
        const q = rows + <usize>plane * planeBytes;
        if (!inside || step > 1) clearVectors(q, q + rowBytes);
        else {
          clearVectors(q, q + <usize>from * PIXEL);
          clearVectors(q + <usize>to * PIXEL, q + rowBytes);
        }
      }
      if (!inside) continue;
      let p = x + <usize>((b * H + y) * W + first) * pixelBytes + <usize>c * sizeof<T>(), q = rows + <usize>from * PIXEL;
      if (whole && next - group == 4) {
        const nibble = v128.load8_splat(NIBBLE);
        for (let i = first; i < last; i++, p += pixelBytes, q += <usize>step * PIXEL) {
          if (sizeof<T>() == 4) {
            v128.store(q, v128.load(p));
            v128.store(q + planeBytes, v128.load(p, 16));
            v128.store(q + 2 * planeBytes, v128.load(p, 32));
            v128.store(q + 3 * planeBytes, v128.load(p, 48));
          } else {
            const values = v128.and(v128.load(p), nibble), lo = i16x8.extend_low_i8x16_u(values), hi = i16x8.extend_high_i8x16_u(values);
            v128.store(q, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(lo)));
            v128.store(q + planeBytes, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_u(lo)));
            v128.store(q + 2 * planeBytes, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(hi)));
            v128.store(q + 3 * planeBytes, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_u(hi)));
          }
        }
      } else for (let plane = 0; plane < next - group; plane++, p += LANES * sizeof<T>(), q += planeBytes) {
        const channels = C - c - plane * LANES;
        let pixel = p, place = q;
        for (let i = first; i < last; i++, pixel += pixelBytes, place += <usize>step * PIXEL) {
          v128.store(place, channels >= LANES ? load4<T>(pixel) : firstLanes(load4<T>(pixel), channels));
        }
      }
    }
  }
}

/** x4 from reals */
export function nc4_pack(
  begin: i32, end: i32, x: usize, x4: usize, H: i32, W: i32, C: i32, Hp: i32, Wp: i32, top: i32, left: i32, step: i32,
): void {
  pack<f32>(begin, end, x, x4, H, W, C, Hp, Wp, top, left, step);
}

/** x4 from spike bytes: the low nibble as a number */
export function nc4_pack_spikes(
  begin: i32, end: i32, s: usize, x4: usize, H: i32, W: i32, C: i32, Hp: i32, Wp: i32, top: i32, left: i32, step: i32,
): void {
  pack<u8>(begin, end, s, x4, H, W, C, Hp, Wp, top, left, step);
}

/** w4[c/4][tap][c%4] = w[c][flip ? taps-1-tap : tap], zeros past C */
export function depthwise_pack(begin: i32, end: i32, w: usize, w4: usize, C: i32, taps: i32, flip: i32, scale: usize): void {
  for (let c = begin * LANES; c < end * LANES; c++) {
    for (let tap = 0; tap < taps; tap++) {
      const from = at(w, c * taps + (flip ? taps - 1 - tap : tap)), to = at(w4, (c / LANES * taps + tap) * LANES + c % LANES);
      store<f32>(to, c < C ? load<f32>(from) * (scale ? load<f32>(at(scale, c)) : 1) : 0);
    }
  }
}

/** y[b][oy][ox][c] = bias[c] + sum_ky sum_kx x4[b][c][oy*stride + ky*dilation][ox*stride + kx*dilation] * w[c][ky][kx] */
export function f32_depthwise(
  begin: i32, end: i32, x4: usize, w4: usize, bias: usize, y: usize, C: i32, Hp: i32, Wp: i32, OH: i32, OW: i32,
  kh: i32, kw: i32, stride: i32, dilation: i32,
): void {
  const blocks = blocksOf(C), dense = stride == 1 && dilation == 1 && kh == kw;
  const rowBytes = <usize>Wp * PIXEL, ldy = at(0, C), band = bandOf(OW);
  for (let group = begin, next = 0; group < end; group = next) {
    next = groupEnd(group, blocks, end);
    if (dense && (kw == 3 || kw == 7)) {
      const c = group % blocks * LANES, channels = min(LANES * (next - group), C - c);
      const q = x4 + <usize>(group * Hp) * rowBytes, planeBytes = <usize>Hp * rowBytes, w = w4 + <usize>(group % blocks * kh * kw) * PIXEL;
      const bias4 = bias ? at(bias, c) : 0, to = at(y, group / blocks * OH * OW * C + c);
      if (kw == 3) depthwise_rows3x3(q, rowBytes, planeBytes, w, bias4, to, ldy, OH, OW, channels);
      else depthwise_rows7x7(q, rowBytes, planeBytes, w, bias4, to, ldy, OH, OW, channels);
      continue;
    }
    for (let oy = 0; oy < OH; oy += band) {
      const rows = min(band, OH - oy);
      for (let plane = group; plane < next; plane++) {
        const b = plane / blocks, block = plane % blocks, c = block * LANES, channels = min(LANES, C - c);
        const q = x4 + <usize>(plane * Hp + oy * stride) * rowBytes, w = w4 + <usize>(block * kh * kw) * PIXEL;
        anyRows(q, rowBytes, w, bias ? at(bias, c) : 0, at(y, (b * OH + oy) * OW * C + c), ldy, rows, OW, kh, kw, stride, dilation, channels);
      }
    }
  }
}

/** Any kernel, stride and dilation: four output pixels at a time, pixels past the end of the row repeat its last. */
function anyRows(
  q: usize, rowBytes: usize, w: usize, bias: usize, y: usize, ldy: usize, rows: i32, OW: i32,
  kh: i32, kw: i32, stride: i32, dilation: i32, channels: i32,
): void {
  const bias4 = bias ? v128.load(bias) : f32x4.splat(0);
  const stepX = <usize>stride * PIXEL, tapX = <usize>dilation * PIXEL, tapY = <usize>dilation * rowBytes;
  for (let oy = 0; oy < rows; oy++, q += <usize>stride * rowBytes, y += <usize>OW * ldy) {
    for (let ox = 0; ox < OW; ox += LANES) {
      const last = OW - 1;
      const i0 = <usize>ox, i1 = <usize>min(ox + 1, last), i2 = <usize>min(ox + 2, last), i3 = <usize>min(ox + 3, last);
      let y0 = bias4, y1 = bias4, y2 = bias4, y3 = bias4, tap = w;
      for (let ky = 0; ky < kh; ky++) {
        let x = q + <usize>ky * tapY;
        for (let kx = 0; kx < kw; kx++, x += tapX, tap += PIXEL) {
          const w4 = v128.load(tap);
          y0 = madd(v128.load(x + i0 * stepX), w4, y0);
          y1 = madd(v128.load(x + i1 * stepX), w4, y1);
          y2 = madd(v128.load(x + i2 * stepX), w4, y2);
          y3 = madd(v128.load(x + i3 * stepX), w4, y3);
        }
      }
      storeLanes(y + i0 * ldy, y0, channels);
      storeLanes(y + i1 * ldy, y1, channels);
      storeLanes(y + i2 * ldy, y2, channels);
      storeLanes(y + i3 * ldy, y3, channels);
    }
  }
}

/**
 * dw[c][tap] = sum over b, oy, ox of x4[b][c][oy*stride + ky*dilation][ox*stride + kx*dilation] * dy4[b][c][top + oy*step][left + ox*step]
 *
 * A band of rows is summed in registers, then added to dw.
 */
export function f32_depthwise_weight_grad(
  begin: i32, end: i32, x4: usize, dy4: usize, dw: usize, B: i32, C: i32, Hp: i32, Wp: i32, OH: i32, OW: i32,
  kh: i32, kw: i32, stride: i32, dilation: i32, Hg: i32, Wg: i32, top: i32, left: i32, step: i32,
): void {
  const blocks = blocksOf(C), taps = kh * kw, dense = stride == 1 && dilation == 1 && step == 1 && kh == kw;
  const rowX = <usize>Wp * PIXEL, rowG = <usize>Wg * PIXEL, ldw = at(0, taps), band = max(1, GRADIENT_BAND / OW);
  memory.fill(at(dw, begin * LANES * taps), 0, at(0, (min(C, end * LANES) - begin * LANES) * taps));
  for (let block = begin; block < end; block++) {
    const c = block * LANES, channels = min(LANES, C - c), to = at(dw, c * taps);
    for (let b = 0; b < B; b++) for (let oy = 0; oy < OH; oy += band) {
      const rows = min(band, OH - oy), plane = b * blocks + block;
      const x = x4 + <usize>(plane * Hp + oy * stride) * rowX, g = dy4 + <usize>((plane * Hg + top + oy * step) * Wg + left) * PIXEL;
      if (dense && kw == 3) depthwise_grad3x3(x, rowX, g, rowG, rows, OW, to, ldw, channels);
      else if (dense && kw == 7) for (let ky = 0; ky < 7; ky++) depthwise_grad1x7(x + <usize>ky * rowX, rowX, g, rowG, rows, OW, at(to, ky * 7), ldw, channels);
      else for (let tap = 0; tap < taps; tap++) {
        const q = x + <usize>(tap / kw * dilation) * rowX + <usize>(tap % kw * dilation) * PIXEL;
        tapGrad(q, rowX, stride, g, rowG, step, rows, OW, at(to, tap), ldw, channels);
      }
    }
  }
}

/** One tap of a band: dw += sum of x[oy*stride][ox*stride] * dy[oy*step][ox*step] */
function tapGrad(x: usize, rowX: usize, stride: i32, dy: usize, rowG: usize, step: i32, rows: i32, OW: i32, dw: usize, ldw: usize, channels: i32): void {
  let sum4 = f32x4.splat(0);
  for (let oy = 0; oy < rows; oy++, x += <usize>stride * rowX, dy += <usize>step * rowG) {
    for (let ox = 0, q = x, g = dy; ox < OW; ox++, q += <usize>stride * PIXEL, g += <usize>step * PIXEL) sum4 = madd(v128.load(q), v128.load(g), sum4);
  }
  addStrided(dw, ldw, sum4, channels);
}
