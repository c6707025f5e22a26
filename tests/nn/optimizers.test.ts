/** SGD against PyTorch 1.13, and what it does to gradients that nobody wants. */
import { beforeAll, describe, expect, it } from "vitest";
import { backward, loadKernels, mul, Parameter, scope, sum, tensor, type Role } from "../../engine/index.ts";
import type { Build } from "../../kernels/load.ts";
import { WrongModelError } from "../../nn/checkpoint.ts";
import { NonFiniteGradient, SGD } from "../../nn/optimizers.ts";
import { builds } from "./builds.ts";

/*
 * import torch
 * torch.set_default_dtype(torch.float64)
 * def gradient(n, t, k): return torch.tensor([((i * 7 + t * 3 + k) % 11 - 5) / 4 for i in range(n)])
 * def run(momentum=0., nesterov=False, decay=0., clip=None, later=None):
 *   p = [torch.nn.Parameter(torch.linspace(-1, 1, n)) for n in (5, 3, 2)]                  # weight, bias, norm
 *   o = torch.optim.SGD([dict(params=[q], lr=r, weight_decay=decay * (j == 0)) for j, (q, r) in enumerate(zip(p, (.1, .2, .05)))], lr=.1, momentum=momentum, nesterov=nesterov)
 *   norms = []
 *   for t in range(4):
 *     if later and t == 2:
 *       for g, r in zip(o.param_groups, later[0]): g["lr"], g["momentum"] = r, later[1]
 *     for k, q in enumerate(p): q.grad = gradient(len(q), t, k)
 *     norms.append(torch.nn.utils.clip_grad_norm_(p, clip or float("inf")).item())
 *     o.step()
 *   return norms, [q.tolist() for q in p]
 */
interface Case {
  name: string; momentum?: number; nesterov?: boolean; weightDecay?: number; clip?: number;
  later?: { rates: Record<Role, number>; momentum: number };
  weight: number[]; bias: number[]; norm: number[];
}
const NORMS = [2.622022120425379, 2.5124689052802225, 2.3048861143232218, 2.57390753524675];
const CASES: Case[] = [
  { name: "without momentum",
    weight: [-0.95, -0.6000000000000001, 0.024999999999999994, 0.375, 1.0], bias: [-1.1, 0.15000000000000002, 0.8500000000000001], norm: [-0.9375, 0.9874999999999999] },
  { name: "with momentum", momentum: 0.9,
    weight: [-0.582125, -0.8682000000000001, 0.01420000000000001, 0.19837500000000002, 0.8580249999999999], bias: [-0.6167000000000001, 0.30165000000000003, 0.57595], norm: [-0.8797875000000001, 0.9622999999999999] },
  { name: "with nesterov momentum", momentum: 0.937, nesterov: true,
    weight: [-0.5311359876048749, -0.9640033450230501, 0.04168522707305002, 0.07649000672987492, 0.8559479167509748], bias: [-0.7021744987577999, 0.43278506055585, 0.44346793059805006], norm: [-0.8191817555764624, 0.9482206342519499] },
  { name: "with decay of weights alone", momentum: 0.9, weightDecay: 0.01,
    weight: [-0.574382810926, -0.8628313216005, 0.013943759949999985, 0.19470052427550003, 0.8494953308259999], bias: [-0.6167000000000001, 0.30165000000000003, 0.57595], norm: [-0.8797875000000001, 0.9622999999999999] },
  { name: "with gradients clipped before they meet the decay", momentum: 0.937, nesterov: true, weightDecay: 0.05, clip: 1,
    weight: [-0.7662415492118094, -0.6377301419840689, 0.0002655193951922121, 0.31402981241241795, 0.8934412576515696], bias: [-0.9016133501340339, 0.19426226819374712, 0.7468397241044964], norm: [-0.935714981917391, 0.9847780235201944] },
  { name: "with gradients that are below the clip", momentum: 0.937, nesterov: true, weightDecay: 0.05, clip: 10,
    weight: [-0.48396726380268473, -0.9216136266332304, 0.039455283034252366, 0.054536385660133614, 0.7991603474961896], bias: [-0.7021744987577999, 0.43278506055585, 0.44346793059805006], norm: [-0.8191817555764624, 0.9482206342519499] },
  { name: "with rates and momentum that change on the way", momentum: 0.8, nesterov: true, weightDecay: 0.05, clip: 2.4, later: { rates: { weight: 0.05, bias: 0.01, norm: 0.02 }, momentum: 0.937 },
    weight: [-0.6087973829051413, -0.8286052077519063, 0.02761353221533192, 0.2495088529996733, 0.8014507875455913], bias: [-0.48748801097758127, 0.11537342547418006, 0.9130767179198446], norm: [-0.894639813853843, 0.9778992670830216] },
];

