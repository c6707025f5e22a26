/**
 * How each op of the SpikeYOLO cases is run with this project's code. Recorded tensors are [N, C, H, W] or [T, B, C, H, W]; they become
 * channels-last here, and results go back to the recorded layout to be compared.
 */
import {
  backward, bceWithLogits, channels, ciou, concat, concatRows, conv2d, host, maxPool2d, noGrad, reshape, sigmoid, softmax, Spikes, spikesOf, tensor,
  upsampleNearest, valuesOf, withSpikePath, type SpikePath, type Tensor, type Value,
} from "../../engine/index.ts";
import { AllConvBlock, ConvBlock, DownSampling, SeparableConv, SpikingConv, type BlockOptions } from "../../nn/blocks.ts";
import { RepConv, SepRepConv } from "../../nn/chains.ts";
import { BatchNorm2d, BatchNormPad, perTimestep } from "../../nn/layers.ts";
import { Module } from "../../nn/module.ts";
import { ilif, ilifGen1, integrateAndFire, leaky, Neurons, parametricLeaky } from "../../nn/neurons.ts";
import { atan } from "../../nn/surrogates.ts";
import { assign } from "../../detection/assigner.ts";
import { bbox2dist, dist2bbox, makeAnchors, overlap, pairwiseIou, xywhToXyxy, xyxyToXywh, type OverlapKind } from "../../detection/boxes.ts";
import { BINS, DetectHead, sideDistances, SpikeSPPF, type Prediction } from "../../detection/head.ts";
import { detectionLoss, type BoxTargets } from "../../detection/loss.ts";
import { DetectionMetrics, matchDetections, type Truth } from "../../detection/metrics.ts";
import { nonMaxSuppression, type Detection } from "../../detection/nms.ts";
import { inTheirLayout, loadReference, referenceNames } from "../../detection/weights.ts";
import { oneByOne } from "./neurons.ts";
import { channelsFirst, channelsLast, type Check, type OracleCase, type Place, type Player, type Recorded } from "./play.ts";

type Params = Readonly<Record<string, any>>;

export const TWIN_AND_BEST: readonly Place[] = ["reference64", "best"];
const EVERY_BUILD: readonly Place[] = ["reference64", "reference", "best"];
const NO_KERNELS: readonly Place[] = [];

// ---- ops: inputs by name, outputs by name, gradients under the names of the inputs ----

type Leaf = (name: string) => Tensor;

/** An op whose recorded outputs, and gradients of its inputs, all have `spatial` axes after the channels. */
function op(run: (leaf: Leaf, params: Params) => Record<string, Tensor>, spatial = 2): Player {
  return { places: TWIN_AND_BEST, play: (c, check) => {
    const leaves = new Map<string, Tensor>();
    const outputs = run((name) => {
      const x = leafOf(c.get(c.has("inputs", name) ? "inputs" : "weights", name), spatial);
      leaves.set(name, x);
      return x;
    }, c.params);
    compareOutputs(c, check, (name) => outputs[name] && channelsFirst(outputs[name].shape, outputs[name].data, spatial));
    backwardFrom(c, outputs, spatial);
    for (const [name, want] of c.all("grads")) check.close(`gradient of ${name}`, gradientOf(leaves.get(name)!, spatial), want);
  } };
}

export function leafOf(recorded: Recorded, spatial = 2): Tensor {
  const { shape, data } = channelsLast(recorded, spatial);
  return tensor(data, shape, { requiresGrad: true });
}

export const gradientOf = (leaf: Tensor, spatial = 2): ArrayLike<number> =>
  leaf.grad ? channelsFirst(leaf.shape, leaf.grad.data, spatial) : [];

function compareOutputs(c: OracleCase, check: Check, got: (name: string) => ArrayLike<number> | undefined, names = c.names("outputs")): void {
  for (const name of names) {
    const ours = got(name);
    if (ours) check.close(name, ours, c.get("outputs", name)); else check.fail(`${name}: not computed`);
  }
}

