/** Trained weights, whoever wrote them: runs of this program, and files of the public reference (.pt, or safetensors under its names). */
import { stat } from "node:fs/promises";
import { restoreTensors, tensorsOf, type NamedTensors } from "../nn/checkpoint.ts";
import { configIn, familyOf, loadReference, networks, numbersIn, readForeign, spikeYOLO, SpikeYOLO, tellsClasses, type Anchors, type Detector, type DetectorRecord, type Family, type ForeignWeights, type NetworkName, type NeuronKind } from "../detection/index.ts";
import { openSplit, type OpenSet, type Split } from "./data.ts";
import { settingsOf, type Settings } from "./recipes.ts";
import { modelOf, naming, readBytes, readRun } from "./saved-run.ts";
import { UserError } from "./user-error.ts";

/** What a file of weights may leave open, and its reader may say. */
export interface Timing { readonly T?: number; readonly D?: number; readonly neuron?: NeuronKind }

export interface Weights {
  readonly path: string;
  /** How it was trained, as far as that is known; else the defaults. */
  readonly options: Omit<Settings, "model">;
  /** Size of the network, if it is one that has a name. */
  readonly size: NetworkName | undefined;
  readonly family: Family<DetectorRecord>;
  readonly neuron: NeuronKind;
  readonly anchors?: Anchors;
  /** "class 0", "class 1", ... where the file does not say; `named` tells. */
  readonly classes: readonly string[];
  readonly named: boolean;
  /** Of another program: what it was trained on is not known. */
  readonly foreign: boolean;
  /** How frames were made of events, for networks that read those. */
  readonly protocol?: string;
  /** What the file is, in a line; nothing for runs of this program. */
  readonly news: readonly string[];
  /** The network with these weights. */
  model(): Detector;
  /** Gives another network these weights; where `newHead`, all but those of the class branches that do not fit. How many were left out. */
  fill(model: Detector, newHead: boolean): number;
}

/** Opens weights=. */
export async function readWeights(given: string, timing: Timing = {}): Promise<Weights> {
  const isFile = (await stat(given).catch(() => undefined))?.isFile() ?? false;
  if (isFile) {
    const bytes = await readBytes(given, false);
    if (!isOurs(bytes)) return naming(given, () => foreign(given, readForeign(bytes), timing));
  }
  return ofRun(given, timing);
}

/** A safetensors whose header says so; anything broken is left to the reader of runs too, unless it is a zip or called .pt. */
function isOurs(bytes: Uint8Array): boolean {
  if (bytes[0] === 0x50 && bytes[1] === 0x4b) return false;
  const length = bytes.length < 8 ? 0 : Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (bytes[8] !== 0x7b || !(length <= bytes.length - 8)) return !looksPickled(bytes);
  const header = new TextDecoder().decode(bytes.subarray(8, 8 + Math.min(length, 1 << 24)));
  return header.includes('"format":"spiketrain"') || !header.includes('encode_conv.weight"');
}

/** torch.save before PyTorch 1.6, or a bare pickle. */
const looksPickled = (bytes: Uint8Array): boolean => bytes[0] === 0x80 && bytes[1] <= 5;

async function ofRun(given: string, { T, D, neuron }: Timing): Promise<Weights> {
  const run = await readRun(given, "best"), family = familyOf(networks[run.options.model]);
  if (D !== undefined && !family.integers) throw new UserError(`${run.path}: D=${D} was given, and neurons of ${family.title} emit 0 or 1; leave it out`);
  const own = run.options.frames ? "gen1" : "coco";
  if (neuron !== undefined && neuron !== own) throw new UserError(`${run.path}: neuron=${neuron} was given, and this run was trained with the neuron of ${own}; leave it out`);
  const options = { ...run.options, ...(T === undefined ? {} : { T }), ...(D === undefined ? {} : { D }) };
  return {
    path: run.path, options, size: options.model, family, anchors: run.anchors, neuron: own, protocol: run.protocol, classes: run.classes, named: true, foreign: false, news: [],
    model: () => modelOf({ ...run, options }),
    fill: (model, newHead) => naming(run.path, () => fillFrom(model, run.checkpoint.ema, newHead ? family.tellsClasses : () => false)),
  };
}

