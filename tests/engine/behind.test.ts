/** Gradients that are computed behind the way back: the bits of doing one thing after the other, however late they come. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { SNNYOLOv3, snnYOLOv3, SpikeYOLO, spikeYOLO, type Detector } from "../../detection/index.ts";
import {
  add, backward, checkpoint, conv2d, empty, keepingAs, lean, loadKernels, mul, Parameter, Random, scope, sum, tensor, withHost, withKernels, type Host, type KernelChoice, type RealArray, type Tensor,
} from "../../engine/index.ts";
import { geometryOf, inputTable } from "../../engine/ops/geometry.ts";
import { BatchNorm2d } from "../../nn/index.ts";
import type { Call } from "../../kernels/signatures.ts";

let host: Host;
beforeAll(async () => { host = await loadKernels({ threads: 1, dispatch: "fixed" }); });
afterAll(() => host.stop());

/** A host that does what is left behind when it is waited for, and not before: what was read or written too early, or given away, shows. */
function late(run: (calls: () => void) => void = (calls) => calls()): { host: Host; left: string[]; most: () => number } {
  const left: string[] = [];
  let now = 0, most = 0;
  const leave = (calls: readonly Call[]) => {
    left.push(...calls.map(({ name }) => name));
    most = Math.max(most, ++now);
    return () => {
      now--;
      run(() => { for (const { name, n, rest } of calls) (host.kernels[name] as (n: number, ...rest: readonly number[]) => void)(n, ...rest); });
    };
  };
  return { host: { ...host, leave }, left, most: () => most };
}

const random = new Random(4);
const images = { shape: [2, 64, 64, 3], data: Float32Array.from({ length: 2 * 64 * 64 * 3 }, () => random.uniform()) };
const boxes = { image: Int32Array.of(0, 1), class: Int32Array.of(0, 1), xywh: Float32Array.of(0.5, 0.5, 0.4, 0.4, 0.3, 0.3, 0.3, 0.3) };

const nets: Record<string, (options: { checkpointing?: boolean; activations?: "f16" }) => Detector> = {
  "SpikeYOLO": (options) => new SpikeYOLO({ ...spikeYOLO.small, classes: 2, T: 1, ...options }),
  "SpikeYOLO, T 2": (options) => new SpikeYOLO({ ...spikeYOLO.small, classes: 2, T: 2, ...options }),
  "SNN-YOLOv3": (options) => new SNNYOLOv3({ ...snnYOLOv3.small, classes: 2, T: 2, ...options }),
};
const ways: Record<string, KernelChoice> = { "chosen kernels": {}, "sparse kernels": { forward: "sparse", dw: "sparse" }, "dense kernels": { forward: "dense", dx: "whole", dw: "dense" } };

/** Gradients of two steps, so that the second adds to the first; with new weights from the same seed. */
function gradients(on: Host, net: string, way: KernelChoice, options = {}): Map<string, RealArray> {
  return withHost(on, () => {
    const model = nets[net](options);
    for (let step = 0; step < 2; step++) scope(() => withKernels(way, () => backward(model.loss(model.forward(images), boxes).total)));
    return new Map(model.namedParameters().filter(([, { grad }]) => grad).map(([name, { grad }]) => [name, grad!.data.slice()] as const));
  });
}

const differing = (a: ReadonlyMap<string, RealArray>, b: ReadonlyMap<string, RealArray>): string[] =>
  [...a].filter(([name, gradient]) => gradient.some((value, i) => value !== b.get(name)![i])).map(([name]) => name);

const cases = [
  ...Object.keys(ways).map((way) => ({ net: "SpikeYOLO", way, options: {} })),
  { net: "SNN-YOLOv3", way: "sparse kernels", options: {} },
  { net: "SpikeYOLO, T 2", way: "chosen kernels", options: { checkpointing: true } }, { net: "SpikeYOLO", way: "chosen kernels", options: { activations: "f16" } },
];