function backwardFrom(c: OracleCase, outputs: Readonly<Record<string, Tensor>>, spatial = 2): void {
  const names = c.names("upstream");
  if (names.length === 0) return;
  const seeds = names.map((name) => channelsLast(c.get("upstream", name), spatial));
  backward(names.map((name) => outputs[name]), seeds.map(({ data, shape }) => tensor(data, shape)));
}

const frames = (kernel: (frames: Tensor) => Tensor): Player => op((leaf) => ({ y: perTimestep(leaf("x"), kernel) }));

// ---- neurons ----

/** Spikes must be equal, in one run and timestep by timestep; the membranes that the latter hands on are those recorded after the reset. */
function firing(neuronsOf: (c: OracleCase) => Neurons): Player {
  return { places: TWIN_AND_BEST, play: (c, check) => {
    const x = leafOf(c.get("inputs", "x")), neurons = neuronsOf(c), s = neurons.forward(x), y = valuesOf(s);
    check.equal("y", channelsFirst(y.shape, y.data), c.get("outputs", "y").data);
    const { spikes, states } = oneByOne(x, neurons);
    check.equal("y, timestep by timestep", channelsFirst(y.shape, spikes), c.get("outputs", "y").data);
    if (c.has("outputs", "v_after_reset")) check.close("v_after_reset", channelsFirst(s.shape, states), c.get("outputs", "v_after_reset"));
    backwardFrom(c, { y });
    check.close("gradient of x", gradientOf(x), c.get("grads", "x"));
    if (neurons.w) check.close("gradient of w", neurons.w.grad?.data ?? [], c.get("grads", "w"));
  } };
}

/** The neurons of SpikingJelly: v_reset null resets by subtraction, any number to that number; PLIF has 1/tau = sigmoid(w). */
function spikingJelly(c: OracleCase): Neurons {
  const { tau, decay_input: decayInput, v_threshold: threshold, v_reset, detach_reset: detachReset, surrogate, alpha } = c.params;
  if (surrogate !== "ATan") throw new Error(`no surrogate ${surrogate} here`);
  const options = { threshold, reset: v_reset === null ? "subtract" : "zero", vReset: v_reset ?? 0, detachReset, surrogate: atan(alpha) } as const;
  if (tau === null) return new Neurons(integrateAndFire(options));
  if (!c.has("weights", "w")) return new Neurons(leaky({ tau, decayInput, ...options }));
  const neurons = new Neurons(parametricLeaky({ tau, decayInput, ...options }));
  neurons.w!.data.set(c.get("weights", "w").data);
  return neurons;
}

/** D virtual timesteps of 0/1 spikes in place of one of integers: the events of step d, and the sums that they give. */
const integerToBinary: Player = { places: EVERY_BUILD, play: (c, check) => {
  const { T, D } = c.params, given = channelsLast(c.get("inputs", "x"));
  const s = spikesOf(tensor(given.data, given.shape), { D }), [, B, H, W, C] = s.shape;
  const steps = new Float64Array(D * s.size), frame = s.size / T;
  for (let d = 0; d < D; d++) {
    const step = host().memory.withWorkspace(() => virtualStep(s, d));
    for (let t = 0; t < T; t++) steps.set(step.subarray(t * frame, (t + 1) * frame), (t * D + d) * frame);
  }
  check.equal("y", channelsFirst([T * D, B, H, W, C], steps), c.get("outputs", "y").data);
  const weight = leafOf(c.get("inputs", "w"));
  const sums = (["binary", "integer"] as const).map((path) => noGrad(() => withSpikePath(path, () => perTimestep(s, (frames) => conv2d(frames, weight)))));
  sums.forEach((sum, i) => check.close(`conv_sum ${["binary", "integer"][i]}`, channelsFirst(sum.shape, sum.data), c.get("outputs", "conv_sum")));
  check.equal("binary and integer sums, bit for bit", sums[0].data, sums[1].data);
} };