const ROLES: [Role, number][] = [["weight", 5], ["bias", 3], ["norm", 2]];
const ramp = (n: number): number[] => Array.from({ length: n }, (_, i) => -1 + (2 * i) / (n - 1));
const gradient = (n: number, t: number, k: number): number[] => Array.from({ length: n }, (_, i) => (((i * 7 + t * 3 + k) % 11) - 5) / 4);

/** Lets a parameter gather a gradient, by the one way there is: dw of sum(w * g) is g. */
function gather(parameter: Parameter, g: ArrayLike<number>): void {
  scope(() => backward(sum(mul(parameter, tensor(g, parameter.shape)))));
}

function run({ momentum, nesterov, weightDecay, clip, later }: Case): { norms: number[]; values: number[][] } {
  const parameters = ROLES.map(([role, n]) => new Parameter([n], role, ramp(n)));
  const optimizer = new SGD(parameters, { lr: 0.1, momentum, nesterov, weightDecay });
  optimizer.rates = { weight: 0.1, bias: 0.2, norm: 0.05 };
  const norms = [0, 1, 2, 3].map((t) => {
    if (later && t === 2) Object.assign(optimizer, later);
    parameters.forEach((parameter, k) => gather(parameter, gradient(parameter.size, t, k)));
    return optimizer.step({ clip }).gradientNorm;
  });
  return { norms, values: parameters.map((parameter) => [...parameter.data]) };
}

const largestError = (got: number[], want: number[]): number => Math.max(...want.map((w, i) => Math.abs(got[i] - w)));

