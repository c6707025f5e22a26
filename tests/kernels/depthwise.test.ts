/** Depthwise convolution on four-channel planes: every build against the float64 twin, the split of ranges, exact bits. */
import { beforeAll, describe, expect, it } from "vitest";
import { benches, values, type Workbench } from "./harness.ts";

const UNIT = 2 ** -24; // half an ulp of 1 in float32

interface Depthwise { B: number; H: number; W: number; C: number; kh: number; kw: number; stride: number; padding: number; dilation: number; bias: boolean }

const depthwise = (given: Partial<Depthwise>): Depthwise =>
  ({ B: 1, H: 5, W: 6, C: 5, kh: 3, kw: 3, stride: 1, padding: 1, dilation: 1, bias: true, ...given });
const name = (c: Depthwise): string =>
  `${c.B}x${c.H}x${c.W}x${c.C} ${c.kh}x${c.kw} stride ${c.stride} padding ${c.padding} dilation ${c.dilation}${c.bias ? " bias" : ""}`;

function sizes(c: Depthwise) {
  const output = (size: number, k: number): number => Math.floor((size + 2 * c.padding - c.dilation * (k - 1) - 1) / c.stride) + 1;
  const OH = output(c.H, c.kh), OW = output(c.W, c.kw), blocks = Math.ceil(c.C / 4);
  const Hp = c.H + 2 * c.padding, Wp = c.W + 2 * c.padding;
  // the plane of dy for the input gradient: spread by the stride, a full kernel around it
  const reachY = c.dilation * (c.kh - 1), reachX = c.dilation * (c.kw - 1);
  return { OH, OW, blocks, Hp, Wp, reachY, reachX, gradHp: c.H + reachY, gradWp: c.W + reachX, taps: c.kh * c.kw, planes: c.B * blocks, inputs: c.B * c.H * c.W * c.C, outputs: c.B * OH * OW * c.C };
}

interface Placed { x: number; dy: number; w: number; bias: number; x4: number; w4: number; flipped: number; dy4: number; plain4: number; y: number; dx: number; dw: number }

/** Inputs, planes and packed weights of one convolution in one build; outputs are NaN. */
function place(bench: Workbench, c: Depthwise, map: (v: number) => number = (v) => v): Placed {
  const s = sizes(c), { kernels: k } = bench;
  bench.clear();
  const at: Placed = {
    x: bench.real(values(s.inputs, 1).map(map)), dy: bench.real(values(s.outputs, 2).map(map)), w: bench.real(values(c.C * s.taps, 3).map(map)),
    bias: c.bias ? bench.real(values(c.C, 4).map(map)) : 0,
    x4: bench.real(s.planes * s.Hp * s.Wp * 4), w4: bench.real(s.blocks * s.taps * 4), flipped: bench.real(s.blocks * s.taps * 4),
    dy4: bench.real(s.planes * s.gradHp * s.gradWp * 4), plain4: bench.real(s.planes * s.OH * s.OW * 4), y: bench.real(s.outputs), dx: bench.real(s.inputs), dw: bench.real(c.C * s.taps),
  };
  k.nc4_pack(s.planes, at.x, at.x4, c.H, c.W, c.C, s.Hp, s.Wp, c.padding, c.padding, 1);
  k.nc4_pack(s.planes, at.dy, at.dy4, s.OH, s.OW, c.C, s.gradHp, s.gradWp, s.reachY - c.padding, s.reachX - c.padding, c.stride);
  k.nc4_pack(s.planes, at.dy, at.plain4, s.OH, s.OW, c.C, s.OH, s.OW, 0, 0, 1);
  k.depthwise_pack(s.blocks, at.w, at.w4, c.C, s.taps, 0, 0);
  k.depthwise_pack(s.blocks, at.w, at.flipped, c.C, s.taps, 1, 0);
  return at;
}

