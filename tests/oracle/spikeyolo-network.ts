/**
 * Whole networks of the SpikeYOLO cases: evaluation, loss with every gradient.
 *
 * The float64 twin must meet the recorded float64 run. Float32 must fire the same spikes where no membrane of the network comes closer than
 * 5e-5 to a boundary; elsewhere it may be as far off as 20 times what PyTorch's own float32 run was (`observed_float32`).
 */
import { backward, host, keepAll, noGrad, sizeOf, Spikes, Tensor, type Value } from "../../engine/index.ts";
import type { Node } from "../../engine/op.ts";
import { observeConvolutions } from "../../nn/layers.ts";
import { ilif, ilifGen1 } from "../../nn/neurons.ts";
import type { Prediction } from "../../detection/head.ts";
import { detectionLoss } from "../../detection/loss.ts";
import { SpikeYOLO, type DetectorInput } from "../../detection/spikeyolo.ts";
import { inTheirLayout, loadReference, referenceNames } from "../../detection/weights.ts";
import { channelsFirst, channelsLast, short, type Check, type OracleCase, type Player, type Tolerance } from "./play.ts";
import { rawMaps, targetsOf, TWIN_AND_BEST } from "./spikeyolo.ts";

export function networkOf(c: OracleCase): SpikeYOLO {
  const { depth, width, max_channels, nc, T, D, decay, neuron, bn_eps, bn_momentum = 0.03, mode } = c.params;
  const model = new SpikeYOLO({
    depth, width, maxChannels: max_channels, lastRatio: 1, classes: nc, T, D, neuron: neuron === "ilif_gen1" ? ilifGen1(D) : ilif(D, decay), norm: { eps: bn_eps, momentum: bn_momentum },
  });
  loadReference(model, c.all("weights"));
  return model.train(mode !== "eval");
}

/** Images [B, 3, H, W], or event frames [B, T, 3, H, W] whose time comes first here. */
export function inputOf(c: OracleCase): DetectorInput {
  const { shape, data } = channelsLast(c.get("inputs", "img"));
  if (shape.length === 4) return { shape, data };
  const [B, T, ...frame] = shape, size = sizeOf(frame), sequence = new Float64Array(data.length);
  for (let b = 0; b < B; b++) for (let t = 0; t < T; t++) for (let i = 0; i < size; i++) sequence[(t * B + b) * size + i] = data[(b * T + t) * size + i];
  return { shape: [T, B, ...frame], data: sequence };
}

// ---- what happened inside: spikes of every neuron, outputs of every layer ----

/** The neuron before a weight, by the name of either. */
const NEURONS: readonly (readonly [weight: string, neuron: string])[] = [
  [".pwconv1.weight", ".lif1"], [".dwconv2.weight", ".lif2"], [".pwconv3.body.0.bn.weight", ".lif3"], [".pwconv3.body.1.0.weight", ".lif3"],
  [".conv1.body.0.weight", ".lif1"], [".conv2.body.0.weight", ".lif2"], [".encode_conv.weight", ".encode_lif"], [".conv.weight", ".lif"],
];

function neuronBefore(weight: string): string | undefined {
  const row = NEURONS.find(([ending]) => weight.endsWith(ending));
  return row && weight.slice(0, -row[0].length) + row[1];
}

const weightNames = (model: SpikeYOLO): Map<Tensor, string> => new Map([...referenceNames(model)].map(([name, weight]) => [weight, name]));

export type Firings = Map<string, Spikes>;

/** The spikes of each neuron, found by walking back from what the network predicted. */
export function firingsBehind(model: SpikeYOLO, { box, classes }: Prediction): Firings {
  const names = weightNames(model), found: Firings = new Map(), seen = new Set<Node>();
  const waiting = [box.node, classes.node];
  while (waiting.length) {
    const node = waiting.pop();
    if (!node || seen.has(node)) continue;
    seen.add(node);
    const spikes = spikesIn(node.inputs[0]);
    for (const input of node.inputs) {
      waiting.push(input?.node);
      const neuron = input instanceof Tensor && names.has(input) ? neuronBefore(names.get(input)!) : undefined;
      if (neuron && spikes) found.set(neuron, spikes);
    }
  }
  return found;
}

/** Spikes as a layer took them, perhaps under another shape or as reals. */
function spikesIn(value: Value | undefined): Spikes | undefined {
  while (value instanceof Tensor && value.node && ["reshape", "valuesOf"].includes(value.node.spec.name)) value = value.node.inputs[0];
  return value instanceof Spikes ? value : undefined;
}

