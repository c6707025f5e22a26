/**
 * One convolution of spikes on a desk, with every kernel that there is for it. All of them start at spike bytes and end at float32 sums, so that lists,
 * conversions and whatever else a kernel needs of the spikes are in its time; weights are laid out before.
 *
 * Weights and output gradients are small whole numbers, of which float32, int16 and int8 all give the exact sums: kernels must agree to the bit.
 */
import { BAND, LISTED } from "../../kernels/signatures.ts";
import { Random } from "../../engine/random.ts";
import type { Desk } from "../desk.ts";

export interface Layer { readonly B: number; readonly H: number; readonly W: number; readonly C: number; readonly N: number; readonly k: number; readonly stride: number; readonly padding: number }

/** A layer of stride 1 that keeps its size. */
export const square = (S: number, C: number, N: number, k: number): Layer => ({ B: 1, H: S, W: S, C, N, k, stride: 1, padding: k >> 1 });
export const nameOf = ({ B, H, W, C, N, k, stride }: Layer): string => `${k}x${k}${stride > 1 ? `/${stride}` : ""} ${C}->${N} @${H === W ? H : `${H}x${W}`}${B > 1 ? ` B${B}` : ""}`;

/** Which arithmetic a kernel runs in: what of the roofs holds for it. */
export type Arithmetic = "f32" | "i16" | "i8";

export interface Kernel {
  readonly name: string;
  readonly arithmetic: Arithmetic;
  /** The kernel that it is held against. */
  readonly against: "dense f32" | "dW dense f32";
  run(): void;
  /** Float32 values that it leaves. */
  result(): Float32Array;
  /** Multiplications and additions that it has to do for these spikes. */
  operations(): number;
  /** Bytes that have to be read or written once: spikes, weights (or output gradients), results. */
  readonly bytes: number;
}

const LARGEST = 32767;

