/** SNN-YOLOv3 whole: outputs, spikes, losses, gradients, statistics and steps of narrow networks; the full-size ones; darknet's files; tables of layers and energy. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { backward, noGrad, Parameter, rehearse, reshape, Spikes, tensor, valuesOf, type Tensor, type Value } from "../../engine/index.ts";
import { anchorLoss, type AnchorLossOptions } from "../../detection/anchor-loss.ts";
import { decodeAnchors, type AnchorPrediction } from "../../detection/anchor-head.ts";
import { loadDarknet, readDarknetConfig, type DarknetCell } from "../../detection/darknet.ts";
import { accumulations } from "../../detection/accumulations.ts";
import { joulesAt, PICOJOULE_PER_ACCUMULATE, PICOJOULE_PER_MAC, printedComparison, printedJoules } from "../../detection/energy.ts";
import { macsOf } from "../../detection/profile.ts";
import { SNNYOLOv3, snnYOLOv3, type SNNYOLOv3Config } from "../../detection/snn-yolov3.ts";
import { darknetCells, publishedNames } from "../../detection/snn-yolov3-weights.ts";
import { loadReference, toReference, inTheirLayout, type ForeignTensor } from "../../detection/weights.ts";
import { ConvCell, DarknetStage, doubled, join as joined, type Activation } from "../../nn/darknet.ts";
import { decodeCurrents } from "../../nn/decoding.ts";
import { Conv2d, observeConvolutions, perTimestep } from "../../nn/layers.ts";
import { Module } from "../../nn/module.ts";
import { integrateAndFire } from "../../nn/neurons.ts";
import { SGD } from "../../nn/optimizers.ts";
import { anchorsOf, placesFirst, targetsOf, tolerance } from "./snn-yolov3-head.ts";
import { channelsFirst, channelsLast, type Check, type OracleCase, type Player, type Recorded } from "./play.ts";

/** All tensors of a file of the case. */
function file(c: OracleCase, ending: string): Map<string, Recorded> {
  const name = (c.record["files"] as string[]).find((file) => file.endsWith(ending));
  if (!name) throw new Error(`${c.record.id}: no file ends in ${ending}`);
  return new Map([...c.folder.tensors(name)].map(([key, stored]) => [key, { shape: stored.shape, data: stored.read() as ArrayLike<number>, integer: false }]));
}
const text = (c: OracleCase, ending: string): string => readFileSync(join(c.folder.path, (c.record["files"] as string[]).find((file) => file.endsWith(ending))!), "utf8");

/** The record of a case, as wide and deep as its cfg. */
function recordOf(c: OracleCase): Partial<SNNYOLOv3Config> {
  const { T, nc: classes, reset, decode, alpha = 2, v_threshold: threshold, anchors, reset_gradient = "attached", bn_eps: eps = 1e-5, bn_momentum: momentum = 0.1 } = c.params;
  const { layers } = readDarknetConfig(text(c, ".cfg")), depth = [0, 0, 0, 0, 0];
  let stage = -1;
  for (const layer of layers) {
    if (layer.type === "convolutional" && layer.stride === 2) stage++;
    else if (layer.type === "shortcut") depth[stage]++;
  }
  return {
    width: layers[0].output[0] / 32, depth, spp: layers.some(({ type }) => type === "maxpool"), classes, T, reset: reset === "hard" ? "zero" : "subtract", detachReset: reset_gradient === "detached",
    decode, alpha, threshold, norm: { eps, momentum }, ...(anchors ? { anchors: anchorsOf(c.params) } : {}),
  };
}

/** The cfg's convolutions are those of the model, by number and size. */
function compareLayers(c: OracleCase, check: Check, model: SNNYOLOv3): void {
  const listed = readDarknetConfig(text(c, ".cfg")).layers.flatMap((layer) => (layer.type === "convolutional" ? [[layer.index, layer.filters, layer.size, layer.stride, layer.padding, Number(layer.norm)]] : []));
  check.equal("layers of the cfg", darknetCells(model).map(({ index, conv, norm }) => [index, conv.outChannels, conv.kernel, conv.attributes.stride, conv.attributes.padding, Number(norm !== undefined)]).flat(), listed.flat());
}

const input = (x: Recorded): Tensor => { const { shape, data } = channelsLast(x); return tensor(data, shape); };

