/** 3x3 convolution of stride 1 by Winograd F(4x4,3x3), in rounds of tiles: what stands between its three steps stays in the cache. */
import { host } from "../host.ts";
import type { Geometry } from "./geometry.ts";

/** Tiles of 4x4 pixels in a round: 4.7 MB between the steps for 256 channels on either side. */
const ROUND = 64;
const POSITIONS = 36, SIDE = 4, LINE = 16;

export interface Picture { readonly pointer: number; readonly B: number; readonly H: number; readonly W: number; readonly channels: number }

/** Whether a convolution is of the one kind that this serves. */
export const suitsWinograd = ({ kh, kw, stride, padding, dilation, groups }: Pick<Geometry, "kh" | "kw" | "stride" | "padding" | "dilation" | "groups">): boolean =>
  kh === 3 && kw === 3 && stride === 1 && padding <= 2 && dilation === 1 && groups === 1;

/** Tiles that cover an output of H x W pixels in each of B pictures. */
export const tilesOf = (B: number, H: number, W: number): number => B * Math.ceil(H / SIDE) * Math.ceil(W / SIDE);

/** y = conv3x3(x) + bias, with weights as conv_pack left them (or conv_pack_transposed: then `flip` reverses the taps). `bias` 0 for none. */
export function winograd(x: Picture, packed: number, flip: boolean, bias: number, y: Picture, padding: number): void {
  const { kernels: k, memory, bytes } = host();
  const K = x.channels, N = y.channels, panels = Math.ceil(N / 8), tiles = tilesOf(y.B, y.H, y.W), most = Math.min(ROUND, tiles);
  const planes = (rows: number, width: number): number => memory.workspace(POSITIONS * (rows * width + LINE) * bytes);
  const u = planes(8 * panels, K), v = planes(most, 4 * Math.ceil(K / 4)), m = planes(most, 8 * panels);
  k.winograd_weights(panels, packed, u, N, K, flip ? 1 : 0);
  for (let first = 0; first < tiles; first += ROUND) {
    const count = Math.min(ROUND, tiles - first);
    k.f32_winograd_input(count, x.pointer, v, first, count, x.H, x.W, y.H, y.W, K, padding);
    k.f32_winograd_multiply(POSITIONS * panels, v, u, m, count, K, N);
    k.f32_winograd_output(count, m, bias, y.pointer, first, count, y.H, y.W, N);
  }
}