/** `D` is the largest value that the spikes will have. */
export function layKernels(desk: Desk, { B, H, W, C, N, k: side, stride, padding }: Layer, D: number) {
  const { k } = desk, random = new Random(2), taps = side * side, OH = Math.floor((H + 2 * padding - side) / stride) + 1, OW = Math.floor((W + 2 * padding - side) / stride) + 1;
  const P = B * H * W, Q = B * OH * OW, size = N * taps * C, pointwise = side === 1 && stride === 1 && padding === 0;
  const view = { i8: Int8Array, u8: Uint8Array, i16: Int16Array, i32: Int32Array, f32: Float32Array };
  const at = <K extends keyof typeof view>(kind: K, pointer: number, length: number) => new view[kind](desk.loaded.memory.buffer, pointer, length) as InstanceType<(typeof view)[K]>;
  const place = <K extends keyof typeof view>(kind: K, values: readonly number[]): number => {
    const pointer = desk.bytes(view[kind].BYTES_PER_ELEMENT * values.length);
    at(kind, pointer, values.length).set(values);
    return pointer;
  };
  const most = Math.max(1, Math.min(4, Math.floor(LARGEST / (3 * D * C)))), whole = (n: number, most: number): number[] => Array.from({ length: n }, () => random.integer(-most, most + 1));
  const weights = whole(size, most), s = desk.bytes(P * C);

  const table = pointwise ? 0 : desk.bytes(4 * taps * Q);
  if (table) k.conv_table(taps, table, B, H, W, OH, OW, side, stride, padding, 1);
  const w = place("f32", weights), packed = desk.bytes(4 * Math.ceil(N / 8) * 8 * taps * C), packedSparse = desk.bytes(4 * Math.ceil(N / 32) * 32 * taps * C);
  k.conv_pack(Math.ceil(N / 8), w, packed, N, taps, C, 0);
  k.spike_conv_pack(Math.ceil(N / 32), w, packedSparse, N, taps, C, 0);
  const w8 = place("i8", weights), packed8 = desk.bytes(Math.ceil(N / 8) * 8 * taps * (Math.ceil(C / 4) * 4)), w16 = place("i16", weights), packed16 = desk.bytes(2 * Math.ceil(N / 64) * 64 * taps * C);
  k.dot_i8_pack(Math.ceil(N / 8), w8, packed8, N, taps, C);
  k.spike_conv_i16_pack(Math.ceil(N / 64), w16, packed16, N, taps, C);
  const reach = desk.bytes(4 * N);
  k.spike_conv_i16_reach(N, w16, reach, taps, C);
  const farthest = Math.max(...at("i32", reach, N)), ones = place("f32", new Array<number>(N).fill(1));

  const [x, values, events, spans, y] = [4 * P * C, P * C, 2 * P * C, 8 * P, 4 * Q * N].map((bytes) => desk.bytes(bytes));
  const list = (): void => k.spike_events(Math.ceil(P / 64), s, events, spans, P, C), toReals = (): void => k.spikes_to_f32(P * C, s, x), toSums = (): void => k.fixed_to_f32(Q, y, ones, 0, y, N);
  const result = (): Float32Array => at("f32", y, Q * N).slice(), dense = 2 * Q * N * taps * C;

  /** Events that reach an output pixel, each through one tap: 2 N operations. */
  const sparse = (): number => {
    const bytes = at("u8", s, P * C), fired = new Int32Array(P);
    for (let i = 0; i < bytes.length; i++) if (bytes[i] & 15) fired[Math.floor(i / C)]++;
    const sum = table ? at("i32", table, taps * Q).reduce((sum, p) => (p < 0 ? sum : sum + fired[p]), 0) : fired.reduce((a, b) => a + b, 0);
    return 2 * N * sum;
  };
  const forward = (weight: number) => ({ against: "dense f32" as const, result, bytes: P * C + weight * size + 4 * Q * N });
  const i16 = (together: number) => (): void => { list(); k.spike_conv_i16(Q, events, spans, table, Q, taps, C, packed16, together, y, N, N); toSums(); };
  const fits = (together: number): boolean => together <= taps && together * D * farthest <= LARGEST;

  const kernels: Kernel[] = [
    { name: "dense f32", arithmetic: "f32", ...forward(4), operations: () => dense, run: () => { toReals(); if (pointwise) k.f32_gemm(Q, x, C, C, packed, 0, y, N, N); else k.f32_conv(Q, x, C, table, Q, taps, C, packed, 0, y, N, N); } },
    { name: "dense i8", arithmetic: "i8", ...forward(1), operations: () => dense, run: () => { k.spike_values(P * C, s, values); k.dot_i8(Q, values, C, table, Q, taps, C, packed8, D, y, N, N); toSums(); } },
    { name: "sparse f32", arithmetic: "f32", ...forward(4), operations: sparse, run: () => { list(); k.spike_conv(Q, events, spans, table, Q, taps, C, packedSparse, 0, y, N, N); } },
    ...(fits(1) ? [{ name: "sparse i16", arithmetic: "i16", ...forward(2), operations: sparse, run: i16(1) } as const] : []),
    ...(fits(3) ? [{ name: "sparse i16, 3 taps at once", arithmetic: "i16", ...forward(2), operations: sparse, run: i16(3) } as const] : []),
    ...(stride === 1 && 2 * padding === side - 1 ? weightGradients() : []),
  ];

  /** Of a layer that keeps its size, as the engine lays them out (engine/ops/conv.ts). */
  function weightGradients(): Kernel[] {
    const Hp = H + side - 1, Wp = W + side - 1, places = B * Hp * Wp, bands = Math.ceil(places / BAND), rows = taps * C, blocks = Math.ceil(N / 32);
    const dy = place("f32", whole(Q * N, 2)), [dw, dwt, laid, bandEvents, bandSpans] = [4 * size, 128 * blocks * rows, 128 * blocks * places, 2 * LISTED * bands * C, 8 * bands * C].map((bytes) => desk.bytes(bytes));
    const common = { arithmetic: "f32", against: "dW dense f32", result: () => at("f32", dw, size).slice(), bytes: P * C + 4 * Q * N + 4 * size } as const;
    return [
      { name: "dW dense f32", ...common, operations: () => dense, run: () => { toReals(); k.f32_conv_weight_grad(rows, x, C, table, Q, C, dy, N, N, dwt); k.conv_unpack_weight_grad(N, dwt, dw, N, rows); } },
      {
        name: "dW sparse f32", ...common, operations: sparse,
        run: () => {
          k.spike_channel_events(bands, s, bandEvents, bandSpans, B, H, W, C, Hp, Wp, 1, 0, 0);
          k.spike_gradient_blocks(B * Hp, dy, laid, B, H, W, N, Hp, Wp, padding, padding);
          k.spike_weight_grad(blocks * C, bandEvents, bandSpans, 0, places, places, taps, side, Wp, C, laid, dwt, N, taps, 0, 1, side);
          k.conv_unpack_weight_grad(N, dwt, dw, 32, rows);
        },
      },
    ];
  }

  return {
    kernels,
    /** The spikes that kernels read from now on: bytes [B, H, W, C], values up to D. */
    set(bytes: Uint8Array): void { at("u8", s, P * C).set(bytes); },
    /** Runs every kernel once and throws where one leaves other bits than the one it is held against. */
    expectAgreement(): void {
      const results = new Map(kernels.map(({ name, run, result }) => { run(); return [name, result()] as const; }));
      for (const { name, against } of kernels) {
        const [mine, its] = [results.get(name)!, results.get(against)!], differs = mine.findIndex((value, i) => value !== its[i]);
        if (differs >= 0) throw new Error(`bench: ${name} gives ${mine[differs]} at ${differs}, ${against} gives ${its[differs]}`);
      }
    },
  };
}
