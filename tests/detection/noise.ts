import { Random } from "../../engine/index.ts";

/** Pictures of noise: [B, side, side, 3], the same for a seed. */
export function noise(B: number, side: number, seed = 1): { shape: number[]; data: Float32Array } {
  const random = new Random(seed);
  return { shape: [B, side, side, 3], data: Float32Array.from({ length: B * side * side * 3 }, () => random.uniform()) };
}
