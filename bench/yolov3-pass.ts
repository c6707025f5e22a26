/** The child of yolov3.ts: YOLOv3 at full size with so many of its spikes not zero, in a process of its own, and what a picture takes, as one line of JSON. */
import { existsSync, readFileSync } from "node:fs";
import { decodeImage, fit, letterbox, shapes, type Picture } from "../datasets/index.ts";
import { darknetCells, macsOf, networks, SNNYOLOv3 } from "../detection/index.ts";
import { host, loadKernels, noGrad, scope, Spikes, withSpikePath, type SpikePath, type Value } from "../engine/index.ts";
import { observeConvolutions, type Conv2d } from "../nn/index.ts";

export interface PassOptions { readonly density: number; readonly T: number; readonly threads: number; readonly turns: number; readonly side: number; readonly photo?: string }
export interface PassFigures {
  readonly picture: string;
  /** What convolutions of spikes read: mean, least and largest share that is not zero, over the layers, and of all elements together. */
  readonly densities: { readonly mean: number; readonly least: number; readonly most: number; readonly overall: number };
  readonly macs: number;
  readonly synapticOperations: number;
  /** Least milliseconds of a forward pass. */
  readonly auto: number;
  readonly sparse: number;
  readonly dense: number;
  /** Bytes: of weights, the most in use, the linear memory, and of the process. */
  readonly parameters: number;
  readonly peak: number;
  readonly reserved: number;
  readonly rss: number;
}

const { density, T, threads, turns, side, photo } = JSON.parse(process.argv[2]) as PassOptions;
const { stop } = await loadKernels({ threads });
const { memory } = host(), model = new SNNYOLOv3({ ...networks["snn-yolov3"], T, norm: { eps: 1e-5, momentum: 1 } }), parameters = memory.inUse;
const { name, images } = await pictureOf(photo), forward = (): void => scope(() => noGrad(() => { model.forward(images); }));
settle(6);
model.eval();
const counted = count(), best: Record<string, number> = {};
for (let turn = -1; turn < turns; turn++) for (const path of ["auto", "sparse", "dense"] as const satisfies SpikePath[]) {
  const start = performance.now();
  withSpikePath(path, forward);
  if (turn >= 0) best[path] = Math.min(best[path] ?? Infinity, performance.now() - start);
}
const { peak, reserved } = memory;
await stop();
console.log(JSON.stringify({ picture: name, ...counted, ...best, parameters, peak, reserved, rss: process.resourceUsage().maxRSS * 1024 }));

async function pictureOf(path: string | undefined): Promise<{ name: string; images: { shape: number[]; data: Float32Array } }> {
  if (path !== undefined && !existsSync(path)) throw new Error(`bench: there is no picture ${path}`);
  const picture: Picture = path === undefined ? (await shapes({ split: "test", imgsz: side }).sample(0))!.picture : await decodeImage(readFileSync(path), path);
  const { pixels } = letterbox(picture, fit(picture.width, picture.height, [side, side]));
  return { name: path === undefined ? "an embedded picture" : "a photograph", images: { shape: [1, side, side, 3], data: Float32Array.from(pixels, (value) => value / 255) } };
}

/**
 * Moves the bias of each norm until the convolution that runs next meets the density: Newton's steps, a normal current of variance 1 gaining what its density
 * says (bench/model.ts), less where earlier timesteps have charged it. Norms take their statistics from this very picture. No graph is kept.
 */
function settle(passes: number): void {
  const cells = new Map(darknetCells(model).map(({ conv, norm }) => [conv, norm] as const));
  model.train();
  for (let pass = 0; pass < passes; pass++) {
    let before: Conv2d | undefined;
    const moves: { bias: { readonly data: ArrayLike<number> & { [i: number]: number } }; by: number }[] = [];
    observed((conv, x) => {
      const norm = before && cells.get(before);
      if (norm && x instanceof Spikes) moves.push({ bias: norm.bias, by: Math.max(-0.5, Math.min(0.5, (density - x.statistics().density) / (0.35 * Math.min(1, 0.1 + 4 * density)))) });
      before = conv;
    });
    for (const { bias, by } of moves) for (let i = 0, { data } = bias; i < data.length; i++) data[i] += by;
  }
}

function observed(see: (conv: Conv2d, x: Value, y: readonly number[]) => void): void { observeConvolutions((conv, x, { shape }) => see(conv, x, shape), forward); }

function count(): Pick<PassFigures, "densities" | "macs" | "synapticOperations"> {
  const found: number[] = [];
  let macs = 0, synapticOperations = 0, fired = 0, size = 0;
  observed((conv, x, y) => {
    const own = macsOf(conv, x.shape, y);
    macs += own;
    if (!(x instanceof Spikes)) return;
    const { density, rate } = x.statistics();
    found.push(density);
    fired += density * x.size;
    size += x.size;
    synapticOperations += own * rate;
  });
  return { densities: { mean: found.reduce((a, b) => a + b) / found.length, least: Math.min(...found), most: Math.max(...found), overall: fired / size }, macs, synapticOperations };
}
