import { describe, expect, it } from "vitest";
import { bytes, differences, expectAgreement, expectSame, reals, run, type Setup } from "./agreement.ts";
import { benches, relativeError, values } from "./harness.ts";

const all = await benches();
const { fast, plain, twin } = all;

/** [B, H, W, C] */
const SHAPES = [[1, 1, 1, 1], [2, 3, 5, 3], [1, 4, 4, 4], [2, 5, 7, 17], [1, 8, 3, 8], [3, 6, 6, 5]] as const;
const volume = ([B, H, W, C]: readonly number[]): number => B * H * W * C;

interface Window { k: number; stride: number; padding: number }
const WINDOWS: Window[] = [{ k: 5, stride: 1, padding: 2 }, { k: 2, stride: 2, padding: 0 }, { k: 3, stride: 2, padding: 1 }, { k: 1, stride: 1, padding: 0 }];

const out = (size: number, { k, stride, padding }: Window): number => Math.floor((size + 2 * padding - k) / stride) + 1;

function maxpool(x: Float64Array, [B, H, W, C]: readonly number[], w: Window, [OH, OW] = [out(H, w), out(W, w)]): Setup {
  return (bench) => {
    const n = B * OH * OW * C, y = bench.real(n), argmax = bench.bytes(n);
    return { n: B * OH, args: [bench.real(x), y, argmax, H, W, C, OH, OW, w.k, w.stride, w.padding], writes: [reals(y, n), bytes(argmax, n)] };
  };
}

function maxpoolBackward(dy: Float64Array, argmax: ArrayLike<number>, [B, H, W, C]: readonly number[], w: Window): Setup {
  return (bench) => {
    const dx = bench.real(B * H * W * C);
    return { n: B, args: [bench.real(dy), bench.bytes(argmax), dx, H, W, C, out(H, w), out(W, w), w.k, w.stride, w.padding], writes: [reals(dx, B * H * W * C)] };
  };
}

describe("maxpool", () => {
  const fits = WINDOWS.flatMap((w) => SHAPES.filter(([, H, W]) => out(H, w) > 0 && out(W, w) > 0).map((shape) => ({ w, shape })));

  it("is the same bit for bit in every build, for every window, shape and split", () => {
    for (const { w, shape } of fits) {
      expectAgreement(all, "f32_maxpool", maxpool(values(volume(shape)), shape, w));
      const coarse = values(volume(shape), 2).map((v) => Math.round(2 * v)); // many ties
      expectAgreement(all, "f32_maxpool", maxpool(coarse, shape, w));
      const [y, argmax] = run(plain, "f32_maxpool", maxpool(coarse, shape, w));
      expectAgreement(all, "f32_maxpool_backward", maxpoolBackward(values(y.length, 3), argmax, shape, w));
    }
  });

  it("takes the first of equal maxima in row-major order, and never the padding", () => {
    const shape = [1, 2, 2, 1], w = { k: 3, stride: 1, padding: 1 };
    for (const bench of [...fast, plain]) {
      const [y, argmax] = run(bench, "f32_maxpool", maxpool(Float64Array.of(-5, -5, -7, -5), shape, w));
      expectSame(y, [-5, -5, -5, -5], "maxima of negative numbers");
      expectSame(argmax, [4, 3, 1, 0], "the tap of the first pixel, seen from each output");
    }
  });

  it("passes NaN on, and points inside the image where all is minus infinity", () => {
    const shape = [1, 2, 2, 1], w = { k: 3, stride: 1, padding: 1 };
    for (const bench of [...fast, plain]) {
      const [withNaN, at] = run(bench, "f32_maxpool", maxpool(Float64Array.of(1, NaN, 3, 4), shape, w));
      expectSame(withNaN, [NaN, NaN, NaN, NaN], "every window sees the NaN");
      expectSame(at, [5, 4, 2, 1], "and points at it");
      const [lowest, first] = run(bench, "f32_maxpool", maxpool(new Float64Array(4).fill(-Infinity), shape, w));
      expectSame(lowest, new Array(4).fill(-Infinity), "minus infinity");
      expectSame(first, [4, 3, 1, 0], "the first pixel of the window");
    }
  });

  it("pads only below and to the right when the output is as large as the input (darknet's 2x2, stride 1)", () => {
    const w = { k: 2, stride: 1, padding: 0 }, x = Float64Array.of(1, 2, 3, 4, 9, 6, 7, 8, 5);
    for (const bench of [...fast, plain]) expectSame(run(bench, "f32_maxpool", maxpool(x, [1, 3, 3, 1], w, [3, 3]))[0], [9, 9, 6, 9, 9, 6, 8, 8, 5], bench.loaded.build);
  });

  it("has the gradient that central differences find", () => {
    for (const { w, shape } of fits) {
      if (volume(shape) > 100) continue;
      const x = Float64Array.from({ length: volume(shape) }, (_, i) => (i * 37) % 101), y = run(twin, "f32_maxpool", maxpool(x, shape, w)), dy = values(y[0].length, 5); // no ties
      const want = differences((at) => run(twin, "f32_maxpool", maxpool(at, shape, w))[0], x, dy);
      expect(relativeError(run(twin, "f32_maxpool_backward", maxpoolBackward(dy, y[1], shape, w))[0], want)).toBeLessThan(1e-8);
    }
  });
});

