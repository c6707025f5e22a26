/** Spike bytes of a given density, as a layer may meet them. */
import { Random } from "../../engine/random.ts";

export interface Frames { readonly B: number; readonly H: number; readonly W: number; readonly C: number }

/**
 * uniform     every element fires with the same probability
 * clustered   discs cover the root of the density of each picture, and in them that share of the channels fires; nothing fires elsewhere
 */
export const patterns = ["uniform", "clustered"] as const;
export type Pattern = (typeof patterns)[number];

/** Pixels of a picture for each disc: some ten objects at 40 x 40. */
const PER_DISC = 160;

/** Bytes [B, H, W, C] with values 1..D, of which a share fires: exact to one element in each picture. */
export function spikeBytes({ B, H, W, C }: Frames, { pattern, density, D, seed = 1 }: { pattern: Pattern; density: number; D: number; seed?: number }): Uint8Array {
  const random = new Random(seed), bytes = new Uint8Array(B * H * W * C), perPicture = Math.round(density * H * W * C);
  for (let b = 0; b < B; b++) {
    const pixels = pattern === "uniform" ? Array.from({ length: H * W }, (_, p) => p) : nearest(random, H, W, Math.max(1, Math.ceil(Math.sqrt(density) * H * W), Math.ceil(perPicture / C)));
    const places = pixels.length * C, from = b * H * W * C;
    let left = perPicture;
    for (let i = 0; i < places; i++) { // each of the places that remain is as likely to be one of those left
      if (random.uniform() * (places - i) >= left) continue;
      left--;
      bytes[from + pixels[Math.floor(i / C)] * C + (i % C)] = random.integer(1, D + 1);
    }
  }
  return bytes;
}

/** The pixels nearest to any of some centres drawn at random: discs that meet and grow together. */
function nearest(random: Random, H: number, W: number, count: number): number[] {
  const centres = Array.from({ length: Math.max(1, Math.round((H * W) / PER_DISC)) }, () => ({ y: random.uniform(0, H), x: random.uniform(0, W) }));
  const distance = (p: number): number => Math.min(...centres.map(({ y, x }) => (Math.floor(p / W) - y) ** 2 + ((p % W) - x) ** 2));
  return Array.from({ length: H * W }, (_, p) => ({ p, distance: distance(p) })).sort((a, b) => a.distance - b.distance).slice(0, count).map(({ p }) => p).sort((a, b) => a - b);
}
