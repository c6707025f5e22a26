import { beforeAll, describe, expect, it } from "vitest";
import { add, backward, empty, fire, full, host, mul, noGrad, Parameter, scope, spikesOf, sum, tensor, Tensor, valuesOf, withHost, zeros, type Host, type Spikes } from "../../engine/index.ts";
import { ilif } from "../../nn/neurons.ts";
import { kernelSets } from "./hosts.ts";

describe.each(kernelSets)("scope on %s", (_, load) => {
  let kernels: Host;
  beforeAll(async () => { kernels = await load(); });
  const test = (name: string, run: () => void): void => it(name, () => withHost(kernels, run));
  const inUse = () => host().memory.inUse;

  test("frees everything that was made inside", () => {
    const before = inUse();
    scope(() => { const x = full([100], 2); mul(add(x, x), x); });
    expect(inUse()).toBe(before);
  });

  test("frees everything also when the function throws", () => {
    const before = inUse();
    expect(() => scope(() => { zeros([100]); throw new Error("inside"); })).toThrow("inside");
    expect(inUse()).toBe(before);
    expect(host().memory.life.ended).toBe(false);
  });

  test("returns a tensor with its values and its shape", () => scope(() => {
    const y = scope(() => mul(tensor([1, 2, 3, 4], [2, 2]), full([2, 2], 3)));
    full([4], -1); // would take the place of y, if y had stayed where it was
    expect(y.shape).toEqual([2, 2]);
    expect(Array.from(y.data)).toEqual([3, 6, 9, 12]);
  }));

  test("returns tensors in arrays and in plain records, however deep, and other values as they are", () => scope(() => {
    const { pair, deep, count } = scope(() => {
      const x = tensor([1, 2]);
      return { pair: [x, add(x, x)], deep: { inner: [mul(x, x)] }, count: 7 };
    });
    full([6], -1);
    expect(pair.map((x) => Array.from(x.data))).toEqual([[1, 2], [2, 4]]);
    expect(Array.from(deep.inner[0].data)).toEqual([1, 4]);
    expect(count).toBe(7);
  }));

  test("returns one tensor for a tensor that stands in the result twice", () => scope(() => {
    const [a, b] = scope(() => { const x = tensor([1, 2]); return [x, x]; });
    a.data[0] = 5;
    expect(Array.from(b.data)).toEqual(Array.from(a.data));
  }));

  test("keeps room for what it returns and frees the rest", () => scope(() => {
    const before = inUse();
    const kept = scope(() => { zeros([10000]); return zeros([10]); });
    const held = inUse() - before;
    expect(held).toBeGreaterThan(0);
    expect(held).toBeLessThan(1000);
    expect(kept.size).toBe(10);
  }));

  test("hands what it returns to the enclosing scope, where it ends", () => {
    let seen: Tensor | undefined;
    scope(() => {
      seen = scope(() => tensor([1, 2]));
      expect(Array.from(seen.data)).toEqual([1, 2]);
    });
    expect(() => seen!.data).toThrow("tensor [2]: its scope has ended; return it from the scope, or read it inside");
  });

  test("returns values, not graphs: no gradient goes back into a scope that has ended", () => scope(() => {
    const x = tensor([3], [1], { requiresGrad: true }), y = scope(() => mul(x, x));
    expect(y.node).toBeUndefined();
    expect(y.requiresGrad).toBe(false);
  }));

  test("returns parameters and tensors of outer scopes as they are", () => scope(() => {
    const w = new Parameter([2], "weight", [1, 2]), x = tensor([3, 4]);
    const result = scope(() => ({ w, x }));
    expect(result.w).toBe(w);
    expect(result.x).toBe(x);
  }));

  test("refuses to read a tensor after its scope, and says what to do", () => {
    let leaked: Tensor | undefined;
    scope(() => { leaked = tensor([1, 2, 3]); });
    expect(() => leaked!.data).toThrow("tensor [3]: its scope has ended; return it from the scope, or read it inside");
    expect(() => leaked!.item()).toThrow();
  });

  test("refuses to compute with a tensor after its scope", () => scope(() => {
    let leaked: Tensor | undefined;
    scope(() => { leaked = tensor([1, 2, 3]); });
    const x = tensor([1, 2, 3]);
    expect(() => add(x, leaked!)).toThrow("tensor [3]: its scope has ended");
    expect(() => sum(leaked!)).toThrow("tensor [3]: its scope has ended");
  }));

  test("refuses spikes after their scope, in the same way", () => {
    let leaked: Spikes | undefined;
    scope(() => { leaked = spikesOf(tensor([0, 1, 2, 3, 4, 0], [2, 3]), { D: 4 }); });
    expect(() => leaked!.values()).toThrow("spikes [2, 3]: their scope has ended; read them inside");
    expect(() => valuesOf(leaked!)).toThrow("spikes [2, 3]: their scope has ended; read them inside");
  });

  test("ends inner scopes and leaves outer ones open", () => scope(() => {
    const outer = tensor([1, 2]);
    let inner: Tensor | undefined;
    scope(() => {
      inner = add(outer, outer);
      scope(() => { expect(Array.from(add(inner!, outer).data)).toEqual([3, 6]); });
      expect(Array.from(inner.data)).toEqual([2, 4]);
    });
    expect(() => inner!.data).toThrow(/scope has ended/);
    expect(Array.from(outer.data)).toEqual([1, 2]);
  }));

  test("gives the same memory to each turn of a loop", () => {
    const pointers = new Set(Array.from({ length: 10 }, () => scope(() => empty([1000]).ptr)));
    expect(pointers.size).toBe(1);
  });

  test("lets a whole step be forgotten: graph, gradients, event lists", () => {
    const w = new Parameter([2, 3], "weight", [1, 2, 3, 4, 5, 6]), before: number[] = [];
    for (let step = 0; step < 3; step++) {
      scope(() => {
        const s = fire(mul(w, w), ilif(4));
        s.events();
        host().memory.withWorkspace(() => s.eventsAbove(1));
        s.statistics();
        backward(sum(valuesOf(s)));
      });
      before.push(inUse());
    }
    expect(before[2]).toBe(before[0]);
  });

  test("refuses an async function, whose tensors would be gone before it went on", () => {
    expect(() => scope(async () => { await null; })).toThrow("scope: the function must not be async; await outside, compute inside");
  });

  test("takes no part in recording: noGrad holds inside a scope, and a scope inside noGrad", () => {
    const x = new Parameter([1], "weight", [2]);
    noGrad(() => scope(() => expect(mul(x, x).node).toBeUndefined()));
    scope(() => { noGrad(() => scope(() => {})); expect(mul(x, x).node).toBeDefined(); });
  });
});
