/** What a build must get right before the loader takes it. */
import { expect, test } from "vitest";
import { computesRightly, instantiateKernels } from "../../kernels/load.ts";
import { referenceKernels } from "../../kernels/reference/index.ts";
import type { RangeKernels } from "../../kernels/signatures.ts";

const probe = (wrong: (right: RangeKernels, memory: WebAssembly.Memory) => Partial<RangeKernels>): boolean => {
  const memory = new WebAssembly.Memory({ initial: 2 }), right = referenceKernels(memory);
  return computesRightly({ ...right, ...wrong(right, memory) }, memory);
};

test("a right build is taken, and leaves no trace in the memory", () => {
  const memory = new WebAssembly.Memory({ initial: 2 });
  expect(computesRightly(referenceKernels(memory), memory)).toBe(true);
  expect(new Uint8Array(memory.buffer).every((byte) => byte === 0)).toBe(true);
});

test("a build that fires 3 at a membrane of 2.5 is refused: halves go to even", () => {
  expect(probe((_, memory) => ({
    f32_fire_integer: (begin, end, x, s, T, stride, decay, gain, D) => {
      const X = new Float32Array(memory.buffer, x, end), S = new Uint8Array(memory.buffer, s, end);
      for (let i = begin; i < end; i++) S[i] = Math.round(Math.min(Math.max(X[i], 0), D)) | (X[i] >= 0 && X[i] <= D ? 16 : 0);
    },
  }))).toBe(false);
});

test("a build that takes the values of spikes for 1 is refused", () => {
  expect(probe((right) => ({ spike_events: (begin, end, s, events, spans, pixels, C) => right.spike_events_above(begin, end, s, events, spans, pixels, C, 0) }))).toBe(false);
});

test("a build whose products are wrong is refused", () => {
  expect(probe((right) => ({ f32_gemm: (begin, end, ...rest) => right.f32_gemm(begin, end - 1, ...rest) }))).toBe(false);
});

test("a build that takes int8 weights for unsigned is refused", () => {
  expect(probe((right, memory) => ({
    dot_i8_pack: (begin, end, w, packed, N, taps, K) => {
      right.dot_i8_pack(begin, end, w, packed, N, taps, K);
      const P = new Int8Array(memory.buffer, packed, N * taps * K);
      P.forEach((weight, i) => { P[i] = Math.abs(weight); });
    },
  }))).toBe(false);
});

test("strict arithmetic passes relaxed SIMD over, and refuses it where it is asked for", async () => {
  const { build, arithmetic } = await instantiateKernels({ arithmetic: "strict", threads: 1 });
  expect([build, arithmetic]).toEqual(["simd", "strict"]);
  expect((await instantiateKernels({ threads: 1 })).arithmetic).toBe("fast");
  await expect(instantiateKernels({ arithmetic: "strict", build: "relaxed" })).rejects.toThrow('kernels: build "relaxed" rounds as each host likes, so it cannot be strict; ask for "simd", or leave the choice to the loader');
  await expect(instantiateKernels({ arithmetic: "exact" as "strict" })).rejects.toThrow('kernels: arithmetic must be "fast" or "strict", got "exact"');
});