/** y, dx (as a convolution of the spread dy with the flipped kernel) and dw of one convolution. */
function run(bench: Workbench, c: Depthwise, map?: (v: number) => number): { y: Float64Array; dx: Float64Array; dw: Float64Array } {
  const s = sizes(c), { kernels: k } = bench, at = place(bench, c, map);
  k.f32_depthwise(s.planes, at.x4, at.w4, at.bias, at.y, c.C, s.Hp, s.Wp, s.OH, s.OW, c.kh, c.kw, c.stride, c.dilation);
  k.f32_depthwise(s.planes, at.dy4, at.flipped, 0, at.dx, c.C, s.gradHp, s.gradWp, c.H, c.W, c.kh, c.kw, 1, c.dilation);
  const shape = [c.B, c.C, s.Hp, s.Wp, s.OH, s.OW, c.kh, c.kw, c.stride, c.dilation] as const;
  k.f32_depthwise_weight_grad(s.blocks, at.x4, at.plain4, at.dw, ...shape, s.OH, s.OW, 0, 0, 1);
  const dw = bench.readReal(at.dw, c.C * s.taps), top = s.reachY - c.padding, left = s.reachX - c.padding;
  if (top >= 0 && left >= 0) {
    k.f32_depthwise_weight_grad(s.blocks, at.x4, at.dy4, at.dw, ...shape, s.gradHp, s.gradWp, top, left, c.stride);
    expectWithin(bench.readReal(at.dw, c.C * s.taps), dw, dw.map(() => Math.max(...dw.map(Math.abs))), c.B * s.OH * s.OW, `${bench.loaded.build} dw from the planes of dx`);
  }
  return { y: bench.readReal(at.y, s.outputs), dx: bench.readReal(at.dx, s.inputs), dw };
}

/** |got - want| <= (terms + 2) * 2^-24 * sum of |terms|: no summation order in float32 can be further off. */
function expectWithin(got: Float64Array, want: Float64Array, magnitude: Float64Array, terms: number, what: string): void {
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i] - want[i]);
    if (!(error <= (terms + 2) * UNIT * magnitude[i])) expect.fail(`${what}[${i}]: got ${got[i]}, want ${want[i]} (terms ${terms}, magnitude ${magnitude[i]})`);
  }
}

/** Position of the first element that differs (-0 from 0 too), or -1. */
const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).findIndex((v, i) => !Object.is(v, b[i]));

let fast: Workbench[], plain: Workbench, twin: Workbench;
beforeAll(async () => { ({ fast, plain, twin } = await benches()); });

const cases = [
  ...[1, 3, 4, 5, 7, 8, 17, 64].flatMap((C, i) => [3, 7].map((k) => depthwise({ C, kh: k, kw: k, padding: k >> 1, W: 9 + i, bias: i % 2 === 0 }))),
  ...Array.from({ length: 23 }, (_, i) => i + 1).flatMap((W) => [3, 7].map((k) => depthwise({ B: 2, H: 3, W, kh: k, kw: k, padding: k >> 1, C: 6 }))),
  ...[1, 3, 5, 7].flatMap((k) => [1, 2, 4].flatMap((stride) => [0, 1, 2, 3].map((padding) => depthwise({ H: 8, W: 9, kh: k, kw: k, stride, padding })))),
  depthwise({ dilation: 2, padding: 2, W: 11 }),
  depthwise({ dilation: 2, padding: 3, stride: 2, H: 9, W: 12, B: 2, kh: 7, kw: 5 }),
  depthwise({ kh: 3, kw: 7, padding: 3, C: 8 }),
  depthwise({ B: 2, C: 12, H: 40, W: 40, kh: 7, kw: 7, padding: 3 }),
  depthwise({ B: 3, C: 10, H: 33, W: 31 }),
];

