/**
 * Depthwise convolution: every channel with its own kernel. The input is laid out in planes of four channels with a zero halo,
 *
 *     x4[b][c/4][padding + y][padding + x][c%4]
 *
 * so that each tap of each output is one pointer plus a constant.
 */
import { behind } from "../behind.ts";
import { host } from "../host.ts";
import type { Value } from "../op.ts";
import { Spikes, type EventLists } from "../spikes.ts";
import type { Tensor } from "../tensor.ts";
import type { Weights } from "./conv.ts";
import type { Geometry } from "./geometry.ts";

interface Planes { readonly x4: number; readonly Hp: number; readonly Wp: number }

export function depthwiseForward(x: Value, { ptr, scale, bias }: Weights, y: Tensor, g: Geometry): void {
  const { kernels: k } = host();
  const { x4, Hp, Wp } = inputPlanes(x, g);
  const w4 = packedWeight(ptr, g, false, scale);
  k.f32_depthwise(g.B * blocks(g), x4, w4, bias, y.ptr, g.C, Hp, Wp, g.OH, g.OW, g.kh, g.kw, g.stride, g.dilation);
}

/** dx is the same convolution of dy, spread by the stride, with the kernel turned around; dw sums x4 times dy for each tap. Both read one layout of dy. */
export function depthwiseBackward(dy: Tensor, x: Value, weight: Tensor, dx: Tensor | undefined, dw: Tensor | undefined, g: Geometry): void {
  const { kernels: k, memory, bytes } = host();
  const reachY = g.dilation * (g.kh - 1), reachX = g.dilation * (g.kw - 1);
  const plane = dx ? { H: g.H + reachY, W: g.W + reachX, top: reachY - g.padding, left: reachX - g.padding, step: g.stride } : { H: g.OH, W: g.OW, top: 0, left: 0, step: 1 };
  const dy4 = memory.workspace(4 * blocks(g) * g.B * plane.H * plane.W * bytes);
  k.nc4_pack(g.B * blocks(g), dy.ptr, dy4, g.OH, g.OW, g.C, plane.H, plane.W, plane.top, plane.left, plane.step);
  if (dx) k.f32_depthwise(g.B * blocks(g), dy4, packedWeight(weight.ptr, g, true), 0, dx.ptr, g.C, plane.H, plane.W, g.H, g.W, g.kh, g.kw, 1, g.dilation);
  if (dw) behind(weight, 4 * g.outputPixels * g.taps * g.C, (k) => {
    const { x4, Hp, Wp } = inputPlanes(x, g, k);
    k.f32_depthwise_weight_grad(
      blocks(g), x4, dy4, dw.ptr, g.B, g.C, Hp, Wp, g.OH, g.OW, g.kh, g.kw, g.stride, g.dilation, plane.H, plane.W, plane.top, plane.left, plane.step,
    );
  });
}

/** Exact sums over events, for one virtual timestep (`unit`) or for integer values. q: i32 [C][taps]. */
export function depthwiseSteps(q: number, sums: number, g: Geometry, table: number): (lists: EventLists, unit: boolean) => void {
  const { kernels: k, memory } = host();
  const byTap = memory.workspace(4 * g.taps * g.C);
  const from = new Int32Array(memory.wasm.buffer, q, g.C * g.taps), to = new Int32Array(memory.wasm.buffer, byTap, g.C * g.taps);
  for (let c = 0; c < g.C; c++) for (let tap = 0; tap < g.taps; tap++) to[tap * g.C + c] = from[c * g.taps + tap];
  return ({ events, spans }, unit) => {
    const kernel = unit ? k.fixed_depthwise_accumulate : k.fixed_depthwise_multiply_accumulate;
    kernel(g.outputPixels, events, spans, table, g.outputPixels, g.taps, g.C, byTap, sums);
  };
}

const blocks = ({ C }: Geometry): number => Math.ceil(C / 4);

function inputPlanes(x: Value, g: Geometry, k = host().kernels): Planes {
  const { memory, bytes } = host();
  const Hp = g.H + 2 * g.padding, Wp = g.W + 2 * g.padding;
  const x4 = memory.workspace(4 * blocks(g) * g.B * Hp * Wp * bytes);
  const pack = x instanceof Spikes ? k.nc4_pack_spikes : k.nc4_pack;
  pack(g.B * blocks(g), x.ptr, x4, g.H, g.W, g.C, Hp, Wp, g.padding, g.padding, 1);
  return { x4, Hp, Wp };
}

function packedWeight(weight: number, g: Geometry, flip: boolean, scale = 0): number {
  const { kernels: k, memory, bytes } = host();
  const w4 = memory.workspace(4 * blocks(g) * g.taps * bytes);
  k.depthwise_pack(blocks(g), weight, w4, g.C, g.taps, flip ? 1 : 0, scale);
  return w4;
}