/** The same without a graph to walk: convolutions report what they were given. */
function withFirings<R>(model: SpikeYOLO, run: () => R): { result: R; firings: Firings } {
  const names = weightNames(model), firings: Firings = new Map();
  const result = observeConvolutions(({ weight }, x) => {
    const neuron = neuronBefore(names.get(weight)!);
    if (neuron && x instanceof Spikes) firings.set(neuron, x);
  }, run);
  return { result, firings };
}

const LAYERS: readonly (readonly [layer: number, part: keyof SpikeYOLO])[] = [
  [1, "stem"], [2, "stage2"], [3, "down3"], [4, "stage3"], [5, "down4"], [6, "stage4"], [7, "down5"], [8, "stage5"], [9, "pool5"], [10, "lateral5"],
  [12, "topDown4"], [14, "lateral4"], [16, "topDown3"], [18, "lateral3"], [19, "out3"], [20, "down3to4"], [22, "out4"], [23, "down4to5"], [25, "out5"],
];

/** Remembers what each layer gives; a stage's output is that of its last block. */
function watchLayers(model: SpikeYOLO): Map<number, Tensor> {
  const seen = new Map<number, Tensor>();
  for (const [layer, part] of LAYERS) {
    const parts = [model[part]].flat(), block = parts[parts.length - 1] as { forward(x: Tensor): Tensor }, forward = block.forward.bind(block);
    block.forward = (x) => { const y = forward(x); seen.set(layer, y); return y; };
  }
  return seen;
}

// ---- comparing ----

export const isTwin = (): boolean => host().bytes === 8;

/** Whether float32 rounding cannot change a spike of this case. */
const spikesAreSafe = (c: OracleCase): boolean => isTwin() || c.record.min_margin >= 5e-5;

interface Counts { readonly total: number; readonly nonzero: number; readonly numel: number }

/** Layers and neurons in the order in which they run, so that the first complaint names the first layer that differs. */
function compareInside(c: OracleCase, check: Check, layers: ReadonlyMap<number, Tensor>, firings: Firings): void {
  const wanted = c.record.neurons as Record<string, Counts>, checks = c.record.layer_checks as Record<string, { sum: number; abs_sum: number }>;
  let flipped = 0;
  const compareNeurons = (prefix: string): void => {
    for (const [name, { total, nonzero, numel }] of Object.entries(wanted).filter(([name]) => name.startsWith(prefix))) {
      const values = firings.get(name)?.values();
      if (!values) { check.fail(`neuron ${name}: never seen`); continue; }
      const got = [values.reduce((sum, value) => sum + value, 0), values.filter((value) => value > 0).length, values.length];
      if (spikesAreSafe(c)) check.equal(`neuron ${name} (total, non-zero, all)`, got, [total, nonzero, numel]);
      else flipped += Math.abs(got[0] - total);
    }
  };
  for (let layer = 1; layer <= 26; layer++) {
    compareNeurons(`model.${layer}.`);
    const y = layers.get(layer), want = checks[layer];
    if (!y || !want || !spikesAreSafe(c)) continue;
    compareSums(check, `layer ${layer}`, y.data, [want.sum, want.abs_sum], { rtol: isTwin() ? 1e-9 : c.record.rtol!, atol: 0 });
  }
  if (!spikesAreSafe(c)) check.note(`float32 layer totals differ by ${flipped} spikes`);
}

/** Error over the largest expected value. */
export function relative(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let error = 0, largest = 0;
  for (let i = 0; i < want.length; i++) {
    error = Math.max(error, Math.abs(got[i] - want[i]));
    largest = Math.max(largest, Math.abs(want[i]));
  }
  return got.length === want.length ? error / largest : Infinity;
}

/** 20 times PyTorch's own error where it was recorded, else the tolerance of the case. */
export function likeFloat32(check: Check, c: OracleCase, what: string, error: number, observed: number | undefined): void {
  check.atMost(what, error, observed === undefined ? c.record.rtol! : 20 * observed);
  check.note(`${what} ${short(error)}, PyTorch float32 ${observed === undefined ? "unknown" : short(observed)}`);
}

function compareOutput(c: OracleCase, check: Check, name: string, got: ArrayLike<number>, observed: number | undefined): void {
  const want = c.get("outputs", name);
  if (spikesAreSafe(c)) check.close(name, got, want);
  else likeFloat32(check, c, `relative error of ${name}`, relative(got, want.data), observed);
}

// ---- evaluation ----

