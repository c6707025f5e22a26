/** Learning rate, momentum and accumulation as functions of the iteration: the schedule of SpikeYOLO's trainer, its quirks included. */
import type { Role } from "../engine/index.ts";
import { cos } from "../kernels/elementary.ts";

/** One learning rate for each role that a parameter can have. */
export type Rates = Readonly<Record<Role, number>>;

export interface Recipe {
  /** Learning rate at epoch 0, before warm-up has its say. */
  readonly lr0: number;
  /** Share of lr0 that is left after the last epoch. */
  readonly lrf: number;
  /** Momentum after warm-up. */
  readonly momentum: number;
  /** Decay of weights for a step over `nbs` images. */
  readonly weightDecay: number;
  /** Epochs of warm-up, fractions allowed; 0 for none. */
  readonly warmupEpochs: number;
  readonly warmupMomentum: number;
  /** Where the rate of biases starts; the others start at 0. */
  readonly warmupBiasLr: number;
  /** Nominal batch size: gradients of about nbs/batch batches make one step. */
  readonly nbs: number;
  readonly batch: number;
  readonly epochs: number;
  /** Share of lr0 where the rates of weights and norms start (default 0). */
  readonly warmupFrom?: number;
  /** Half a cosine instead of a line from lr0 to lr0*lrf. */
  readonly cosine?: boolean;
  /** Warm-up takes at least so many iterations (100 as published). Small runs want fewer. */
  readonly minWarmupIterations?: number;
  /** Warm-up takes at most so many iterations. */
  readonly mostWarmupIterations?: number;
  /** What a step takes of the batches that it gathers: their gradients added up (default), as where losses are sums over images, or the mean of them. */
  readonly gather?: "sum" | "mean";
  /** Batches are gathered from this epoch on, and steps before it take one batch each; without it, warm-up goes from one to the other. */
  readonly gatherFrom?: number;
  /** After warm-up, epoch e runs at the rate of epoch e-1, as in all published runs (default true). */
  readonly oneEpochLate?: boolean;
}

/** SpikeYOLO on COCO as published: args of the authors' 23M run. */
export const referenceRecipe: Recipe = {
  lr0: 0.01, lrf: 0.004, momentum: 0.937, weightDecay: 5e-4, warmupEpochs: 10, warmupMomentum: 0.8, warmupBiasLr: 0.1, nbs: 64, batch: 40, epochs: 300,
};

/** SNN-YOLOv3 as its published code has it, where decay is of all parameters. What its last step of an epoch leaves over is dropped here, and goes into the next epoch there. */
export const snnYOLOv3Recipe: Recipe = {
  lr0: 1e-3, lrf: 0.01, momentum: 0.937, weightDecay: 5e-4, warmupEpochs: 1, warmupMomentum: 0.937, warmupBiasLr: 1e-6, warmupFrom: 1e-3, minWarmupIterations: 0, mostWarmupIterations: 1000,
  nbs: 64, batch: 4, epochs: 200, cosine: true, oneEpochLate: false, gather: "mean", gatherFrom: 1,
};

export interface Settings {
  readonly rates: Rates;
  readonly momentum: number;
  /** Batches whose gradients make one step. */
  readonly accumulate: number;
  /** Whether the optimiser steps after this batch. The reference drops what has gathered without a step at the end of an epoch. */
  readonly step: boolean;
}

export interface Schedule {
  /** Warm-up covers iterations 0 to this one, inclusive; -1 for none. */
  readonly warmupIterations: number;
  /** The recipe's decay, where gradients add up scaled to the images that one step really sees: weightDecay * batch * accumulate / nbs. */
  readonly weightDecay: number;
  /** What holds in one iteration of one epoch, both counted from 0. */
  at(epoch: number, iteration: number): Settings;
}

/**
 * With n = epoch * batchesPerEpoch + iteration, N = warmupIterations, f(e) = 1 - (1 - lrf) e/E  or  1 - (1 - lrf) (1 - cos(pi e/E))/2:
 *
 *   n <= N    rate = from + n/N (lr0 f(epoch) - from), momentum and accumulate likewise       from: warmupBiasLr for biases, warmupFrom lr0 for the others
 *   n >  N    rate = lr0 f(epoch - 1), or lr0 f(epoch) in the epoch in which warm-up ended
 */
