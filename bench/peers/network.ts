/**
 * Whole passes of SpikeYOLO-n beside eager PyTorch on the same weights and pictures, in turns: the forward pass at 640 x 640 with about 30 % of spikes
 * not zero, and forward and backward of two pictures of 320 x 320 from given gradients of the predictions; the same of `small` with eight. Before anything is timed both sides
 * compute the same on small pictures in float64, where no membrane rounds to another side; in float32 some do, and what follows differs, as printed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { readFileSync, writeFileSync } from "node:fs";
import { backward, loadKernels, noGrad, Random, scope, tensor, withHost, withSpikePath, type Host, type Tensor } from "../../engine/index.ts";
import { SpikeYOLO, spikeYOLO } from "../../detection/index.ts";
import { repeats } from "../../detection/pyramid.ts";
import { inTheirLayout, loadReference, referenceNames, toReference } from "../../detection/weights.ts";
import { BINS, type Prediction } from "../../detection/head.ts";
import { readSafetensors, writeSafetensors, type TensorData } from "../../nn/safetensors.ts";
import { print } from "../desk.ts";
import { settle } from "../model.ts";
import { noise } from "../step.ts";
import { findTorch, Torch } from "./torch.ts";

const THREADS = 2, TURNS = 6;
/** Distance of results over their length in float64, beyond which the two do not compute the same thing; and the side of the pictures for that. */
const APART = 1e-6, SMALL = 64;

/** A size as plain numbers. */
function plain({ depth, width, lastRatio, classes }: SpikeYOLO["config"]): Record<string, unknown> {
  return { channels: [128, 256, 512, 1024].map((c) => c * width), repeats: [3, 6, 9, 3].map((n) => repeats(n, depth)), last: lastRatio, classes };
}

interface Picture { readonly shape: number[]; readonly data: Float32Array }
type Values = Map<string, ArrayLike<number>>;

/** A pass of ours, and what to hand PyTorch for the same one. */
interface Pass { readonly name: string; readonly training: boolean; readonly model: SpikeYOLO; readonly images: Picture; readonly seeds?: readonly [Picture, Picture] }

export async function run([only]: readonly string[] = []): Promise<unknown> {
  const python = findTorch();
  if (!python) throw new Error("bench: no python3 here has PyTorch (PYTHON=... names another; Debian: apt-get install python3-torch)");
  const twins = await loadKernels({ build: "reference64" }), host = await loadKernels({ threads: THREADS }), torch = new Torch(python.command, THREADS, "network.py"), results = [];
  for (const pass of [forward, step, smallStep].filter((make) => !only || make.name.toLowerCase().includes(only)).map((make) => make())) {
    await check(pass, torch, twins);
    const { forms } = await torch.ask<{ forms: string[] }>({ do: "prepare", training: pass.training, ...plain(pass.model.config), given: given(pass, torch), double: false });
    const apart = await compared(pass, torch, host);
    const ours = { dispatched: Infinity, dense: Infinity }, theirs = Object.fromEntries(forms.map((form) => [form, Infinity]));
    let theirPeakMB = 0;
    for (let turn = 0; turn <= TURNS; turn++) {
      for (const path of ["dispatched", "dense"] as const) {
        await sleep(30); // until the other side's threads have gone to sleep
        const start = performance.now();
        once(pass, path === "dense");
        if (turn) ours[path] = Math.min(ours[path], performance.now() - start);
      }
      for (const form of forms) {
        await sleep(30);
        const { ms, peakMB } = await torch.ask<{ ms: number; peakMB: number }>({ do: "time", form });
        if (turn) theirs[form] = Math.min(theirs[form], ms);
        theirPeakMB = peakMB;
      }
    }
    results.push({ name: pass.name, threads: THREADS, ours, theirs, apart, theirPeakMB });
  }
  torch.close();
  await host.stop();
  console.log(`PyTorch ${python.version}, eager, ${THREADS} threads on each side`);
  print(["ms", "ours", "own dense", "PyTorch", "its layout", "speed against PyTorch", "apart"], results.map(({ name, ours, theirs, apart }) => {
    const [form, ms] = Object.entries(theirs).sort(([, a], [, b]) => a - b)[0];
    return [name, ours.dispatched, ours.dense, ms, form, ms / ours.dispatched, apart.toExponential(1)];
  }));
  return { torch: python.version, results };
}

/** The same pass on small pictures, in float64 on both sides. */
async function check({ name, training, model, images: { shape: [B] } }: Pass, torch: Torch, twins: Host): Promise<void> {
  const twin = withHost(twins, () => new SpikeYOLO(model.config).train(training));
  loadReference(twin, toReference(model));
  const few = Math.min(B, 2), small: Pass = { name, training, model: twin, images: noise(few, SMALL), seeds: training ? seeds(few, SMALL, model.config.classes) : undefined };
  await torch.ask({ do: "prepare", training, ...plain(model.config), given: given(small, torch), double: true });
  const apart = await compared(small, torch, twins);
  if (!(apart < APART)) throw new Error(`bench: PyTorch computes something else: results of "${name}" in float64 are ${apart.toExponential(1)} of their length apart, expected less than ${APART}`);
}