describe("f32_depthwise and its gradients", () => {
  it.each(cases.map((c) => [name(c), c] as const))("agrees with float64: %s", (_, c) => {
    const want = run(twin, c), magnitude = run(twin, c, Math.abs), { taps, OH, OW } = sizes(c);
    for (const bench of [...fast, plain]) {
      const got = run(bench, c);
      expectWithin(got.y, want.y, magnitude.y, taps + 1, `${bench.loaded.build} y`);
      expectWithin(got.dx, want.dx, magnitude.dx, taps, `${bench.loaded.build} dx`);
      expectWithin(got.dw, want.dw, magnitude.dw, c.B * OH * OW, `${bench.loaded.build} dw`);
    }
  });

  it("gives in the SIMD build the bits of the plain loop: one running sum per output, bias first", () => {
    const simd = fast.find((b) => b.loaded.build === "simd")!;
    for (const c of cases) {
      const got = run(simd, c), want = run(plain, c);
      expect(difference(got.y, want.y), `y of ${name(c)}`).toBe(-1);
      expect(difference(got.dx, want.dx), `dx of ${name(c)}`).toBe(-1);
    }
  });

  it("has gradients that are its transposes: <dy, conv(x, w)> = <dx, x> = <dw, w>", () => {
    const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, v, i) => sum + v * b[i], 0);
    for (const c of cases.map((c) => ({ ...c, bias: false }))) {
      const s = sizes(c), { y, dx, dw } = run(twin, c), want = dot(values(s.outputs, 2), y);
      expect(dot(values(s.inputs, 1), dx)).toBeCloseTo(want, 9);
      expect(dot(values(c.C * s.taps, 3), dw)).toBeCloseTo(want, 9);
    }
  });
});

describe("nc4_pack", () => {
  it("places pixel (y, x) at (top + y*step, left + x*step), drops what falls outside, and clears the rest", () => {
    for (const [H, W, C, Hp, Wp, top, left, step] of [
      [3, 4, 5, 7, 9, 2, 3, 1], [3, 4, 8, 8, 9, 1, 0, 2], [5, 5, 1, 3, 4, -1, -2, 1], [4, 6, 17, 7, 8, -3, -5, 3], [2, 3, 4, 1, 1, 5, 5, 1],
    ]) {
      const B = 2, planes = B * Math.ceil(C / 4), x = values(B * H * W * C, 5), s = x.map((v) => Math.floor((v + 1) * 128));
      for (const bench of [...fast, plain, twin]) {
        bench.clear();
        const from = bench.real(x), bytes = bench.bytes(s), to = bench.real(planes * Hp * Wp * 4), fromSpikes = bench.real(planes * Hp * Wp * 4);
        bench.kernels.nc4_pack(planes, from, to, H, W, C, Hp, Wp, top, left, step);
        bench.kernels.nc4_pack_spikes(planes, bytes, fromSpikes, H, W, C, Hp, Wp, top, left, step);
        const want = new Float64Array(planes * Hp * Wp * 4), wantSpikes = want.slice();
        for (let b = 0; b < B; b++) for (let y = 0; y < H; y++) for (let ix = 0; ix < W; ix++) for (let c = 0; c < C; c++) {
          const py = top + y * step, px = left + ix * step, i = ((b * H + y) * W + ix) * C + c;
          if (py < 0 || py >= Hp || px < 0 || px >= Wp) continue;
          const o = (((b * Math.ceil(C / 4) + (c >> 2)) * Hp + py) * Wp + px) * 4 + (c & 3);
          want[o] = x[i];
          wantSpikes[o] = s[i] % 16;
        }
        expect(difference(bench.readReal(to, want.length), want)).toBe(-1);
        expect(difference(bench.readReal(fromSpikes, want.length), wantSpikes)).toBe(-1);
      }
    }
  });
});