/** Spikes of every layer that fires, [layers, T], in darknet's order. Cells of the leaky kind have none. */
class Counts {
  readonly rows: number[][] = [];
  watch<R>(cells: readonly ConvCell[], run: () => R): R {
    const before = cells.map((cell) => ({ cell, forward: cell.forward, encode: cell.encode })), found = new Map<ConvCell, number[]>();
    const counted = (cell: ConvCell, y: Value): Value => {
      if (y instanceof Spikes) { const T = y.shape[0], n = y.size / T, values = y.values(); found.set(cell, Array.from({ length: T }, (_, t) => values.subarray(t * n, (t + 1) * n).reduce((a, b) => a + b, 0))); }
      return y;
    };
    for (const cell of cells) {
      cell.forward = (x) => counted(cell, ConvCell.prototype.forward.call(cell, x));
      cell.encode = (x, T) => counted(cell, ConvCell.prototype.encode.call(cell, x, T));
    }
    try { return run(); } finally {
      for (const { cell, forward, encode } of before) Object.assign(cell, { forward, encode });
      for (const cell of cells) this.rows.push(found.get(cell) ?? []);
    }
  }
}
const cellsOf = (model: Module): ConvCell[] => model.namedModules().flatMap(([, module]) => (module instanceof ConvCell ? [module] : []));

const compareHeads = ({ heads, anchors }: AnchorPrediction, wanted: (k: number) => Recorded, check: Check, abs: number): void =>
  heads.forEach((head, k) => check.close(`head${k}`, placesFirst(head.shape, head.data, anchors[k].length), wanted(k), { rtol: 0, atol: abs }));

function lossOptions({ params: { hyp, gr, loss } }: OracleCase): AnchorLossOptions {
  return { box: hyp.giou, objectness: hyp.obj, classes: hyp.cls, gr, leastIoU: hyp.iou_t, squared: /squared|repo/.test(loss) };
}

const EVERYWHERE = ["reference64", "reference", "best"] as const;

const evaluation: Player = { places: EVERYWHERE, play: (c, check) => {
  const tensors = file(c, ".eval.safetensors"), { tolerance: allowed } = c.record;
  const answers = [true, false].map((encodeOnce) => {
    const model = new SNNYOLOv3({ ...recordOf(c), encodeOnce }), counts = new Counts();
    check.equal("names that the model lacks", loadReference(model, file(c, ".params.safetensors")).map(() => 1), []);
    check.equal("parameters", [model.parameterCount], [c.params["params"]]);
    compareLayers(c, check, model);
    model.eval();
    const prediction = noGrad(() => counts.watch(cellsOf(model), () => model.forward(input(tensors.get("x")!))));
    compareHeads(prediction, (k) => tensors.get(`head${k}`)!, check, allowed.heads.abs);
    check.equal("spikes", counts.rows.flat(), tensors.get("spike_count")!.data);
    check.close("decoded", decodeAnchors(prediction).data, tensors.get("decoded")!, tolerance(allowed.decoded));
    return prediction;
  });
  answers[0].heads.forEach((head, k) => check.equal(`head${k}, the first convolution once or T times`, head.data, answers[1].heads[k].data));
} };

const training: Player = { places: EVERYWHERE, play: (c, check) => {
  const tensors = file(c, ".train.safetensors"), { tolerance: allowed } = c.record;
  for (const encodeOnce of [true, false]) {
    const model = new SNNYOLOv3({ ...recordOf(c), encodeOnce }), counts = new Counts();
    loadReference(model, file(c, ".params.safetensors"));
    const prediction = counts.watch(cellsOf(model), () => model.forward(input(tensors.get("x")!)));
    const found = anchorLoss(prediction, targetsOf(tensors.get("targets")!), lossOptions(c)), { data: wanted } = tensors.get("loss_box_obj_cls")!;
    compareHeads(prediction, (k) => tensors.get(`head${k}`)!, check, allowed.heads.abs);
    check.equal("spikes", counts.rows.flat(), tensors.get("spike_count")!.data);
    [found.box, found.objectness, found.classes].forEach((part, i) => check.within(`loss ${i}`, [part], [wanted[i]], allowed.loss.rel * Math.abs(wanted[i])));
    check.close("loss", [found.total.item()], tensors.get("loss_total")!, tolerance(allowed.loss));
    backward(found.total);
    const gradients = file(c, ".grads.safetensors"), statistics = file(c, ".bn.safetensors");
    const largest = [...gradients.values()].reduce((most, { data }) => Array.from(data).reduce((a, b) => Math.max(a, Math.abs(b)), most), 0);
    for (const [name, part] of publishedNames(model)) {
      if (part instanceof Parameter) check.close(name, inTheirLayout(part.shape, part.grad!.data), gradients.get(name)!, { rtol: 2e-3, atol: 2e-6 * largest });
      else check.close(name, part.data, statistics.get(name)!, { rtol: 0, atol: allowed.bn.abs });
    }
  }
} };