describe("upsampling, padding and cropping", () => {
  const upsample = (x: Float64Array, [B, H, W, C]: readonly number[], factor: number): Setup => (bench) => {
    const n = B * H * W * C * factor ** 2, y = bench.real(n);
    return { n: B * H * factor, args: [bench.real(x), y, H, W, C, factor], writes: [reals(y, n)] };
  };
  const upsampleBackward = (dy: Float64Array, [B, H, W, C]: readonly number[], factor: number): Setup => (bench) => {
    const dx = bench.real(B * H * W * C);
    return { n: B * H, args: [bench.real(dy), dx, H, W, C, factor], writes: [reals(dx, B * H * W * C)] };
  };
  const pad = (x: Float64Array, border: Float64Array, [B, H, W, C]: readonly number[], size: number): Setup => (bench) => {
    const n = B * (H + 2 * size) * (W + 2 * size) * C, y = bench.real(n);
    return { n: B * (H + 2 * size), args: [bench.real(x), bench.real(border), y, H, W, C, size], writes: [reals(y, n)] };
  };
  const crop = (dy: Float64Array, [B, H, W, C]: readonly number[], size: number): Setup => (bench) => {
    const dx = bench.real(B * H * W * C);
    return { n: B * H, args: [bench.real(dy), dx, H, W, C, size], writes: [reals(dx, B * H * W * C)] };
  };
  const padded = ([B, H, W, C]: readonly number[], size: number): number => B * (H + 2 * size) * (W + 2 * size) * C;

  it("are the same bit for bit in every build, for every shape and split", () => {
    for (const shape of SHAPES) {
      for (const factor of [1, 2, 3]) {
        expectAgreement(all, "f32_upsample_nearest", upsample(values(volume(shape)), shape, factor));
        expectAgreement(all, "f32_upsample_nearest_backward", upsampleBackward(values(volume(shape) * factor ** 2), shape, factor));
      }
      for (const size of [0, 1, 2]) {
        expectAgreement(all, "f32_pad", pad(values(volume(shape)), values(shape[3], 2), shape, size));
        expectAgreement(all, "f32_crop", crop(values(padded(shape, size)), shape, size));
      }
    }
  });

  it("upsampling repeats each pixel factor x factor times", () => {
    for (const bench of [...fast, plain]) expectSame(run(bench, "f32_upsample_nearest", upsample(Float64Array.of(1, 2), [1, 1, 2, 1], 2))[0], [1, 1, 2, 2, 1, 1, 2, 2], bench.loaded.build);
  });

  it("padding draws a frame of border values, channel by channel", () => {
    for (const bench of [...fast, plain]) {
      const [y] = run(bench, "f32_pad", pad(Float64Array.of(1, 2), Float64Array.of(-1, -2), [1, 1, 1, 2], 1));
      expectSame(y, [-1, -2, -1, -2, -1, -2, -1, -2, 1, 2, -1, -2, -1, -2, -1, -2, -1, -2], bench.loaded.build);
    }
  });

  it("have the gradients that central differences find", () => {
    const shape = [2, 3, 5, 3], x = values(volume(shape), 1), border = values(3, 2);
    const dy = values(volume(shape) * 4, 3), forward = (at: Float64Array): ArrayLike<number> => run(twin, "f32_upsample_nearest", upsample(at, shape, 2))[0];
    expect(relativeError(run(twin, "f32_upsample_nearest_backward", upsampleBackward(dy, shape, 2))[0], differences(forward, x, dy))).toBeLessThan(1e-9);
    const dz = values(padded(shape, 2), 4), frame = (at: Float64Array): ArrayLike<number> => run(twin, "f32_pad", pad(at, border, shape, 2))[0];
    expect(relativeError(run(twin, "f32_crop", crop(dz, shape, 2))[0], differences(frame, x, dz))).toBeLessThan(1e-9);
  });
});