function virtualStep(s: Spikes, d: number): Float64Array {
  const { events, spans } = s.eventsAbove(d), { buffer } = host().memory.wasm;
  const C = s.shape[s.shape.length - 1], pixels = s.size / C, out = new Float64Array(s.size);
  const list = new Uint16Array(buffer, events, s.size), span = new Int32Array(buffer, spans, 2 * pixels);
  for (let p = 0; p < pixels; p++) for (let e = span[2 * p]; e < span[2 * p + 1]; e++) out[p * C + (list[e] >> 4)] += list[e] & 15;
  return out;
}

// ---- modules: weights and gradients by the reference's names ----

export const blockOptions = ({ D, decay, bn_eps, bn_momentum }: Params): BlockOptions => ({ neuron: ilif(D, decay), norm: { eps: bn_eps, momentum: bn_momentum } });

type Block = Module & { forward(x: any): Tensor };

const SPIKE_PATHS: readonly SpikePath[] = ["auto", "dense", "sparse", "integer", "binary"];

/** A module with one input and one output. In eval mode it must give the same without recording too, when norms fold into convolutions. */
function module(make: (params: Params, channels: number) => Block, feeds: readonly ((x: Tensor, D: number) => Value)[] = [(x) => x]): Player {
  return { places: EVERY_BUILD, play: (c, check) => {
    const { mode, D } = c.params, given = c.get("inputs", "x");
    for (const feed of feeds) {
      const block = make(c.params, given.shape[given.shape.length - 3]), named = referenceNames(block);
      loadReference(block, c.all("weights"));
      block.train(mode === "train");
      const x = leafOf(given), y = block.forward(feed(x, D));
      compareOutputs(c, check, (name) => {
        if (name === "y") return channelsFirst(y.shape, y.data);
        return (named.get(name.replace(/^after\./, "")) ?? named.get(`bn.${name}`))?.data;
      }, c.names("outputs").filter((name) => !name.startsWith("fused_")));
      backwardFrom(c, { y });
      compareGradients(c, check, block, new Map([["x", x]]));
      if (mode === "eval") onEverySpikePath(check, "y", c.get("outputs", "y"), () => block.forward(feed(x, D)));
    }
    if (c.has("outputs", "fused_y")) oneConvolution(c, check);
  } };
}

/** The reference's folding of a whole block into one 3x3 convolution: what is recorded of it is a convolution of integer spikes. */
function oneConvolution(c: OracleCase, check: Check): void {
  const s = spikesOf(leafOf(c.get("inputs", "x")), { D: c.params.D }), [weight, bias] = ["fused_weight", "fused_bias"].map((name) => leafOf(c.get("outputs", name)));
  onEverySpikePath(check, "fused_y", c.get("outputs", "fused_y"), () => conv2d(s, weight, bias, { padding: 1 }));
}

/** Without recording, every way of convolving spikes must give the result, and the exact ways the same bits. */
function onEverySpikePath(check: Check, what: string, want: Recorded, run: () => Tensor): void {
  const exact: ArrayLike<number>[] = [];
  for (const path of SPIKE_PATHS) {
    const y = noGrad(() => withSpikePath(path, run));
    check.close(`${what} without recording, spikes ${path}`, channelsFirst(y.shape, y.data), want);
    if (path === "integer" || path === "binary") exact.push(y.data);
  }
  check.equal(`${what} of integer and binary spikes, bit for bit`, exact[0], exact[1]);
}

export function compareGradients(c: OracleCase, check: Check, trained: Module, leaves: ReadonlyMap<string, Tensor>): void {
  const parameters = referenceNames(trained);
  for (const [name, want] of c.all("grads")) {
    const leaf = leaves.get(name), parameter = parameters.get(name);
    if (leaf) check.close(`gradient of ${name}`, gradientOf(leaf), want);
    else if (parameter?.grad) check.close(`gradient of ${name}`, inTheirLayout(parameter.shape, parameter.grad.data), want);
    else check.fail(`gradient of ${name}: none`);
  }
}

