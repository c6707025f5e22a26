/**
 * Convolutions laid out on a desk as the ops lay them out: stride 1, padding that keeps the size, weights packed, tables made.
 * Each gives the pointers of its tensors (x, y and their gradients [B, S, S, channels], w and dw [N, k, k, channels per group]) and its passes as functions.
 */
import { BAND, LISTED } from "../kernels/signatures.ts";
import type { Desk } from "./desk.ts";

export interface Shape { B: number; S: number; C: number; N: number; k: number }
/** What a depthwise convolution needs of it. */
export type DepthwiseShape = Omit<Shape, "N">;

export const describe = ({ B, S, C, N, k }: Shape): string => `${k}x${k} ${C}->${N} @${S}${B > 1 ? ` B${B}` : ""}`;
export const describeDepthwise = ({ S, C, k }: DepthwiseShape): string => `depthwise ${k}x${k} ${C} @${S}`;

/** Operations of one pass, 2 per multiply-accumulate. */
export const flopsOf = ({ B, S, C, N, k }: Shape): number => 2 * B * S * S * C * N * k * k;
export const depthwiseFlopsOf = ({ B, S, C, k }: DepthwiseShape): number => 2 * B * S * S * C * k * k;

/** The indirect GEMM and its two gradients. */
export function dense(desk: Desk, { B, S, C, N, k: side }: Shape) {
  const { k } = desk, taps = side * side, P = B * S * S, weights = N * taps * C;
  const [x, w, dy, y, dx, dw] = [P * C, weights, P * N, P * N, P * C, weights].map((size) => desk.reals(size));
  const [packed, turned, dwt] = [Math.ceil(N / 8) * 8 * taps * C, Math.ceil(C / 8) * 8 * taps * N, weights].map((size) => desk.bytes(4 * size));
  const { table, back } = tables(desk, B, S, side), pointwise = side === 1;
  k.conv_pack(Math.ceil(N / 8), w, packed, N, taps, C, 0);
  k.conv_pack_transposed(Math.ceil(C / 8), w, turned, N, taps, C);
  return {
    x, w, dy, y, dx, dw,
    forward: () => (pointwise ? k.f32_gemm(P, x, C, C, packed, 0, y, N, N) : k.f32_conv(P, x, C, table, P, taps, C, packed, 0, y, N, N)),
    inputGradient: () => (pointwise ? k.f32_gemm(P, dy, N, N, turned, 0, dx, C, C) : k.f32_conv(P, dy, N, back, P, taps, N, turned, 0, dx, C, C)),
    weightGradient: () => {
      k.f32_conv_weight_grad(taps * C, x, C, table, P, C, dy, N, N, dwt);
      k.conv_unpack_weight_grad(N, dwt, dw, N, taps * C);
    },
  };
}

/**
 * The same convolution of spikes, which a current fires as integers 1..4 at the given density. Lists are made in each pass.
 * `reals` is the dense one on their values.
 */
export function sparse(desk: Desk, shape: Shape, density: number) {
  const { k } = desk, { B, S, C, N, k: side } = shape, taps = side * side, P = B * S * S, D = 4, halo = side >> 1, H = S + 2 * halo, places = B * H * H, bands = Math.ceil(places / BAND), rows = taps * C;
  const reals = dense(desk, shape), { x, w, dy, y, dw } = reals, { table } = tables(desk, B, S, side);
  const u = desk.currents(P * C, density, D), s = desk.bytes(P * C);
  const [packed, blocks, dwt] = [Math.ceil(N / 32) * 32 * taps * C, Math.ceil(N / 32) * 32 * places, Math.ceil(N / 32) * 32 * rows].map((size) => desk.bytes(4 * size));
  const [events, spans, bandEvents, bandSpans] = [2 * P * C, 8 * P, 2 * LISTED * bands * C, 8 * bands * C].map((size) => desk.bytes(size));
  k.spike_conv_pack(Math.ceil(N / 32), w, packed, N, taps, C, 0);
  const fire = () => k.f32_fire_integer(P * C, u, s, 1, P * C, 0.25, 1, D), toReals = () => k.spikes_to_f32(P * C, s, x);
  fire();
  toReals();
  return {
    x, w, dy, y, dw, reals, fire, toReals,
    forward: () => {
      k.spike_events(Math.ceil(P / 64), s, events, spans, P, C);
      k.spike_conv(P, events, spans, table, P, taps, C, packed, 0, y, N, N);
    },
    weightGradient: () => {
      k.spike_channel_events(bands, s, bandEvents, bandSpans, B, S, S, C, H, H, 1, 0, 0);
      k.spike_gradient_blocks(B * H, dy, blocks, B, S, S, N, H, H, halo, halo);
      k.spike_weight_grad(Math.ceil(N / 32) * C, bandEvents, bandSpans, 0, places, places, taps, side, H, C, blocks, dwt, N, taps, 0, 1, side);
      k.conv_unpack_weight_grad(N, dwt, dw, 32, rows);
    },
  };
}

/** Planes of four channels with a halo of zeros; `pack` and `packGradient` lay them out, the passes read them. */
export function depthwise(desk: Desk, { B, S, C, k: side }: DepthwiseShape) {
  const { k } = desk, taps = side * side, H = S + side - 1, halo = side >> 1, blocks = Math.ceil(C / 4);
  const [x, w, dy, y, dx, dw] = [B * S * S * C, taps * C, B * S * S * C, B * S * S * C, B * S * S * C, taps * C].map((size) => desk.reals(size));
  const [x4, dy4, w4, turned] = [B * H * H, B * H * H, taps, taps].map((size) => desk.bytes(16 * blocks * size));
  k.depthwise_pack(blocks, w, w4, C, taps, 0, 0);
  k.depthwise_pack(blocks, w, turned, C, taps, 1, 0);
  const packed = (from: number, to: number) => () => k.nc4_pack(B * blocks, from, to, S, S, C, H, H, halo, halo, 1);
  const pack = packed(x, x4), packGradient = packed(dy, dy4);
  pack();
  packGradient();
  return {
    x, w, dy, y, dx, dw, pack, packGradient,
    forward: () => k.f32_depthwise(B * blocks, x4, w4, 0, y, C, H, H, S, S, side, side, 1, 1),
    inputGradient: () => k.f32_depthwise(B * blocks, dy4, turned, 0, dx, C, H, H, S, S, side, side, 1, 1),
    weightGradient: () => k.f32_depthwise_weight_grad(blocks, x4, dy4, dw, B, C, H, H, S, S, side, side, 1, 1, H, H, halo, halo, 1),
  };
}

/** Both tables of a convolution; none for 1x1, where an input pixel is its output pixel. */
function tables(desk: Desk, B: number, S: number, side: number): { table: number; back: number } {
  if (side === 1) return { table: 0, back: 0 };
  const taps = side * side, size = 4 * taps * B * S * S, table = desk.bytes(size), back = desk.bytes(size);
  desk.k.conv_table(taps, table, B, S, S, S, S, side, 1, side >> 1, 1);
  desk.k.conv_table_transposed(taps, back, B, S, S, S, S, side, 1, side >> 1, 1);
  return { table, back };
}
