/** The densities at which gathering stops to pay, as measured: they follow the kernels, and stay within bounds. */
import { expect, test } from "vitest";
import { FIXED, measureCrossovers, type Crossovers } from "../../kernels/crossovers.ts";
import { HEAP_BASE, instantiateKernels } from "../../kernels/load.ts";
import type { Kernels } from "../../kernels/signatures.ts";

/** What is measured where some kernels take as long as if they were called so many times. */
async function measured(times: { readonly [K in keyof Kernels]?: number } = {}): Promise<Crossovers> {
  const { kernels, memory } = await instantiateKernels({ build: "simd", threads: 1 });
  const slowed = Object.fromEntries(Object.entries(times).map(([name, n]) => [name, (...all: number[]) => { for (let i = 0; i < n; i++) (kernels as any)[name](...all); }]));
  let top = HEAP_BASE;
  return measureCrossovers({ ...kernels, ...slowed }, memory, (bytes) => {
    const pointer = top;
    top = (pointer + bytes + 127) & ~63;
    const missing = top - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    return pointer;
  });
}
const all = ({ forward, dw }: Crossovers): number[] => [forward.pointwise, forward.wider, dw.pointwise, dw.wider];

test("are shares of twenty from 0.2 to 1", async () => {
  for (const share of [...all(await measured()), ...all(FIXED)]) {
    expect(share).toBeGreaterThanOrEqual(0.2);
    expect(share).toBeLessThanOrEqual(1);
    expect(share * 20).toBe(Math.round(share * 20));
  }
});

test("are low where gathering is slow, in the pass where it is slow", async () => {
  const { forward, dw } = await measured({ spike_conv: 20, f32_conv_weight_grad: 20 });
  expect([forward.pointwise, forward.wider]).toEqual([0.2, 0.2]);
  expect([dw.pointwise, dw.wider]).toEqual([1, 1]);
});

test("are high where the dense kernels are slow, at the size of window where they are", async () => {
  const { forward, dw } = await measured({ f32_gemm: 20, spike_weight_grad: 20 });
  expect(forward.pointwise).toBe(1);
  expect([dw.pointwise, dw.wider]).toEqual([0.2, 0.2]);
});