export function schedule(recipe: Recipe, batchesPerEpoch: number): Schedule {
  const { lr0, lrf, epochs, batch, nbs, warmupEpochs, warmupBiasLr, warmupMomentum, momentum, weightDecay, cosine = false, warmupFrom = 0, minWarmupIterations = 100, mostWarmupIterations = Infinity, oneEpochLate = true, gather = "sum", gatherFrom } = recipe;
  expect("an integer from 1 up", (x) => Number.isSafeInteger(x) && x > 0, { epochs, batch, nbs, batchesPerEpoch });
  expect("a number from 0 up", (x) => Number.isFinite(x) && x >= 0, { lr0, lrf, momentum, weightDecay, warmupEpochs, warmupMomentum, warmupBiasLr, warmupFrom, minWarmupIterations, gatherFrom: gatherFrom ?? 0 });

  const N = warmupEpochs > 0 ? Math.min(Math.max(roundHalfEven(warmupEpochs * batchesPerEpoch), minWarmupIterations), mostWarmupIterations) : -1;
  const lastWarmEpoch = Math.floor(N / batchesPerEpoch);
  const accumulated = Math.max(1, roundHalfEven(nbs / batch));
  const rate = (epoch: number): number =>
    lr0 * (cosine ? ((1 - cos((epoch * Math.PI) / epochs)) / 2) * (lrf - 1) + 1 : (1 - epoch / epochs) * (1 - lrf) + lrf);

  const single = gatherFrom === undefined ? 0 : gatherFrom * batchesPerEpoch; // iterations whose steps take one batch each
  const accumulate = (n: number): number => (n < single ? 1 : n > N || gatherFrom !== undefined ? accumulated : Math.max(1, roundHalfEven(between(1, nbs / batch, n, N))));
  const { steps, last } = firstSteps(Math.min(Math.max(N + 1, single), epochs * batchesPerEpoch), accumulate);

  return {
    warmupIterations: N,
    weightDecay: gather === "mean" ? weightDecay : (weightDecay * batch * accumulated) / nbs,
    at(epoch, iteration) {
      expectIndex("epoch", epoch, epochs);
      expectIndex("iteration", iteration, batchesPerEpoch);
      const n = epoch * batchesPerEpoch + iteration;
      const step = n < steps.length ? steps[n] === 1 : (n - last) % accumulated === 0;
      if (n > N) {
        const lr = rate(oneEpochLate && epoch !== lastWarmEpoch ? Math.max(epoch - 1, 0) : epoch);
        return { rates: { bias: lr, weight: lr, norm: lr }, momentum, accumulate: accumulate(n), step };
      }
      const lr = between(warmupFrom * lr0, rate(epoch), n, N);
      return {
        rates: { bias: between(warmupBiasLr, rate(epoch), n, N), weight: lr, norm: lr },
        momentum: between(warmupMomentum, momentum, n, N),
        accumulate: accumulate(n),
        step,
      };
    },
  };
}

/** The first iterations, one by one: a step is due when `accumulate` batches have gathered since the last one. */
function firstSteps(iterations: number, accumulate: (n: number) => number): { steps: Uint8Array; last: number } {
  const steps = new Uint8Array(iterations);
  let last = -1;
  for (let n = 0; n < iterations; n++) {
    if (n - last < accumulate(n)) continue;
    steps[n] = 1;
    last = n;
  }
  return { steps, last };
}

/** a at n = 0, b at n = N, a line between: rounds as numpy.interp does. */
const between = (a: number, b: number, n: number, N: number): number => (n === N ? b : ((b - a) / N) * n + a);

/** Python's round: halves go to the even neighbour. */
const roundHalfEven = (x: number): number => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

function expect(what: string, holds: (x: number) => boolean, fields: Readonly<Record<string, number>>): void {
  for (const [name, x] of Object.entries(fields)) if (!holds(x)) throw new Error(`schedule: ${name} is ${x}, expected ${what}`);
}

function expectIndex(name: string, i: number, count: number): void {
  if (!Number.isSafeInteger(i) || i < 0 || i >= count) throw new Error(`schedule: ${name} ${i} is none of 0 to ${count - 1}`);
}
