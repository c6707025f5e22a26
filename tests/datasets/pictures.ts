/** Pictures to test with, drawn from a formula, and files made of them. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import type { Picture } from "../../datasets/sample.ts";

/** Smooth colours with one hard corner, different in every channel and nowhere symmetric. */
export function pattern(width: number, height: number): Picture {
  const pixels = new Uint8Array(width * height * 3);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 3) {
      const corner = x < width / 3 && y < height / 4 ? 60 : 0;
      pixels[at] = 40 + 150 * x / width + corner;
      pixels[at + 1] = 200 - 120 * y / height - corner;
      pixels[at + 2] = 90 + 60 * Math.sin(x / 5) * Math.cos(y / 7);
    }
  }
  return { width, height, pixels };
}

const raw = ({ width, height, pixels }: Picture) => sharp(pixels, { raw: { width, height, channels: 3 } });

export async function jpegOf(picture: Picture, options: Parameters<ReturnType<typeof sharp>["jpeg"]>[0] & { orientation?: number; grey?: boolean; cmyk?: boolean } = {}): Promise<Uint8Array> {
  const { orientation, grey, cmyk, ...rest } = options;
  let image = raw(picture);
  if (grey) image = image.toColourspace("b-w");
  if (cmyk) image = image.toColourspace("cmyk");
  if (orientation) image = image.withMetadata({ orientation });
  return new Uint8Array(await image.jpeg({ quality: 90, ...rest }).toBuffer());
}

/** Largest difference of any value. */
export function apart(a: Picture, b: Picture): number {
  if (a.width !== b.width || a.height !== b.height) throw new Error(`pictures of ${a.width} x ${a.height} and ${b.width} x ${b.height} cannot be compared`);
  let worst = 0;
  for (let i = 0; i < a.pixels.length; i++) worst = Math.max(worst, Math.abs(a.pixels[i] - b.pixels[i]));
  return worst;
}

/** A path beside the repository, or undefined where there is none. */
export function beside(path: string): string | undefined {
  const at = fileURLToPath(new URL(`../../../shared/${path}`, import.meta.url));
  return existsSync(at) ? at : undefined;
}

export const fixture = (name: string) => JSON.parse(readFileSync(new URL(`../fixtures/${name}`, import.meta.url), "utf8"));