const evaluation: Player = { places: TWIN_AND_BEST, play: (c, check) => {
  const model = networkOf(c), input = inputOf(c), layers = watchLayers(model), observed = c.record.observed_float32 ?? {};
  const compare = (prediction: Prediction, firings: Firings): void => {
    compareInside(c, check, layers, firings);
    const maps = rawMaps(prediction), decoded = model.head.decode(prediction);
    maps.forEach((map, i) => compareOutput(c, check, `p${i}`, map, observed.raw_max_rel?.[i]));
    compareOutput(c, check, "decoded", channelsFirst(decoded.shape, decoded.data, 1), observed.decoded_max_rel);
  };
  const recorded = keepAll(() => model.forward(input));
  compare(recorded, firingsBehind(model, recorded));
  const { result, firings } = keepAll(() => noGrad(() => withFirings(model, () => model.forward(input)))); // norms before 1x1 convolutions fold
  compare(result, firings);
} };

// ---- loss and gradients ----

const training: Player = { places: TWIN_AND_BEST, play: (c, check) => {
  const model = networkOf(c), layers = watchLayers(model), { box, cls, dfl } = c.params, observed = c.record.observed_float32 ?? {};
  const prediction = keepAll(() => model.forward(inputOf(c)));
  compareInside(c, check, layers, firingsBehind(model, prediction));
  const loss = detectionLoss(prediction, targetsOf(c), { box, classes: cls, dfl });
  backward(loss.total);

  const maps = rawMaps(prediction), named = referenceNames(model);
  for (const [name, want] of c.all("outputs")) {
    if (name === "total" && !isTwin()) likeFloat32(check, c, "relative error of total", relative([loss.total.item()], want.data), observed.total_rel);
    else if (name === "total") check.close(name, [loss.total.item()], want);
    else if (name === "items") check.close(name, [loss.box, loss.classes, loss.dfl], want);
    else if (/^p\d$/.test(name)) check.close(name, maps[Number(name[1])], want);
    else check.close(name, named.get(name.slice("after.".length))!.data, want);
  }
  compareAllGradients(c, check, model, observed.grad_rel_l2);
} };

/** Each gradient by itself in the twin; in float32 the distance of all of them, as one vector, over its length. */
function compareAllGradients(c: OracleCase, check: Check, model: SpikeYOLO, observed: number | undefined): void {
  const named = referenceNames(model), tolerance: Tolerance = { rtol: c.record.rtol!, atol: c.record.atol! };
  let apart = 0, length = 0;
  for (const [name, want] of c.all("grads")) {
    const got = gradientOf(named, name);
    if (isTwin()) check.close(`gradient of ${name}`, got, want);
    for (let i = 0; i < got.length; i++) { apart += (got[i] - want.data[i]) ** 2; length += want.data[i] ** 2; }
  }
  if (!isTwin()) { likeFloat32(check, c, "relative distance of all gradients", Math.sqrt(apart / length), observed); return; }
  for (const [name, sums] of Object.entries(c.record.grad_checks as Record<string, [number, number]>)) compareSums(check, `gradient of ${name}`, gradientOf(named, name), sums, tolerance);
}

function gradientOf(named: ReturnType<typeof referenceNames>, name: string): ArrayLike<number> {
  const parameter = named.get(name);
  if (!parameter?.grad) throw new Error(`${name} has no gradient`);
  return inTheirLayout(parameter.shape, parameter.grad.data);
}

/** Sum and absolute sum. */
export function sumsOf(values: ArrayLike<number>): [number, number] {
  let sum = 0, magnitude = 0;
  for (let i = 0; i < values.length; i++) { sum += values[i]; magnitude += Math.abs(values[i]); }
  return [sum, magnitude];
}

/** Sum and absolute sum, both within the tolerance of the latter. */
export function compareSums(check: Check, what: string, got: ArrayLike<number>, [sum, magnitude]: readonly [number, number], { rtol, atol }: Tolerance): void {
  const [ourSum, ourMagnitude] = sumsOf(got), allowed = atol + rtol * magnitude;
  check.atMost(`sum of ${what}`, Math.abs(ourSum - sum), allowed);
  check.atMost(`absolute sum of ${what}`, Math.abs(ourMagnitude - magnitude), allowed);
}

export const networkPlayers: ReadonlyMap<string, Player> = new Map([
  ["SpikeYOLO", evaluation],
  ["SpikeYOLO_gen1", evaluation],
  ["SpikeYOLO+loss", training],
  ["SpikeYOLO_gen1+loss", training],
]);