function fillFrom(model: Detector, saved: NamedTensors, isNew: (name: string) => boolean): number {
  const ours = tensorsOf(model), keep = (name: string): boolean => isNew(name) && saved.get(name)?.shape.join() !== ours.get(name)?.shape.join();
  const wanted = new Map([...ours].filter(([name]) => !keep(name)));
  restoreTensors("weights", wanted, new Map([...saved].filter(([name]) => !keep(name))));
  return ours.size - wanted.size;
}

function foreign(path: string, weights: ForeignWeights, timing: Timing): Weights {
  const { kind, ...config } = configIn(weights, timing), { T, D, classes: count } = config;
  if (weights.neuron !== undefined && timing.neuron !== undefined && timing.neuron !== weights.neuron) throw new UserError(`the file says that its neurons are those of ${weights.neuron}; leave out neuron=${timing.neuron}`);
  const named = weights.classes?.length === count, tensors = numbersIn(weights.tensors);
  const size = (Object.keys(spikeYOLO) as (keyof typeof spikeYOLO)[]).find((name) => new Set([shapes(spikeYOLO[name]), shapes(config)]).size === 1);
  const guessed = [...(weights.T ?? timing.T) === undefined ? ["T=1"] : [], ...(weights.D ?? timing.D) === undefined ? ["D=4"] : [], ...(weights.neuron ?? timing.neuron) === undefined ? ["neuron=coco"] : []];
  return {
    path, size, family: familyOf(config), neuron: kind, named, foreign: true,
    options: { ...settingsOf({ data: "", imgsz: imgszOf(weights, kind), ...(kind === "gen1" && { frames: "last" }) }), data: undefined, T, D },
    classes: named ? weights.classes! : Array.from({ length: count }, (_, i) => `class ${i}`),
    news: [`${path}: ${{ ema: "averaged weights of a checkpoint", model: "a pickled model", state_dict: "weights by name" }[weights.from]}, SpikeYOLO ${size ?? `of width ${config.width}`}, T ${T} x D ${D}, neuron of ${kind}, ${count} classes${guessed.length > 0 ? `; the file does not say ${guessed.join(", ")}` : ""}`],
    model() {
      const model = new SpikeYOLO(config);
      naming(path, () => loadReference(model, tensors));
      return model;
    },
    fill: (model, newHead) => naming(path, () => {
      let left = 0;
      loadReference(model, tensors, (name) => newHead && tellsClasses(name) && ++left > 0);
      return left;
    }),
  };
}

/** Pixels per side that it was trained on, or what its kind is trained on. */
const imgszOf = ({ imgsz }: ForeignWeights, kind: NeuronKind): number => (imgsz !== undefined && imgsz % 32 === 0 ? imgsz : kind === "gen1" ? 320 : 640);

/** What the shapes of a size depend on: sizes with the same are the same. */
const shapes = ({ depth, width, lastRatio }: { depth: number; width: number; lastRatio: number }): string => [depth, width, lastRatio].join();

/** The pictures to use weights on: data=, or those of their own run. Weights without names of classes take those of the data, if there are as many. */
export async function openFor(weights: Weights, settings: Omit<Settings, "model">, split: Split, command: string): Promise<{ set: OpenSet; classes: readonly string[] }> {
  const { classes, named, foreign } = weights;
  if (settings.data === undefined && foreign) throw new UserError(`${command}: ${weights.path} does not say what it was trained on; give data=FOLDER`);
  const set = await openSplit(settings, split, named ? { classes } : {});
  if (set.classes.length !== classes.length) throw new UserError(`${command}: ${weights.path} knows ${classes.length} classes, ${set.name} has ${set.classes.length} (${set.classes.slice(0, 8).join(", ")}); give the data that it was trained on`);
  return { set, classes: named ? classes : set.classes };
}