test.each(cases)("$net, $way, $options: gradients that come as late as they can are the same to the bit", ({ net, way, options }) => {
  const { host: other, left, most } = late(), prompt = gradients(host, net, ways[way], options), slow = gradients(other, net, ways[way], options);
  expect([...slow.keys()]).toEqual([...prompt.keys()]);
  expect(differing(prompt, slow)).toEqual([]);
  expect(new Set(left.filter((name) => name.endsWith("weight_grad") && !name.startsWith("conv_unpack")))).toEqual(new Set(["f32_conv_weight_grad", ...(way === "dense kernels" ? [] : ["spike_weight_grad"]), ...(net.startsWith("SNN") ? [] : ["f32_depthwise_weight_grad"])]));
  expect(most()).toBe(3);
});

test("what never comes is missed: the gradients above are those that were left behind", () => {
  const { host: other } = late(() => {}), prompt = gradients(host, "SpikeYOLO", {}), never = gradients(other, "SpikeYOLO", {});
  expect(differing(prompt, never).length).toBeGreaterThan(50);
});

test("a weight that is read again on the way back, and one that is used twice, have their gradients in time", () => {
  const { host: other, left } = late();
  const [a, b] = [host, other].map((on) => withHost(on, () => {
    const w = new Parameter([4, 3, 3, 4], "weight", Float64Array.from({ length: 144 }, (_, i) => ((i * 37) % 23) / 23 - 0.5));
    const x = tensor(Float64Array.from({ length: 5000 }, (_, i) => ((i * 29) % 31) / 31), [2, 25, 25, 4]);
    scope(() => {
      const made = conv2d(tensor(Float64Array.from({ length: 144 }, (_, i) => i / 144), [4, 6, 6, 1]), new Parameter([4, 4, 4, 1], "weight", Float64Array.from({ length: 64 }, (_, i) => i / 64)));
      expect(made.shape).toEqual([4, 3, 3, 4]); // a weight that comes from elsewhere
      backward(sum(conv2d(conv2d(conv2d(x, w, undefined, { padding: 1 }), w, undefined, { padding: 1 }), made)));
    });
    return Array.from(w.grad!.data);
  }));
  expect(b).toEqual(a);
  expect(left.filter((name) => name === "f32_conv_weight_grad").length).toBe(2); // of w; that of what is read again came at once
});

const filled = (n: number, f: (i: number) => number): Float64Array => Float64Array.from({ length: n }, (_, i) => f(i));
const wave = (n: number, step: number, period: number): Float64Array => filled(n, (i) => ((i * step) % period) / period - 0.5);
const pictures = (size = 20): Tensor => tensor(wave(2 * size * size * 16, 29, 31), [2, size, size, 16]);

/** Weights that are made of others, where what was made is not kept until the gradient needs it. */
const madeWeights: Record<string, () => { of: Parameter; y: Tensor }> = {
  "a norm of a weight, made again": () => {
    const of = new Parameter([16, 3, 3, 16], "weight", wave(2304, 37, 23)), norm = new BatchNorm2d(16);
    norm.eval();
    return { of, y: lean(() => conv2d(pictures(), norm.forward(of), undefined, { padding: 1 })) };
  },
  "the output of a convolution, kept in sixteen bits": () => {
    const of = new Parameter([16, 1, 1, 16], "weight", wave(256, 31, 29)), from = tensor(wave(2304, 37, 23), [16, 3, 3, 16]);
    return { of, y: keepingAs("f16", () => lean(() => conv2d(pictures(), conv2d(from, of), undefined, { padding: 1 }))) };
  },
};
test.each(Object.keys(madeWeights))("a weight that is %s is no leaf", (name) => {
  const [a, b] = [host, late().host].map((on) => withHost(on, () => scope(() => {
    const { of, y } = madeWeights[name]();
    backward(sum(mul(y, y)));
    return Array.from(of.grad!.data);
  })));
  expect(a.some((value) => value !== 0)).toBe(true);
  expect(b).toEqual(a);
});