describe.each<Build>([...builds, "reference64"])("sgd (%s)", (build) => {
  beforeAll(async () => { await loadKernels({ build }); });
  const wide = build === "reference64";

  it.each(CASES)("takes the steps of PyTorch $name", (example) => {
    const { norms, values } = run(example);
    expect(largestError(norms, NORMS)).toBeLessThan(1e-15 * 4);
    ROLES.forEach(([role], k) => expect(largestError(values[k], example[role]), role).toBeLessThan(wide ? 1e-15 : 2e-7));
  });

  it("clips to the norm it is given, a millionth short", () => {
    const parameter = new Parameter([2], "bias", [0, 0]);
    const optimizer = new SGD([parameter], { lr: 1 });
    gather(parameter, [3, 4]);
    expect(optimizer.step({ clip: 0.5 }).gradientNorm).toBe(5);
    const coefficient = 0.5 / 5.000001, real = wide ? (x: number) => x : Math.fround;
    expect([...parameter.data]).toEqual([-3, -4].map((g) => real(g * real(coefficient))));
  });

  it("adds up gradients until it steps, and starts anew after", () => {
    const parameter = new Parameter([1], "bias", [10]);
    const optimizer = new SGD([parameter], { lr: 1 });
    gather(parameter, [2]);
    gather(parameter, [3]);
    expect(optimizer.step().gradientNorm).toBe(5);
    expect(parameter.grad).toBeUndefined();
    gather(parameter, [1]);
    optimizer.step();
    expect(parameter.data[0]).toBe(4);
  });

  it("forgets what has gathered when it is told to", () => {
    const parameter = new Parameter([1], "weight", [10]);
    const optimizer = new SGD([parameter], { lr: 1 });
    gather(parameter, [2]);
    optimizer.clearGradients();
    expect(optimizer.step().gradientNorm).toBe(0);
    expect(parameter.data[0]).toBe(10);
  });

  it("leaves parameters without a gradient as they are, decay and momentum included", () => {
    const moved = new Parameter([1], "weight", [1]), idle = new Parameter([1], "weight", [1]);
    const optimizer = new SGD([moved, idle], { lr: 0.1, momentum: 0.9, weightDecay: 0.5 });
    gather(moved, [1]);
    gather(idle, [1]);
    optimizer.step();
    const before = idle.data[0], momentum = optimizer.state().get("1")!.data[0];
    gather(moved, [1]);
    optimizer.step();
    expect(idle.data[0]).toBe(before);
    expect(optimizer.state().get("1")!.data[0]).toBe(momentum);
  });

  it("never touches a parameter that requires no gradient, nor counts its gradient", () => {
    const trained = new Parameter([1], "weight", [1]), frozen = new Parameter([1], "weight", [1]);
    gather(trained, [3]);
    gather(frozen, [4]);
    frozen.requiresGrad = false;
    const optimizer = new SGD([trained, frozen], { lr: 0.1, momentum: 0.9, weightDecay: 0.5 });
    expect(optimizer.step().gradientNorm).toBe(3);
    expect(frozen.data[0]).toBe(1);
    expect([...optimizer.state().keys()]).toEqual(["0"]);
  });

  it("steps once for a parameter that two parts share", () => {
    const shared = new Parameter([1], "bias", [0]);
    const optimizer = new SGD([["a", shared], ["b", shared]], { lr: 1 });
    gather(shared, [3]);
    expect(optimizer.step().gradientNorm).toBe(3);
    expect(shared.data[0]).toBe(-3);
    expect([...optimizer.state().keys()]).toEqual(["a"]);
  });

  it.each([NaN, Infinity, -Infinity])("refuses a gradient of %s by the parameter's name and changes nothing", (bad) => {
    const first = new Parameter([2], "weight", [1, 2]), second = new Parameter([2, 3], "weight", [1, 2, 3, 4, 5, 6]);
    const optimizer = new SGD([["stem.weight", first], ["head.weight", second]], { lr: 0.1, momentum: 0.9 });
    for (const p of [first, second]) gather(p, new Array<number>(p.size).fill(1));
    optimizer.step();
    const before = [first, second].map((p) => [...p.data]), momentum = [...optimizer.state().values()].map(({ data }) => [...data]);
    gather(first, [1, 1]);
    gather(second, [1, 1, bad, 1, 1, 1]);
    const step = () => optimizer.step({ clip: 10 });
    expect(step).toThrow(NonFiniteGradient);
    expect(step).toThrow(/head\.weight \[2, 3\] has norm (NaN|Infinity)/);
    expect([first, second].map((p) => [...p.data])).toEqual(before);
    expect([...optimizer.state().values()].map(({ data }) => [...data])).toEqual(momentum);
    optimizer.clearGradients();
    gather(first, [1, 1]);
    expect(optimizer.step().gradientNorm).toBe(Math.SQRT2);
  });

  it("sums the norm in float64, where squares of float32 would overflow or vanish", () => {
    const parameter = new Parameter([2], "bias");
    const optimizer = new SGD([parameter], { lr: 0 });
    for (const size of [2 ** 80, 2 ** -80]) {
      gather(parameter, [3 * size, 4 * size]);
      expect(optimizer.step().gradientNorm).toBe(5 * size);
    }
  });

  it("goes on from a saved state with the same bits", () => {
    const make = () => {
      const parameters = ROLES.map(([role, n]): [string, Parameter] => [`${role}s`, new Parameter([n], role, ramp(n))]);
      return { parameters, optimizer: new SGD(parameters, { lr: 0.1, momentum: 0.937, nesterov: true, weightDecay: 0.01 }) };
    };
    const train = ({ parameters, optimizer }: ReturnType<typeof make>, from: number, to: number) => {
      for (let t = from; t < to; t++) {
        parameters.forEach(([, parameter], k) => { if (k < 2 || t > 3) gather(parameter, gradient(parameter.size, t, k)); }); // the norm joins late
        optimizer.step({ clip: 1 });
      }
    };
    const whole = make(), first = make(), second = make();
    train(whole, 0, 6);
    train(first, 0, 3);
    second.parameters.forEach(([, parameter], k) => parameter.data.set(first.parameters[k][1].data));
    train(second, 4, 5); // a past of its own, which load must end
    second.parameters.forEach(([, parameter], k) => parameter.data.set(first.parameters[k][1].data));
    second.optimizer.load(first.optimizer.state());
    train(second, 3, 6);
    expect([...first.optimizer.state().keys()]).toEqual(["weights", "biass"]);
    whole.parameters.forEach(([name, parameter], k) => expect(second.parameters[k][1].data, name).toEqual(parameter.data));
    for (const [name, { data }] of whole.optimizer.state()) expect(second.optimizer.state().get(name)!.data, name).toEqual(data);
  });

  it("refuses the state of another model before it takes any of it", () => {
    const optimizer = new SGD([["a", new Parameter([2])], ["b", new Parameter([3])]], { lr: 0.1, momentum: 0.9 });
    const of = (shape: number[]) => ({ shape, data: new Float32Array(6).fill(7) });
    const load = () => optimizer.load(new Map([["a", of([2])], ["b", of([4])], ["c", of([1])]]));
    expect(load).toThrow(WrongModelError);
    expect(load).toThrow('sgd: "b" is [3] in this model, [4] in the checkpoint; 2 of 3 tensors differ');
    expect(optimizer.state().size).toBe(0);
  });
});