const steps: Player = { places: EVERYWHERE, play: (c, check) => {
  const { steps, lr, momentum, weight_decay: weightDecay, nesterov } = c.params, { tolerance: allowed } = c.record, tensors = file(c, c.record["files"][2]);
  const model = new SNNYOLOv3(recordOf(c));
  loadReference(model, file(c, ".params.safetensors"));
  const optimizer = new SGD(model.namedParameters(), { lr, momentum, nesterov, weightDecay, decaying: ["weight", "bias", "norm"] }), losses: number[][] = [], spikes: number[][] = [];
  for (let step = 0; step < steps; step++) {
    const counts = new Counts(), prediction = counts.watch(cellsOf(model), () => model.forward(input(tensors.get("x")!)));
    const found = anchorLoss(prediction, targetsOf(tensors.get("targets")!), lossOptions(c));
    losses.push([found.box, found.objectness, found.classes]);
    spikes.push(counts.rows.map((row) => row.reduce((a, b) => a + b, 0)));
    backward(found.total);
    optimizer.step();
  }
  const wanted = tensors.get("losses")!.data;
  losses.flat().forEach((part, i) => check.within(`loss ${i % 3} of step ${Math.floor(i / 3)}`, [part], [wanted[i]], allowed.losses.rel * Math.abs(wanted[i])));
  check.equal("spikes", spikes.flat(), tensors.get("spike_count")!.data);
  const after = toReference(model), names = [...after.keys()].sort();
  for (const name of names) { const want = tensors.get(`after.${name}`); if (want) check.close(name, after.get(name)!.data, want, tolerance(allowed.after)); }
  const sums = (of: (x: number) => number): number[] => names.map((name) => Array.from(after.get(name)!.data).reduce((sum, x) => sum + of(x), 0));
  check.close("sums", sums((x) => x), tensors.get("after_sum")!, tolerance(allowed.after_sum));
  check.close("sums of absolute values", sums(Math.abs), tensors.get("after_abs_sum")!, tolerance(allowed.after_sum));
} };

/** Element j of a tensor of the full networks; kind says of which. In [-0.5, 0.5). */
function hashed(j: number, layer: number, kind: number, seed: number): number {
  let h = (Math.imul(j, 2654435761) + (layer * 7919 + kind * 104729 + seed * 15485863 + 12345)) >>> 0;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b) >>> 0;
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35) >>> 0;
  h ^= h >>> 16;
  return (h >>> 8) / 2 ** 24 - 0.5;
}

/** In the layout of the checkpoint. */
function formula(shape: readonly number[], layer: number, kind: number, seed: number, of: (u: number) => number): ForeignTensor {
  return { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, j) => of(hashed(j, layer, kind, seed))) };
}

const wholes: Player = { places: ["best"], play: (c, check) => {
  const { seed, weight_scale: scales, weight_check_first3_last: known } = c.params, tensors = file(c, ".safetensors"), model = new SNNYOLOv3({ ...snnYOLOv3[c.params["decode"] === "sum" ? "released" : "paper"], ...recordOf(c) });
  compareLayers(c, check, model);
  const all = new Map<string, ForeignTensor>();
  for (const { index, conv, norm } of darknetCells(model)) {
    const at = `module_list.${index}`, n = [conv.outChannels], weight = formula([conv.outChannels, conv.inChannels, conv.kernel, conv.kernel], index, 0, seed, (u) => u * scales[index]);
    if (known[index]) check.within(`weights of layer ${index}`, [0, 1, 2, weight.data.length - 1].map((i) => weight.data[i]), known[index], 0);
    all.set(`${at}.Conv2d.weight`, weight);
    if (!norm) { all.set(`${at}.Conv2d.bias`, formula(n, index, 5, seed, (u) => u)); continue; }
    const parts = { weight: (u: number) => 1 + 0.5 * u, bias: (u: number) => 0.35 + 0.5 * u, running_mean: (u: number) => 0.2 * u, running_var: (u: number) => 1 + 0.5 * u };
    Object.entries(parts).forEach(([name, of], i) => all.set(`${at}.BatchNorm2d.${name}`, formula(n, index, i + 1, seed, of)));
  }
  loadReference(model, all);
  model.eval();
  const counts = new Counts(), prediction = noGrad(() => counts.watch(cellsOf(model), () => model.forward(input(tensors.get("x")!))));
  compareHeads(prediction, (k) => tensors.get(`head${k}`)!, check, c.record.tolerance.heads.abs);
  check.equal("spikes", counts.rows.flat(), tensors.get("spike_count")!.data);
} };

