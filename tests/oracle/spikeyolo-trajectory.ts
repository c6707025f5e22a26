/**
 * Ten training steps on one batch.
 *
 * The float64 twin must meet the recorded float64 run in every loss, every norm of gradients and the weights at the end. Float32 follows the twin
 * step by step: where both fire alike, the loss and the weights after the step must agree. Some of the 200,000 membranes of each step come as
 * close as 1e-7 to a boundary, so that float32 may round one to the other side, after which the two runs are different runs. Such a step is
 * excused only if every first element that differs lay within 5e-5 of its boundary, the margin at which all float32 must agree; float32 then goes
 * on from the twin's state.
 */
import { backward, keepAll, scope, type Spikes } from "../../engine/index.ts";
import type { IntegerNeuron } from "../../engine/ops/neuron.ts";
import { detectionLoss } from "../../detection/loss.ts";
import type { SpikeYOLO } from "../../detection/spikeyolo.ts";
import { referenceNames } from "../../detection/weights.ts";
import { SGD } from "../../nn/optimizers.ts";
import type { OracleCase, Player, Tolerance } from "./play.ts";
import { compareSums, firingsBehind, inputOf, isTwin, likeFloat32, networkOf, sumsOf } from "./spikeyolo-network.ts";
import { targetsOf, TWIN_AND_BEST } from "./spikeyolo.ts";

const MARGIN = 5e-5;
/** Steps of ten that may be excused, and elements that differ in the first neuron of one. */
const EXCUSED_STEPS = 3, EXCUSED_ELEMENTS = 4;

const PARTS = ["total", "box", "cls", "dfl", "grad_norm"] as const;
type Losses = Readonly<Record<(typeof PARTS)[number], number>>;

/** What one neuron emitted, spike bytes with their window bits, and how far each membrane was from the nearest boundary. */
interface Firing { readonly name: string; readonly bytes: Uint8Array; readonly distance: Float64Array }

/** Copies of everything that a step changes: weights and statistics by name, momentum by name. */
interface State { readonly weights: ReadonlyMap<string, Float64Array>; readonly momentum: ReadonlyMap<string, Float64Array> }

interface Step { readonly losses: Losses; readonly firings: readonly Firing[]; readonly after: State }

const twinRuns = new WeakMap<OracleCase, readonly Step[]>();

class Run {
  private readonly model: SpikeYOLO;
  private readonly optimizer: SGD;
  constructor(private readonly c: OracleCase) {
    const { lr, momentum, nesterov, weight_decay } = c.params;
    this.model = networkOf(c);
    this.optimizer = new SGD(this.model.namedParameters(), { lr, momentum, nesterov, weightDecay: weight_decay });
  }

  step(): Step {
    const { clip_grad_norm: clip, box, cls, dfl } = this.c.params;
    return scope(() => {
      const prediction = keepAll(() => this.model.forward(inputOf(this.c))), firings = firingsInOrder(this.model, prediction);
      const loss = detectionLoss(prediction, targetsOf(this.c), { box, classes: cls, dfl });
      const losses = { total: loss.total.item(), box: loss.box, cls: loss.classes, dfl: loss.dfl };
      backward(loss.total);
      const { gradientNorm } = this.optimizer.step(clip ? { clip } : {});
      return { losses: { ...losses, grad_norm: gradientNorm }, firings, after: this.state() };
    });
  }

  /** Goes on from another run's state. */
  follow({ weights, momentum }: State): void {
    for (const [name, weight] of this.named()) weight.data.set(weights.get(name)!);
    for (const [name, values] of this.optimizer.state()) values.data.set(momentum.get(name)!);
  }

  private state(): State {
    const copies = (tensors: Iterable<readonly [string, { readonly data: ArrayLike<number> }]>) => new Map([...tensors].map(([name, { data }]) => [name, Float64Array.from(data)]));
    return { weights: copies(this.named()), momentum: copies(this.optimizer.state()) };
  }

  private named() { return referenceNames(this.model); }
}

/** Neurons in the order in which they fired. */
function firingsInOrder(model: SpikeYOLO, prediction: Parameters<typeof firingsBehind>[1]): Firing[] {
  return [...firingsBehind(model, prediction)]
    .map(([name, spikes]) => ({ name, spikes: asFired(spikes) }))
    .sort((a, b) => a.spikes.node!.order - b.spikes.node!.order)
    .map(({ name, spikes }) => ({ name, bytes: spikes.bytes.slice(), distance: distancesOf(spikes) }));
}