const spikesAndReals = [(x: Tensor, D: number): Value => spikesOf(x, { D }), (x: Tensor): Value => x];

// ---- head ----

/** Raw maps [B, 64 + classes, h, w] of each level, from predictions over all anchors. */
export function rawMaps({ box, classes, levels }: Prediction): Float64Array[] {
  const [B, A, nc] = classes.shape, sides = 4 * BINS, [b, k] = [box.data, classes.data];
  let first = 0;
  return levels.map(([h, w]) => {
    const out = new Float64Array(B * (sides + nc) * h * w), n = h * w;
    for (let image = 0; image < B; image++) for (let p = 0; p < n; p++) {
      const anchor = image * A + first + p, at = image * (sides + nc) * n + p;
      for (let c = 0; c < sides; c++) out[at + c * n] = b[anchor * sides + c];
      for (let c = 0; c < nc; c++) out[at + (sides + c) * n] = k[anchor * nc + c];
    }
    first += n;
    return out;
  });
}

/** The reverse of `rawMaps`, differentiable: maps [B, h, w, 64 + classes] as predictions. */
function predictionOf(maps: readonly Tensor[], strides: readonly number[]): Prediction {
  const rows = maps.map((map) => reshape(map, [map.shape[0], map.shape[1] * map.shape[2], map.shape[3]]));
  const part = (from: number, count: number) => rows.map((row) => channels(row, { from, count })).reduce((a, b) => concatRows(a, b));
  const sides = 4 * BINS;
  return { box: part(0, sides), classes: part(sides, maps[0].shape[3] - sides), levels: maps.map(({ shape }) => [shape[1], shape[2]] as const), strides };
}

const level = (name: string): number | undefined => (/^p[012]$/.test(name) ? Number(name[1]) : undefined);

/** Seeds of box and class logits that stand for upstream gradients of the raw maps. */
function seedsOfMaps(c: OracleCase, { box, classes, levels }: Prediction): [Tensor, Tensor] {
  const ofMaps = predictionOf(levels.map((_, i) => leafOf(c.get("upstream", `p${i}`))), []);
  return [tensor(ofMaps.box.data.slice(), box.shape), tensor(ofMaps.classes.data.slice(), classes.shape)];
}

/** Upstream gradients of decoded boxes (centre and size in pixels) as gradients of the distances to the sides, in which they are linear. */
function seedOfSides(upstream: Recorded, { levels, strides }: Prediction): Float64Array {
  const { shape: [B, A], data } = channelsLast(upstream, 1), anchors = makeAnchors(levels, strides), nc = upstream.shape[1] - 4;
  const out = new Float64Array(B * A * 4);
  for (let row = 0; row < B * A; row++) {
    const [dx, dy, dw, dh] = [0, 1, 2, 3].map((k) => data[row * (4 + nc) + k] * anchors.strides[row % A]);
    out.set([dw - dx / 2, dh - dy / 2, dw + dx / 2, dh + dy / 2], 4 * row);
  }
  return out;
}

function seedOfScores(upstream: Recorded): Float64Array {
  const { data } = channelsLast(upstream, 1), width = upstream.shape[1];
  return Float64Array.from(data).filter((_, i) => i % width >= 4);
}

