import { beforeAll, expect, test } from "vitest";
import { backward, loadKernels, mul, scope, sum, tensor } from "../../engine/index.ts";
import { BatchNorm2d, Snapshot } from "../../nn/index.ts";

beforeAll(() => loadKernels());

test("a snapshot puts running statistics and gathered gradients back, and forgets those that came later", () => {
  const norm = new BatchNorm2d(2), snapshot = new Snapshot(norm);
  const step = (scale: number): void => scope(() => {
    const y = norm.forward(tensor([1, 2, 3, 4 * scale, 5, 7], [1, 3, 1, 2]));
    backward(sum(mul(y, y)));
  });
  const state = () => [norm.runningMean, norm.runningVariance, norm.weight.grad, norm.bias.grad].map((values) => values && [...values.data]);

  for (const gathered of [false, true]) {
    const before = state();
    expect(before[2] !== undefined).toBe(gathered);
    snapshot.take();
    step(2);
    expect(state()).not.toEqual(before);
    snapshot.restore();
    expect(state()).toEqual(before);
    step(3);
  }
});