/** The spikes that a reshape shows under another shape. */
const asFired = (spikes: Spikes): Spikes => (spikes.node!.spec.name === "reshape" ? asFired(spikes.node!.inputs[0] as Spikes) : spikes);

/** How far h[t] = decay (h[t-1] - s[t-1]) + gain x[t] is from 0, from D and from each k + 1/2. */
function distancesOf(spikes: Spikes): Float64Array {
  const { inputs: [x], attributes } = spikes.node!, { decay, gain, D } = (attributes as { neuron: IntegerNeuron }).neuron;
  const current = (x as { data: ArrayLike<number> }).data, values = spikes.values(), n = spikes.size / spikes.shape[0], distance = new Float64Array(spikes.size);
  const h = new Float64Array(n);
  for (let i = 0; i < spikes.size; i++) {
    const at = i % n;
    h[at] = (i < n ? 0 : decay * (h[at] - values[i - n])) + gain * current[i];
    const half = Math.min(Math.max(Math.floor(h[at]), 0), D - 1) + 0.5;
    distance[i] = Math.min(Math.abs(h[at] - half), Math.abs(h[at]), Math.abs(h[at] - D));
  }
  return distance;
}

/** The first neuron that did not fire as the twin's did, how many of its elements differ, and the largest distance of theirs from a boundary. */
function firstDifference(got: readonly Firing[], twin: readonly Firing[]): { name: string; count: number; distance: number } | undefined {
  for (const [i, { name, bytes, distance }] of twin.entries()) {
    let count = 0, furthest = 0;
    for (let j = 0; j < bytes.length; j++) if (bytes[j] !== got[i].bytes[j]) { count++; furthest = Math.max(furthest, distance[j]); }
    if (count) return { name, count, distance: furthest };
  }
  return undefined;
}

/** Largest relative difference of the absolute sums of all weights. */
function weightsApart({ weights }: State, twin: State): number {
  let apart = 0;
  for (const [name, want] of twin.weights) {
    const [, magnitude] = sumsOf(want);
    if (magnitude > 0) apart = Math.max(apart, Math.abs(sumsOf(weights.get(name)!)[1] - magnitude) / magnitude);
  }
  return apart;
}

const trajectory: Player = { places: TWIN_AND_BEST, play: (c, check) => {
  const wanted = c.record.losses as Losses[], run = new Run(c);
  if (isTwin()) {
    const tolerance: Tolerance = { rtol: c.record.rtol!, atol: c.record.atol! };
    const steps = wanted.map(() => run.step());
    wanted.forEach((want, i) => {
      for (const part of PARTS) check.atMost(`${part} of step ${i}`, Math.abs(steps[i].losses[part] - want[part]), tolerance.atol + tolerance.rtol * want[part]);
    });
    const last = steps[steps.length - 1].after.weights;
    for (const [name, sums] of Object.entries(c.record.final_checks as Record<string, [number, number]>)) compareSums(check, name, last.get(name)!, sums, tolerance);
    twinRuns.set(c, steps);
    return;
  }

  const twin = twinRuns.get(c)!, observed = c.record.observed_float32;
  let totals = 0, weights = 0, excused = 0;
  wanted.forEach(({ total }, i) => {
    const step = run.step(), difference = firstDifference(step.firings, twin[i].firings);
    if (!difference) {
      totals = Math.max(totals, Math.abs(step.losses.total - total) / total);
      weights = Math.max(weights, weightsApart(step.after, twin[i].after));
      return;
    }
    const { name, count, distance } = difference;
    excused++;
    check.atMost(`distance from a boundary where ${name} differs in step ${i}`, distance, MARGIN);
    check.atMost(`elements of ${name} that differ in step ${i}`, count, EXCUSED_ELEMENTS);
    check.note(`step ${i}: ${count} of ${name} rounded to the other side`);
    run.follow(twin[i].after);
  });
  check.atMost("steps that are not the twin's", excused, EXCUSED_STEPS);
  likeFloat32(check, c, "largest relative error of the totals", totals, Math.max(...observed.total_rel));
  likeFloat32(check, c, "largest relative error of the absolute sums", weights, observed.final_abs_sum_max_rel);
} };

export const trajectoryPlayers: ReadonlyMap<string, Player> = new Map([["SpikeYOLO SGD trajectory", trajectory]]);