const detect: Player = { places: EVERY_BUILD, play: (c, check) => {
  const { nc, ch, strides, mode } = c.params, head = new DetectHead(nc, ch, strides, blockOptions(c.params));
  const weights = c.all("weights");
  if (!weights.has("dfl.conv.weight")) weights.set("dfl.conv.weight", { shape: [1, BINS, 1, 1], data: Float64Array.from({ length: BINS }, (_, i) => i), integer: false });
  loadReference(head, weights);
  head.train(mode === "train");

  const leaves = new Map(["x0", "x1", "x2"].map((name) => [name, leafOf(c.get("inputs", name))]));
  const prediction = head.forward([...leaves.values()]), maps = rawMaps(prediction), buffers = referenceNames(head);
  const compare = (p: Prediction, raw: Float64Array[]) => compareOutputs(c, check, (name) => {
    if (level(name) !== undefined) return raw[level(name)!];
    if (name !== "decoded") return buffers.get(name.replace(/^after\./, ""))?.data;
    const decoded = head.decode(p);
    return channelsFirst(decoded.shape, decoded.data, 1);
  });
  compare(prediction, maps);

  const roots: Tensor[] = [prediction.box, prediction.classes], seeds: Tensor[] = seedsOfMaps(c, prediction);
  if (c.has("upstream", "decoded")) {
    const upstream = c.get("upstream", "decoded"), sides = sideDistances(prediction.box), scores = sigmoid(prediction.classes);
    roots.push(sides, scores);
    seeds.push(tensor(seedOfSides(upstream, prediction), sides.shape), tensor(seedOfScores(upstream), scores.shape));
  }
  backward(roots, seeds);
  compareGradients(c, check, head, leaves);
  if (mode === "eval") for (const path of SPIKE_PATHS) {
    const again = noGrad(() => withSpikePath(path, () => head.forward([...leaves.values()])));
    compare(again, rawMaps(again));
  }
} };

// ---- loss and boxes ----

export function targetsOf(c: OracleCase): BoxTargets {
  const column = (name: string) => (c.has("inputs", name) ? c.get("inputs", name).data : []);
  return { image: Int32Array.from(column("batch_idx")), class: Int32Array.from(column("cls")), xywh: Float64Array.from(column("bboxes")) };
}

const loss: Player = { places: TWIN_AND_BEST, play: (c, check) => {
  const { strides, box, cls, dfl } = c.params;
  const maps = ["p0", "p1", "p2"].map((name) => leafOf(c.get("inputs", name))), prediction = predictionOf(maps, strides);
  if (c.has("aux", "gt_labels")) compareAssignment(c, check, sigmoid(prediction.classes).data);
  const found = detectionLoss(prediction, targetsOf(c), { box, classes: cls, dfl });
  check.close("total", [found.total.item()], c.get("outputs", "total"));
  check.close("items", [found.box, found.classes, found.dfl], c.get("outputs", "items"));
  backward(found.total);
  maps.forEach((map, i) => check.close(`gradient of p${i}`, gradientOf(map), c.get("grads", `p${i}`)));
} };

/** Which anchors answer for which object, from what the recorded assigner was given. */
function compareAssignment(c: OracleCase, check: Check, scores: Float32Array | Float64Array): void {
  const aux = (name: string) => c.get("aux", name), wanted = aux("target_scores"), [B, A, nc] = wanted.shape, n = aux("mask_gt").shape[1];
  const real = Array.from({ length: B * n }, (_, row) => row).filter((row) => aux("mask_gt").data[row] > 0);
  const boxes = aux("gt_bboxes_xyxy_px").data, labels = aux("gt_labels").data;
  const found = assign(
    { scores, boxes: Float64Array.from(aux("pred_bboxes_px").data), points: Float64Array.from(aux("anchor_points_px").data), classes: nc },
    {
      image: Int32Array.from(real, (row) => Math.floor(row / n)), class: Int32Array.from(real, (row) => labels[row]),
      xyxy: Float64Array.from(real.flatMap((row) => [0, 1, 2, 3].map((k) => boxes[4 * row + k]))),
    },
  );
  const target = new Float64Array(B * A * nc), targetBoxes = Float64Array.from(aux("target_bboxes_px").data);
  found.position.forEach((position, i) => {
    target[position * nc + found.class[i]] = found.score[i];
    targetBoxes.set(found.xyxy.subarray(4 * i, 4 * i + 4), 4 * position);
  });
  check.close("assigned scores", target, wanted);
  check.close("assigned boxes", targetBoxes, aux("target_bboxes_px"));
}

