/** Of all that EXIF says of a picture: which way is up. */

const ORIENTATION = 0x0112, SHORT = 3, ENTRY = 12;

/** 1..8 as EXIF numbers them; 1, upright, for anything that is not there or makes no sense. `exif` begins with the byte order, or with "Exif" and two zeros. */
export function orientationOf(exif: Uint8Array): number {
  const start = exif[0] === 0x45 && exif[1] === 0x78 ? 6 : 0;
  if (exif.length < start + 8) return 1;
  const view = new DataView(exif.buffer, exif.byteOffset + start, exif.byteLength - start);
  const little = view.getUint16(0) === 0x4949;
  if ((!little && view.getUint16(0) !== 0x4d4d) || view.getUint16(2, little) !== 42) return 1;
  const directory = view.getUint32(4, little);
  if (directory + 2 > view.byteLength) return 1;
  for (let i = 0, at = directory + 2; i < view.getUint16(directory, little) && at + ENTRY <= view.byteLength; i++, at += ENTRY) {
    if (view.getUint16(at, little) !== ORIENTATION || view.getUint16(at + 2, little) !== SHORT) continue;
    const value = view.getUint16(at + 8, little);
    return value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

/** Stored RGB pixels turned upright. */
export function upright({ width, height, pixels }: { width: number; height: number; pixels: Uint8Array }, orientation: number): { width: number; height: number; pixels: Uint8Array } {
  if (orientation === 1) return { width, height, pixels };
  const [swap, left, top] = TURNS[orientation - 1];
  const [W, H] = swap ? [height, width] : [width, height], out = new Uint8Array(pixels.length);
  for (let y = 0, to = 0; y < H; y++) for (let x = 0; x < W; x++, to += 3) {
    const i = swap ? y : x, j = swap ? x : y;
    const from = 3 * ((top ? height - 1 - j : j) * width + (left ? width - 1 - i : i));
    out[to] = pixels[from];
    out[to + 1] = pixels[from + 1];
    out[to + 2] = pixels[from + 2];
  }
  return { width: W, height: H, pixels: out };
}

/** For orientation 1..8: whether the upright picture's x runs along stored rows or columns, and whether stored columns and rows are read backwards. */
const TURNS: readonly (readonly [swap: boolean, columnsBackwards: boolean, rowsBackwards: boolean])[] = [
  [false, false, false], [false, true, false], [false, true, true], [false, false, true],
  [true, false, false], [true, false, true], [true, true, true], [true, true, false],
];