function forward(): Pass {
  const model = new SpikeYOLO({ ...spikeYOLO.n, norm: { eps: 1e-3, momentum: 1 } }), images = noise(1, 640);
  settle(model, () => model.forward(images));
  return { name: "forward, 640 x 640, 30 % of spikes", training: false, model, images };
}

const step = (): Pass => stepOf("forward and backward, 2 of 320 x 320", new SpikeYOLO(spikeYOLO.n), 2);
const smallStep = (): Pass => stepOf("small, 3 classes: forward and backward, 8 of 320 x 320", new SpikeYOLO({ ...spikeYOLO.small, classes: 3 }), 8);

function stepOf(name: string, model: SpikeYOLO, B: number, S = 320): Pass {
  return { name, training: true, model, images: noise(B, S), seeds: seeds(B, S, model.config.classes) };
}

/** Gradients of the predictions of B pictures of S x S. */
function seeds(B: number, S: number, classes: number): [Picture, Picture] {
  const anchors = (S / 8) ** 2 + (S / 16) ** 2 + (S / 32) ** 2, random = new Random(2);
  const seed = (last: number): Picture => ({ shape: [B, anchors, last], data: Float32Array.from({ length: B * anchors * last }, () => random.uniform(-1, 1)) });
  return [seed(4 * BINS), seed(classes)];
}

/** One pass of ours; what it gives is read inside its scope. */
function once({ training, model, images, seeds }: Pass, dense: boolean, read: (prediction: Prediction) => void = () => {}): void {
  const way = dense ? "dense" : "auto";
  withSpikePath(way, () => scope(() => {
    if (!training) { read(noGrad(() => model.forward(images))); return; }
    for (const parameter of model.parameters()) parameter.clearGradient();
    const prediction = model.forward(images);
    const [box, classes] = seeds!.map(({ data, shape }) => tensor(data, shape));
    read(prediction);
    backward([prediction.box, prediction.classes], [box, classes]);
  }));
}

/** The file from which PyTorch starts. */
function given({ model, images: { shape: [B, H, W], data }, seeds }: Pass, torch: Torch): string {
  const all = new Map<string, TensorData>();
  const put = (name: string, shape: readonly number[], values: ArrayLike<number>) => all.set(name, { dtype: "F32", shape, data: Float32Array.from(values) });
  for (const [name, { shape, data }] of toReference(model)) put(name, shape, data);
  const first = new Float32Array(data.length), size = H * W;
  for (let b = 0; b < B; b++) for (let i = 0; i < size; i++) for (let c = 0; c < 3; c++) first[(b * 3 + c) * size + i] = data[(b * size + i) * 3 + c];
  put("images", [B, 3, H, W], first);
  seeds?.forEach(({ shape, data }, i) => put(["seed.box", "seed.classes"][i], shape, data));
  const path = torch.path("given.safetensors");
  writeFileSync(path, writeSafetensors(all));
  return path;
}

/** Distance of PyTorch's predictions, and gradients, from ours over their length. */
async function compared(pass: Pass, torch: Torch, on: Host): Promise<number> {
  const ours: Values = new Map(), path = torch.path("result.safetensors"), take = (name: string, x: Tensor) => ours.set(name, x.data.slice());
  withHost(on, () => once(pass, false, ({ box, classes }) => { take("box", box); take("classes", classes); }));
  if (pass.training) for (const [name, { shape, grad }] of referenceNames(pass.model) as Map<string, Tensor>) if (grad) ours.set(`grad.${name}`, inTheirLayout(shape, grad.data));
  await torch.ask({ do: "save", path });
  const theirs = new Map([...readSafetensors(readFileSync(path)).tensors].map(([name, stored]) => [name, stored.read() as ArrayLike<number>]));
  return Math.max(...["box", "classes", "grad."].map((kind) => distance(ours, theirs, kind)));
}

function distance(ours: Values, theirs: Values, kind: string): number {
  let apart = 0, length = 0;
  for (const [name, want] of theirs) {
    if (!name.startsWith(kind)) continue;
    const got = ours.get(name);
    if (got?.length !== want.length) throw new Error(`bench: PyTorch gives ${want.length} values of ${name}, we ${got?.length ?? "none"}`);
    for (let i = 0; i < want.length; i++) { apart += (got[i] - want[i]) ** 2; length += want[i] ** 2; }
  }
  return length ? Math.sqrt(apart / length) : 0;
}