const boxIou: Player = { places: TWIN_AND_BEST, play: (c, check) => {
  const [a, b] = ["box1", "box2"].map((name) => leafOf(c.get("inputs", name), 2)), regular = c.params.degenerate_from as number;
  const y = ciou(a, b);
  check.close("ciou", y.data, c.get("outputs", "ciou"));
  const [p, q] = ["box1", "box2"].map((name) => Float64Array.from(c.get("inputs", name).data));
  for (const kind of ["iou", "giou", "diou", "ciou"] as const satisfies readonly OverlapKind[]) {
    check.close(`${kind} of plain boxes`, Array.from({ length: p.length / 4 }, (_, i) => overlap(kind, p, i, q, i)), c.get("outputs", kind));
  }
  const [pc, qc] = [p, q].map((boxes) => xywhToXyxy(xyxyToXywh(boxes.subarray(0, 4 * regular))));
  check.close("ciou_xywh", Array.from({ length: regular }, (_, i) => overlap("ciou", pc, i, qc, i)), c.get("outputs", "ciou_xywh"));
  // gradients of degenerate pairs hang on ties and on 1/eps: values only
  backward(y, [tensor(c.get("upstream", "ciou").data, y.shape)]);
  for (const [name, box] of [["box1", a], ["box2", b]] as const) {
    const { data, integer } = c.get("grads", name);
    check.close(`gradient of ${name}`, box.grad!.data.subarray(0, 4 * regular), { shape: [regular, 4], data: Float64Array.from(data).subarray(0, 4 * regular), integer });
  }
} };

const plain = (run: (given: (name: string) => Float64Array, params: Params) => Record<string, ArrayLike<number>>): Player => ({
  places: NO_KERNELS,
  play: (c, check) => {
    const results = run((name) => Float64Array.from(c.get("inputs", name).data), c.params);
    compareOutputs(c, check, (name) => results[name]);
  },
});

const distances = plain((given, { feat_hw, strides, offset, reg_max_arg }) => {
  const anchors = makeAnchors(feat_hw, strides, offset), dist = given("dist");
  return {
    anchors: anchors.points, strides: anchors.strides, xyxy: dist2bbox(dist, anchors.points, "xyxy"), xywh: dist2bbox(dist, anchors.points, "xywh"),
    dist_back: bbox2dist(given("bbox"), anchors.points, reg_max_arg + 1),
  };
});

const suppression: Player = { places: NO_KERNELS, play: (c, check) => {
  const { conf_thres, iou_thres, multi_label, agnostic, max_det, max_nms, classes } = c.params;
  const { shape, data } = channelsLast(c.get("inputs", "pred"), 1);
  const kept = nonMaxSuppression(Float32Array.from(data), shape as [number, number, number], {
    confidence: conf_thres, iou: iou_thres, multiLabel: multi_label, agnostic, maxDetections: max_det, maxCandidates: max_nms, classes,
  });
  compareOutputs(c, check, (name) => kept[Number(name.slice(3))].flatMap((d) => [d.x1, d.y1, d.x2, d.y2, d.score, d.class]));
} };

const metrics: Player = { places: NO_KERNELS, play: (c, check) => {
  const { images, iou_thresholds } = c.params, evaluation = new DetectionMetrics(iou_thresholds), correct: number[] = [];
  const rows = (name: string): number[][] => {
    if (!c.has("inputs", name)) return [];
    const { shape: [n, width], data } = c.get("inputs", name);
    return Array.from({ length: n }, (_, i) => Array.from({ length: width }, (_, k) => data[i * width + k]));
  };
  for (let image = 0; image < images; image++) {
    const found = rows(`pred${image}`).map(([x1, y1, x2, y2, score, k]): Detection => ({ x1, y1, x2, y2, score, class: k }));
    const truths = rows(`label${image}`).map(([k, x1, y1, x2, y2]): Truth => ({ class: k, x1, y1, x2, y2 }));
    correct.push(...matchDetections(found, truths, iou_thresholds));
    evaluation.add(found, truths);
  }
  const { perClass, map50, map } = evaluation.result();
  const results: Record<string, readonly number[]> = {
    tp: correct, p: perClass.map((k) => k.precision), r: perClass.map((k) => k.recall), f1: perClass.map((k) => k.f1), ap: perClass.flatMap((k) => k.ap),
    classes: perClass.map((k) => k.class), map50: [map50], map5095: [map],
  };
  compareOutputs(c, check, (name) => results[name]);
} };