describe("sgd", () => {
  it("gives the same bits in every float32 build", async () => {
    const runs: { norms: number[]; weights: ArrayLike<number> }[] = [];
    for (const build of builds) {
      await loadKernels({ build });
      const parameter = new Parameter([1003], "weight", ramp(1003));
      const optimizer = new SGD([parameter], { lr: 0.1, momentum: 0.937, nesterov: true, weightDecay: 5e-4 });
      const norms = [0, 1, 2].map((t) => {
        gather(parameter, ramp(1003).map((x) => Math.sin(20 * x + t)));
        return optimizer.step({ clip: 10 }).gradientNorm;
      });
      runs.push({ norms, weights: parameter.data.slice() });
    }
    expect(runs.length).toBeGreaterThan(1);
    for (const run of runs) expect(run).toEqual(runs[0]);
  });

  it("takes no new memory after its first step", async () => {
    const { memory } = await loadKernels({ build: "reference" });
    const parameter = new Parameter([5000]);
    const optimizer = new SGD([parameter], { lr: 0.1, momentum: 0.9 });
    const step = () => { gather(parameter, new Float32Array(5000).fill(1)); optimizer.step(); };
    step();
    const { inUse, reserved } = memory;
    for (let i = 0; i < 5; i++) step();
    expect([memory.inUse, memory.reserved]).toEqual([inUse, reserved]);
  });

  it("says which option is wrong", async () => {
    await loadKernels({ build: "reference" });
    expect(() => new SGD([], { lr: NaN })).toThrow("sgd: lr is NaN, expected a number from 0 up");
    expect(() => new SGD([], { lr: 0.1, momentum: -1 })).toThrow("sgd: momentum is -1");
    expect(() => new SGD([], { lr: 0.1, nesterov: true })).toThrow("sgd: nesterov looks ahead along the momentum, but momentum is 0");
    expect(() => new SGD([], { lr: 0.1 }).step({ clip: 0 })).toThrow("sgd: clip is 0, expected a norm above 0; leave it out to clip nothing");
  });
});