const decodings: Player = { places: EVERYWHERE, play: (c, check) => {
  const [T, N] = c.tensor("spikes_in").shape, { out, grad } = c.record.tolerance, upstream = input(c.tensor("grad_out"));
  const variants = [["cmd_mean", "mean", "subtract"], ["cmd_sum", "sum", "subtract"], ["rate_soft_mean", "rate", "subtract"], ["rate_hard_mean", "rate", "zero"]] as const;
  for (const [name, decoding, reset] of variants) {
    const given = channelsLast(c.tensor("spikes_in")), x = tensor(given.data, given.shape, { requiresGrad: true }), { shape: [O, I] } = c.tensor("weight"), layer = new Conv2d(I, O, 1, { bias: true });
    layer.weight.data.set(Array.from(c.tensor("weight").data));
    layer.bias!.data.set(Array.from(c.tensor("bias").data));
    const current = perTimestep(x, (frames) => layer.forward(frames)), y = decodeCurrents(current, decoding, integrateAndFire({ threshold: c.params["v_threshold"], reset }));
    check.close("current", channelsFirst(current.shape, current.data), c.tensor("current"), tolerance(out));
    const want = c.tensor(`${name}.out`), got = channelsFirst(y.shape, y.data);
    if (decoding === "rate") check.equal(`${name}, spikes`, Array.from(got, (rate) => Math.round(rate * T)), Array.from(want.data, (rate) => Math.round(rate * T)));
    check.close(`${name}.out`, got, want, tolerance(out));
    backward(y, [upstream]);
    check.close(`${name}.grad_spikes`, channelsFirst(x.shape, x.grad!.data), c.tensor(`${name}.grad_spikes`), tolerance(grad));
    check.close(`${name}.grad_weight`, layer.weight.grad!.data, c.tensor(`${name}.grad_weight`), tolerance(grad));
    check.close(`${name}.grad_bias`, layer.bias!.grad!.data, c.tensor(`${name}.grad_bias`), tolerance(grad));
    check.equal("images", [y.shape[0]], [N]);
  }
} };