test("a weight whose gradient is left behind, and added to by a small convolution that is not", () => {
  const [a, b] = [host, late().host].map((on) => withHost(on, () => scope(() => {
    const w = new Parameter([16, 3, 3, 16], "weight", wave(2304, 37, 23)), small = conv2d(tensor(wave(144, 5, 7), [1, 3, 3, 16]), w);
    backward(add(sum(small), sum(conv2d(pictures(), w))));
    return Array.from(w.grad!.data);
  })));
  expect(b).toEqual(a);
});

test("tables that go while a checkpoint runs again wait for who reads them", () => {
  const [a, b] = [host, late().host].map((on) => withHost(on, () => scope(() => {
    const w = tensor(wave(2304, 37, 23), [16, 3, 3, 16], { requiresGrad: true }), v = new Parameter([16, 3, 3, 16], "weight", wave(2304, 31, 29)), x = pictures();
    const rows = (W: number) => geometryOf([1, 400, W, 1], [1, 3, 3, 1], [1, 400, W, 1], { stride: 1, padding: 1, dilation: 1, groups: 1 });
    let W = 300;
    const y = conv2d(checkpoint(() => {
      for (let i = 0; i < 40; i++) inputTable(rows(W++)); // as convolutions of other sizes would
      return conv2d(x, v, undefined, { padding: 1 });
    }), w);
    backward(sum(mul(y, y)));
    return [Array.from(v.grad!.data), Array.from(w.grad!.data)];
  })));
  expect(b).toEqual(a);
});

test("what was held goes back when it is done", () => {
  const inUse = (on: Host): number => withHost(on, () => {
    const model = nets["SpikeYOLO"]({});
    return scope(() => {
      const before = host.memory.inUse - host.memory.persistentBytes;
      backward(model.loss(model.forward(images), boxes).total);
      return host.memory.inUse - host.memory.persistentBytes - before;
    });
  });
  expect(inUse(late().host)).toBe(inUse(host));
});

test("in the root scope a failing op gives its workspace back, and a parameter keeps its gradient", () => withHost(host, () => {
  const w = new Parameter([16, 3, 3, 16], "weight", wave(2304, 37, 23)), y = conv2d(pictures(), w), seed = tensor(filled(y.size, (i) => i % 5), y.shape), { node } = y;
  y.node = { ...node!, spec: { ...node!.spec, backward: () => { host.memory.workspace(1 << 20); throw new Error("mine"); } } };
  const before = host.memory.inUse;
  expect(() => backward(y, [seed])).toThrow("mine");
  expect(host.memory.inUse).toBe(before);
  y.node = node;
  backward(y, [seed]);
  const gradient = Array.from(w.grad!.data);
  for (let i = 0; i < 50; i++) empty([16, 3, 3, 16]).data.fill(7);
  expect(Array.from(w.grad!.data)).toEqual(gradient);
}));

test("an error on the way back leaves nothing at work", () => {
  let waited = 0;
  const { host: other, left } = late((call) => { waited++; call(); });
  withHost(other, () => scope(() => {
    const w = new Parameter([4, 3, 3, 4]), x = tensor(new Float64Array(5000).fill(1), [2, 25, 25, 4]);
    const v = new Parameter([4, 3, 3, 4]), y = conv2d(conv2d(x, w, undefined, { padding: 1 }), v, undefined, { padding: 1 });
    const { spec } = y.node!, broken = { ...y.node!.inputs[0]!.node!, spec: { ...spec, backward: (): never => { throw new Error("mine"); } } };
    y.node!.inputs[0]!.node = broken;
    expect(() => backward(sum(y))).toThrow("mine");
    expect(left).toEqual(["f32_pad", "f32_conv_weight_grad", "conv_unpack_weight_grad"]);
    expect(waited).toBe(1);
  }));
});