describe("ranges", () => {
  type Step = readonly [kernel: string, n: number, run: (begin: number, end: number) => void, out: number, size: number, item: (i: number) => number];
  const POISON = 0x7fc0dead;

  /** Every kernel of this family on one case: items, a call, its output, and which item owns an element of it. */
  function steps(bench: Workbench, c: Depthwise): Step[] {
    const s = sizes(c), at = place(bench, c), { ranges: r } = bench.loaded;
    const spikes = bench.bytes(values(s.inputs, 6).map((v) => Math.floor((v + 1) * 16)));
    const plane = (i: number): number => Math.floor(i / (s.Hp * s.Wp * 4));
    const pad = [c.H, c.W, c.C, s.Hp, s.Wp, c.padding, c.padding, 1] as const;
    const shape = [c.C, s.Hp, s.Wp, s.OH, s.OW, c.kh, c.kw, c.stride, c.dilation] as const;
    const x4 = bench.real(s.planes * s.Hp * s.Wp * 4), w4 = bench.real(s.blocks * s.taps * 4);
    return [
      ["nc4_pack", s.planes, (b, e) => r.nc4_pack(b, e, at.x, x4, ...pad), x4, s.planes * s.Hp * s.Wp * 4, plane],
      ["nc4_pack_spikes", s.planes, (b, e) => r.nc4_pack_spikes(b, e, spikes, x4, ...pad), x4, s.planes * s.Hp * s.Wp * 4, plane],
      ["depthwise_pack", s.blocks, (b, e) => r.depthwise_pack(b, e, at.w, w4, c.C, s.taps, 1, 0), w4, s.blocks * s.taps * 4, (i) => Math.floor(i / (4 * s.taps))],
      ["f32_depthwise", s.planes, (b, e) => r.f32_depthwise(b, e, at.x4, at.w4, at.bias, at.y, ...shape), at.y, s.outputs, (i) => Math.floor(i / (s.OH * s.OW * c.C)) * s.blocks + Math.floor((i % c.C) / 4)],
      ["f32_depthwise_weight_grad", s.blocks, (b, e) => r.f32_depthwise_weight_grad(b, e, at.x4, at.plain4, at.dw, c.B, ...shape, s.OH, s.OW, 0, 0, 1), at.dw, c.C * s.taps, (i) => Math.floor(i / (4 * s.taps))],
    ];
  }

  it.each([
    depthwise({ B: 2, C: 23, H: 9, W: 13 }), depthwise({ B: 3, C: 18, kh: 7, kw: 7, padding: 3, W: 12 }), depthwise({ B: 2, C: 9, kh: 5, kw: 5, padding: 2, stride: 2 }),
  ].map((c) => [name(c), c] as const))("may be split anywhere with the same bits, and touch only their own items: %s", (_, c) => {
    for (const bench of fast) {
      const poison = (out: number, size: number): void => { new Int32Array(bench.loaded.memory.buffer, out, size).fill(POISON); };
      for (const [kernel, n, call, out, size, item] of steps(bench, c)) {
        const what = `${kernel} in ${bench.loaded.build}`;
        call(0, n);
        const whole = bench.readInts(out, size);
        for (const pieces of [[1], [Math.floor(n / 2)], [1, 2, n - 1], [3, 5, 10]]) {
          const cuts = [0, ...pieces.filter((cut, i) => cut > (pieces[i - 1] ?? 0) && cut < n), n];
          poison(out, size);
          for (let i = cuts.length - 1; i > 0; i--) call(cuts[i - 1], cuts[i]); // last piece first: order must not matter
          expect(difference(bench.readInts(out, size), whole), `${what} cut at ${pieces}`).toBe(-1);
        }
        const begin = Math.floor(n / 3), end = Math.max(begin + 1, n - 2);
        poison(out, size);
        call(begin, end);
        const part = bench.readInts(out, size);
        expect(part.findIndex((v, i) => v !== (item(i) >= begin && item(i) < end ? whole[i] : POISON)), `${what} over [${begin}, ${end})`).toBe(-1);
      }
    }
  });
});