/** The graph of the small pair of files: two stages, two heads, of the same parts as YOLOv3. */
class Mini extends Module {
  readonly stem: ConvCell;
  readonly stages: DarknetStage[];
  readonly coarse: Conv2d;
  readonly lateral: ConvCell;
  readonly last: ConvCell;
  readonly fine: Conv2d;
  constructor(activation: Activation) {
    super();
    const options = { activation, norm: { eps: 1e-5, momentum: 0.1 } };
    this.stem = new ConvCell(3, 6, 3, 1, options);
    this.stages = [new DarknetStage(6, 12, 6, 1, options), new DarknetStage(12, 16, 12, 1, options)];
    this.coarse = new Conv2d(16, 21, 1, { bias: true });
    this.lateral = new ConvCell(16, 6, 1, 1, options);
    this.last = new ConvCell(18, 12, 3, 1, options);
    this.fine = new Conv2d(12, 21, 1, { bias: true });
  }
  forward(x: Value): Record<"layer4" | "layer9" | "layer14" | "layer16", Tensor> {
    const middle = this.stages[0].forward(x instanceof Spikes ? x : this.stem.forward(x)), far = this.stages[1].forward(middle);
    const wide = joined(doubled(this.lateral.forward(far)), middle), reals = (y: Value): Tensor => (y instanceof Spikes ? valuesOf(y) : y);
    return { layer4: reals(middle), layer9: perTimestep(far, (s) => this.coarse.forward(s)), layer14: reals(wide), layer16: perTimestep(this.last.forward(wide), (s) => this.fine.forward(s)) };
  }
  cells(): DarknetCell[] {
    const [a, b] = this.stages, cell = (index: number, { conv, norm }: ConvCell): DarknetCell => ({ index, conv, norm });
    return [
      cell(0, this.stem), cell(1, a.down), cell(2, a.blocks[0].reduce), cell(3, a.blocks[0].expand), cell(5, b.down), cell(6, b.blocks[0].reduce), cell(7, b.blocks[0].expand),
      { index: 9, conv: this.coarse }, cell(12, this.lateral), cell(15, this.last), { index: 16, conv: this.fine },
    ];
  }
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

const darknetFiles: Player = { places: EVERYWHERE, play: (c, check) => {
  const { T, seen_new, seen_old, box_threshold: least } = c.params, { tolerance: { abs } } = c.record, tensors = file(c, ".safetensors"), given = tensors.get("x")!, allowed = { rtol: 0, atol: abs };
  const config = readDarknetConfig(text(c, ".cfg")), bytes = (ending: string) => readFileSync(join(c.folder.path, `darknet/${ending}`)), { shape: [C, H, W] } = given;
  check.equal("input", config.input, [C, H, W]);
  const image = channelsLast({ ...given, shape: [1, C, H, W] });
  for (const [name, seen] of [["mini3.weights", seen_new], ["mini3.oldheader.weights", seen_old]] as const) {
    const plain = new Mini("leaky"), cells = plain.cells();
    check.equal("layers of the cfg", cells.map(({ index, conv, norm }) => [index, conv.outChannels, conv.kernel, Number(norm !== undefined)]).flat(),
      config.layers.flatMap((layer) => (layer.type === "convolutional" ? [layer.index, layer.filters, layer.size, Number(layer.norm)] : [])));
    const header = loadDarknet(cells, bytes(name), { sameNorm: true });
    check.equal("header", [header.seen, header.layers], [seen, cells.length]);
    plain.eval();
    const made = noGrad(() => plain.forward(tensor(image.data, [1, ...image.shape])));
    for (const [layer, y] of Object.entries(made)) {
      const number = Number(layer.slice(5)), got = channelsFirst(y.shape, y.data);
      check.close(`layer ${number}`, got, tensors.get(`layer_out.${number}`)!, allowed);
    }
    const boxes: number[] = [];
    for (const [number, y] of [[10, made.layer9], [17, made.layer16]] as const) {
      const [h, w] = y.shape.slice(2), got = Array.from(channelsFirst(y.shape, y.data)), layer = config.layers[number];
      if (layer.type !== "yolo") throw new Error(`layer ${number} is no yolo layer`);
      const row = 5 + layer.classes;
      const activated = got.map((value, i) => ([2, 3].includes(Math.floor(i / (h * w)) % row) ? value : sigmoid(value)));
      check.close(`yolo_out.${number}`, activated, tensors.get(`yolo_out.${number}`)!, allowed);
      const anchors = layer.mask.map((k) => layer.anchors[k]);
      const decoded = decodeAnchors({ heads: [reshape(y, [1, h, w, y.shape[4]])], strides: [W / w], anchors: [anchors], classes: layer.classes }).data; // by anchor, row, column
      for (let p = 0; p < h * w; p++) for (let a = 0; a < anchors.length; a++) {
        const at = (a * h * w + p) * row, objectness = decoded[at + 4];
        if (objectness > least) boxes.push(decoded[at] / W, decoded[at + 1] / H, decoded[at + 2] / W, decoded[at + 3] / H, objectness, ...Array.from({ length: layer.classes }, (_, k) => decoded[at + 5 + k] * objectness).map((p) => (p > least ? p : 0)));
      }
    }
    compareBoxes(check, boxes, tensors.get("darknet_boxes")!, abs);

    const spiking = new Mini(integrateAndFire()), counts = new Counts();
    loadDarknet(spiking.cells(), bytes(name));
    spiking.eval();
    const heads = noGrad(() => counts.watch(cellsOf(spiking), () => spiking.forward(spiking.stem.encode(tensor(image.data, image.shape), T))));
    check.equal("spikes", counts.rows.flat(), tensors.get("snn_spike_count")!.data);
    for (const [k, current] of [heads.layer9, heads.layer16].entries()) {
      const y = decodeCurrents(current, "mean", integrateAndFire());
      check.close(`snn_head${k}`, channelsFirst(y.shape, y.data), tensors.get(`snn_head${k}`)!, allowed);
    }
  }
} };

/** Rows x, y, w, h, objectness, classes. Sides are exponentials, some of them of 1e20: their logarithms are compared, as the head gave them. */
function compareBoxes(check: Check, got: number[], want: Recorded, abs: number): void {
  const comparable = (values: ArrayLike<number>): number[] => Array.from(values, (value, i) => ([2, 3].includes(i % 7) ? Math.log(value) : value));
  check.within("darknet_boxes", comparable(got), comparable(want.data), abs);
}

/** Shapes alone: nothing is computed. */
const layerTable: Player = { places: [], play: (c, check) => {
  const table = JSON.parse(text(c, ".json")), { width, height, nc: classes } = c.params, spp = table.layers.some((layer: { type: string }) => layer.type === "maxpool");
  rehearse(() => {
    const model = new SNNYOLOv3({ ...snnYOLOv3[spp ? "released" : "paper"], classes, T: 1 }), cells = new Map(darknetCells(model).map((cell) => [cell.conv, cell])), rows: number[][] = [];
    noGrad(() => observeConvolutions((layer, x, y) => {
      const { index, norm } = cells.get(layer)!, bias = layer.bias?.size ?? 0, [[, h, w, C], [, oh, ow, O]] = [x.shape, y.shape];
      rows.push([index, C, h, w, layer.kernel, layer.attributes.stride, O, Number(norm !== undefined), layer.weight.size, norm ? 2 * O : 0, bias, O, oh, ow, macsOf(layer, x.shape, y.shape)]);
    }, () => model.forward(tensor(new Float32Array(height * width * 3), [1, height, width, 3]))));
    const wanted = table.layers.filter((layer: { type: string }) => layer.type === "convolutional").map((l: any) => [l.index, ...l.input, l.kernel, l.stride, l.filters, l.batch_normalize, l.weights, l.bn_params, l.bias_params, ...l.output, l.macs]);
    check.equal("convolutions", rows.flat(), wanted.flat());
    const total = (column: number, of = rows): number => of.reduce((sum, row) => sum + row[column], 0), fired = rows.filter((row) => row[7] === 1);
    check.equal("totals", [
      model.parameterCount, total(14), total(8), total(9), total(10), model.namedBuffers().reduce((n, [, { size }]) => n + size, 0), rows[0][14], total(14, rows.filter((row) => row[7] === 0)), rows.length, fired.length,
      fired.reduce((n, row) => n + row[11] * row[12] * row[13], 0), model.config.anchors.reduce((n, anchors, k) => n + anchors.length * (height / [32, 16, 8][k]) * (width / [32, 16, 8][k]), 0),
    ], ["total_params", "total_macs", "total_conv_weights", "total_bn_params", "total_bias_params", "bn_running_values", "first_layer_macs", "head_macs", "conv_layers", "spiking_layers", "spiking_neurons", "predictions"].map((name) => table[name]));
    check.equal("sections", [Math.max(...[...cells.values()].map(({ index }) => index)) + 2], [table.layers.length]);
  });
} };

const counts: Player = { places: EVERYWHERE, play: (c, check) => {
  const table = JSON.parse(text(c, "tiny64.json")), { T } = c.params, allowed = c.record.tolerance.rel, tensors = file(c, ".eval.safetensors"), network = c.folder.cases.find(({ record: { id } }) => id === "net-tiny64-paper-eval");
  if (!network) throw new Error(`${c.record.id}: the network's own case is missing`);
  const model = new SNNYOLOv3({ ...recordOf(network), T, encodeOnce: false }), rows: number[][] = [];
  loadReference(model, file(c, ".params.safetensors"));
  model.eval();
  noGrad(() => observeConvolutions((layer, x, y) => {
    const values = x instanceof Spikes ? x.values() : x.data, rate = values.filter((value) => value !== 0).length / x.size, macs = macsOf(layer, x.shape, y.shape) / T, exact = accumulations(layer, x);
    rows.push([macs, rate, Math.max(...values), Number(!(x instanceof Spikes)), rate * macs * T, exact.nonZero, exact.valued]);
  }, () => model.forward(input(tensors.get("x")!))));
  const near = (what: string, got: number, want: number): void => check.within(what, [got], [want], allowed * Math.abs(want));
  check.equal("convolutions", [rows.length], [table.layers.length]);
  rows.forEach(([macs, rate, most, analog, byRate, nonZero, valued], i) => {
    const want = table.layers[i], what = `layer ${want.index}`;
    near(`${what}, MACs`, macs, want.macs_per_step);
    near(`${what}, rate`, rate, want.input_rate);
    near(`${what}, largest`, most, want.input_max);
    check.equal(`${what}, analog`, [analog], [Number(want.input_is_analog)]);
    near(`${what}, by rate`, byRate, want.ops_rate_formula);
    near(`${what}, non-zero`, nonZero, want.ops_exact_nonzero);
    if (!analog) near(`${what}, by value`, valued, want.ops_exact_valued);
  });
  const [first, ...spiking] = rows, sum = (column: number): number => spiking.reduce((total, row) => total + row[column], 0);
  const joules = (accumulated: number): number => (first[0] * T * PICOJOULE_PER_MAC + accumulated * PICOJOULE_PER_ACCUMULATE) * 1e-12, macs = first[0] + sum(0);
  near("MACs of the ordinary network", macs, table.ann_macs);
  near("its joules", macs * PICOJOULE_PER_MAC * 1e-12, table.ann_energy_J);
  near("accumulations by rate", sum(4), table.snn_ac_rate_formula);
  near("accumulations", sum(5), table.snn_ac_exact_nonzero);
  near("joules by rate", joules(sum(4)), table.snn_energy_J_first_layer_mac);
  near("joules", joules(sum(5)), table.snn_energy_J_exact);
} };

const printed: Player = { places: [], play: (c, check) => {
  const { table1, fig4, flops_416 } = JSON.parse(text(c, ".json")), near = (what: string, got: number, want: number): void => check.within(what, [got], [want], c.record.tolerance.rel * want);
  const { spiking_yolo: before, snn_yolov3: now } = table1;
  near("Spiking-YOLO", printedJoules(before.flops, before.steps), before.with_400_GFLOPS_per_W);
  near("Spiking-YOLO at 300", printedJoules(before.flops, before.steps, 300), before.with_300);
  near("SNN-YOLOv3", printedJoules(now.flops, now.steps), now.with_400_GFLOPS_per_W);
  near("SNN-YOLOv3 at 300", printedJoules(now.flops, now.steps, 300), now.with_300_as_the_text_says);
  near("ratio as printed", before.printed_J / now.printed_J, table1.ratio_printed);
  near("joules are what the dimensions say", joulesAt(now.flops, now.steps), 1000 * now.with_400_GFLOPS_per_W);
  for (const T of [1, 4, 5, 6]) {
    const { ann, snn } = printedComparison(fig4.ann_flops, fig4.snn_flops, T);
    near("ordinary", ann, fig4.ann_J);
    if (fig4[`snn_J_T${T}`]) near(`T=${T}`, snn, fig4[`snn_J_T${T}`]);
    near(`ratio at T=${T}`, ann / snn, fig4[`ratio_T${T}`]);
  }
  for (const [name, record, classes] of [["plain_voc20", "paper", 20], ["spp_voc20", "released", 20], ["spp_coco80", "released", 80]] as const) check.equal(name, [flopsOf(record, classes)], [flops_416[name]]);
} };

/** Floating-point operations of one step at 416 x 416: shapes alone. */
function flopsOf(record: "paper" | "released", classes: number): number {
  let macs = 0;
  rehearse(() => {
    const model = new SNNYOLOv3({ ...snnYOLOv3[record], classes, T: 1 });
    noGrad(() => observeConvolutions((layer, x, y) => { macs += macsOf(layer, x.shape, y.shape); }, () => model.forward(tensor(new Float32Array(416 * 416 * 3), [1, 416, 416, 3]))));
  });
  return 2 * macs;
}

export const snnYolov3NetworkPlayers: ReadonlyMap<string, Player> = new Map([
  ["snn_yolov3_eval", evaluation], ["snn_yolov3_train", training], ["snn_yolov3_steps", steps], ["snn_yolov3_full", wholes],
  ["cmd_vs_rate", decodings], ["darknet_files", darknetFiles], ["layer_table", layerTable], ["operation_counts", counts], ["paper_energy", printed],
]);
