/** Sixteen-bit floats (IEEE 754 binary16): to nearest, ties to even. */
import { nearest, type Machine } from "./machine.ts";

/** The bits of the half nearest to x. */
function half(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0, size = Math.abs(x);
  if (size >= 65536) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | nearest(size * 2 ** 24);
  let exponent = 15;
  while (size < 2 ** exponent) exponent--;
  return sign | (((exponent + 15) << 10) + nearest((size / 2 ** exponent - 1) * 1024)); // a fraction that rounds up to 1 carries into the exponent
}

function value(h: number): number {
  const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, fraction = h & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

export const halves = ({ real, u16 }: Machine) => ({
  f16_from_f32(begin: number, end: number, x: number, h: number): void {
    const X = real(x), H = u16(h);
    for (let i = begin; i < end; i++) H[i] = half(X[i]);
  },

  f16_to_f32(begin: number, end: number, h: number, x: number): void {
    const H = u16(h), X = real(x);
    for (let i = begin; i < end; i++) X[i] = value(H[i]);
  },
});