// ---- the table ----

export const spikeyoloPlayers: ReadonlyMap<string, Player> = new Map([
  ["ilif", firing(({ params: { D, decay } }) => new Neurons(ilif(D, decay)))],
  ["ilif_gen1", firing(({ params: { D } }) => new Neurons(ilifGen1(D)))],
  ["spikingjelly_LIF", firing(spikingJelly)],
  ["spikingjelly_IF", firing(spikingJelly)],
  ["spikingjelly_PLIF", firing(spikingJelly)],
  ["integer_to_binary", integerToBinary],

  ["conv2d", op((leaf, { stride, padding, dilation, groups, bias }) => ({ y: conv2d(leaf("x"), leaf("weight"), bias ? leaf("bias") : undefined, { stride, padding, dilation, groups }) }))],
  ["maxpool2d", op((leaf, { kernel, stride, padding }) => ({ y: maxPool2d(leaf("x"), { kernel, stride, padding }) }))],
  ["upsample_nearest", frames((x) => upsampleNearest(x, { factor: 2 }))],
  ["concat", op((leaf) => ({ y: concat(leaf("a"), leaf("b")) }))],
  ["softmax", op((leaf) => ({ y: softmax(leaf("x")) }))],
  ["sigmoid", op((leaf) => ({ y: sigmoid(leaf("x")) }))],
  ["bce_with_logits", op((leaf) => ({ y: bceWithLogits(leaf("x"), leaf("target")) }))],
  ["SpikeDFL", op((leaf) => ({ y: sideDistances(leaf("x")) }), 1)],

  ["batchnorm2d", module(({ eps, momentum }, channels) => new BatchNorm2d(channels, { eps, momentum }))],
  ["BNAndPadLayer", module(({ pad, eps, momentum }, channels) => new BatchNormPad(channels, pad, { eps, momentum }))],
  ["RepConv", module((p) => new RepConv(p.in_channels, p.out_channels, blockOptions(p).norm), spikesAndReals)],
  ["SepRepConv", module((p) => new SepRepConv(p.in_channels, p.out_channels, blockOptions(p).norm), spikesAndReals)],
  ["SepConv", module((p) => new SeparableConv(p.dim, p.kernel_size, blockOptions(p)))],
  ["MS_ConvBlock", module((p) => new ConvBlock(p.dim, p.mlp_ratio, p.sep_kernel_size, blockOptions(p)))],
  ["MS_AllConvBlock", module((p) => new AllConvBlock(p.dim, p.mlp_ratio, p.sep_kernel_size, blockOptions(p)))],
  ["MS_StandardConv", module((p) => new SpikingConv(p.c1, p.c2, p.k, p.s, blockOptions(p)))],
  ["MS_DownSampling", module((p) => new DownSampling(p.in_channels, p.embed_dims, p.first_layer, blockOptions(p)))],
  ["SpikeSPPF", module((p) => new SpikeSPPF(p.c1, p.c2, p.k, blockOptions(p)))],
  ["SpikeDetect", detect],

  ["v8DetectionLoss", loss],
  ["bbox_iou", boxIou],
  ["box_iou", plain((given) => ({ iou: pairwiseIou(given("box1"), given("box2")) }))],
  ["dist2bbox_bbox2dist", distances],
  ["box_conversions", plain((given) => ({ xywh2xyxy: xywhToXyxy(given("boxes")), xyxy2xywh: xyxyToXywh(given("boxes")) }))],
  ["non_max_suppression", suppression],
  ["match_predictions+ap_per_class", metrics],
]);
