/** The options of all commands as one table, and the reading of `key=value` by it. */
import { networks, type NetworkName } from "../detection/index.ts";
import type { Augment } from "../datasets/index.ts";
import { METRICS } from "./findings.ts";
import { ABLATIONS, augmentOf, RECIPES, recipeOf, settingsOf, type RecipeName } from "./recipes.ts";
import { UserError } from "./user-error.ts";

/** What a value may be. `read` gives undefined for what it may not be. */
interface Kind<V> { readonly expected: string; /** The same for help, where that is shorter. */ readonly shown?: string; read(text: string): V | undefined }
interface Option<V> extends Kind<V> { readonly does: string }

const number = (text: string): number => (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN);

const real = (least: number, most: number): Kind<number> => ({
  expected: `a number from ${least} to ${most}`,
  read(text) { const x = number(text); return x >= least && x <= most ? x : undefined; },
});

const whole = (least: number, most: number, of = 1): Kind<number> => ({
  expected: of === 1 ? `a whole number from ${least} to ${most}` : `a multiple of ${of} from ${least} to ${most}`,
  read(text) { const x = number(text); return x >= least && x <= most && Number.isInteger(x / of) ? x : undefined; },
});

const oneOf = <S extends string>(...names: readonly S[]): Kind<S> => ({
  expected: `one of ${names.join(", ")}`,
  read: (text) => names.find((name) => name === text),
});

const yesOrNo: Kind<boolean> = { expected: "true or false", read: (text) => (text === "true" ? true : text === "false" ? false : undefined) };

const path: Kind<string> = { expected: "a path", read: (text) => (text.includes("\0") ? undefined : text) };
const name: Kind<string> = { expected: "a name without slashes", read: (text) => (/^[^/\\\0]+$/.test(text) && !/^\.+$/.test(text) ? text : undefined) };

const option = <V>(kind: Kind<V>, does: string): Option<V> => ({ ...kind, does });

const embedded = settingsOf({}), folder = settingsOf({ data: "" }), events = settingsOf({ data: "", frames: "last" });
/** A default that differs where data= is given, or holds recordings of events. */
const either = (key: "model" | "imgsz" | "batch" | "epochs" | "lr0" | "T"): string => `${embedded[key]}${folder[key] === embedded[key] ? "" : `, with data= ${folder[key]}`}${events[key] === folder[key] ? "" : `, events ${events[key]}`}`;

/** The same of what varies. */
const varied = (field: keyof Augment): string => `${augmentOf(embedded)[field]}, with data= ${augmentOf(folder)[field]}`;
/** A number of the recipe. */
const scheduled = (field: "lrf" | "momentum" | "weightDecay" | "warmupEpochs" | "nbs"): string => `${recipeOf(embedded)[field]}, with data= ${recipeOf(folder)[field]}`;
const share = real(0, 1), switched = oneOf("true", "false");

const arithmetic = oneOf("fast", "strict");
const imgsz = whole(32, 2048, 32), batch = whole(1, 4096), pictures = whole(1, 1_000_000), recordings = whole(1, 100_000);
const threads = option(whole(1, 64), "that compute (one for each core)");
const fold = option(oneOf("auto", "all", "none"), "RepConvs as one convolution; auto: where faster here (none)");
const checkpoint = option(path, "a run folder, a checkpoint, or a .pt of the reference");
/** What weights of others may leave open. */
const timing = {
  T: option(whole(1, 16), "timesteps (as in the weights, or 1)"),
  D: option(whole(1, 15), "largest integer of a neuron (as in weights, or 4)"),
  neuron: option(oneOf("coco", "gen1"), "which data the neurons are for (as in weights, or coco)"),
};
const anything = "a VOC, COCO or Gen1 folder, or a data.yaml of YOLO";

/** Every command with its options, in the order in which help shows them. */
export const commands = {
  train: {
    does: "train a detector, then measure it on pictures that it has not seen",
    options: {
      data: option(path, `${anything}; without it embedded pictures`),
      model: option({ ...oneOf(...(Object.keys(networks) as NetworkName[])), shown: "n, s, m, l, small, tiny, snn-yolov3[-SIZE]" }, `the network (${either("model")})`),
      ablation: option({ ...oneOf(...ABLATIONS), shown: "no-reparam, rep-early, silu, relu" }, "SpikeYOLO with one change (none)"),
      epochs: option(whole(1, 100_000), `how often each picture is seen (${either("epochs")})`),
      imgsz: option(imgsz, `pixels per side (${either("imgsz")})`),
      batch: option(batch, `pictures per step (${either("batch")})`),
      recipe: option(oneOf(...(Object.keys(RECIPES) as RecipeName[])), "with data= (small)"),
      seed: option(whole(0, 4294967295), `of weights, order and augmentation (${embedded.seed})`),
      T: option(whole(1, 16), `timesteps (${either("T")}, SNN-YOLOv3 ${settingsOf({ model: "snn-yolov3" }).T})`),
      D: option(whole(1, 15), `largest integer that a neuron emits (${embedded.D})`),
      lr0: option(real(0.000001, 10), `learning rate (${either("lr0")})`),
      lrf: option(share, `share of lr0 that is left at the end (${scheduled("lrf")})`),
      momentum: option(real(0.01, 1), `of SGD (${scheduled("momentum")})`),
      weight_decay: option(share, `of weights (${scheduled("weightDecay")})`),
      warmup_epochs: option(real(0, 100_000), `epochs to full rates (${scheduled("warmupEpochs")})`),
      nbs: option(whole(1, 1_000_000), `pictures to a step (${scheduled("nbs")})`),
      freeze: option(whole(0, 27), "first of 27 layers that stand still; 10: backbone (0)"),
      arithmetic: option(arithmetic, `strict: the same bits on every machine (${embedded.arithmetic})`),
      checkpointing: option(yesOrNo, `less memory, more time, the same result (${embedded.checkpointing})`),
      threads,
      memory: option(whole(1, 4294), "MB that the engine may take (4/5 of the machine's)"),
      anchors: option(oneOf("coco", "auto"), "SNN-YOLOv3: of COCO, or found in the data (auto, with data= coco)"),
      activations: option(oneOf("f32", "f16"), `how they are kept for gradients (${embedded.activations})`),
      train: option(pictures, `embedded pictures to train on (${embedded.train})`),
      val: option(pictures, `embedded pictures to validate on (${embedded.val})`),
      test: option(pictures, `embedded pictures for the final report (${embedded.test})`),
      train_split: option(name, "list of data= to train on (train, else trainval)"),
      val_split: option(name, "list of data= to validate with (val, else test)"),
      frames: option(oneOf("last", "count", "voxel"), "events: last polarity, counts or voxel grid (last)"),
      window: option(real(1, 100_000), "events: milliseconds before a label (250)"),
      order: option(oneOf("newest", "chronological"), "events: first slice (newest)"),
      mosaic: option(share, `four pictures in one, how often (${varied("mosaic")})`),
      close_mosaic: option(whole(0, 100_000), "last epochs without mosaic, 0: none (10)"),
      degrees: option(real(0, 180), `rotation in degrees, each way (${varied("degrees")})`),
      translate: option(share, `shift, as a share of the picture, each way (${varied("translate")})`),
      scale: option(real(0, 0.99), `size, this share more or less (${varied("scale")})`),
      shear: option(real(0, 89), `shear in degrees, each way (${varied("shear")})`),
      perspective: option(real(0, 0.001), `perspective, per pixel (${varied("perspective")})`),
      hsv_h: option(share, `hue, this share more or less (${varied("hue")})`),
      hsv_s: option(share, `saturation (${varied("saturation")})`),
      hsv_v: option(share, `brightness (${varied("value")})`),
      fliplr: option(share, `chance of left for right (${varied("flip")})`),
      flipud: option(share, `chance of top for bottom (${varied("upsideDown")})`),
      workers: option(whole(0, 64), "threads that read data= ahead (half of all, up to 4)"),
      cache: option(switched, "keep pictures of data= in memory, while half is free (false)"),
      strict: option(switched, "end at a broken picture of data= (false)"),
      name: option(name, "run folder runs/NAME (train, then train2, ...)"),
      out: option(path, "run folder anywhere; must be empty or absent"),
      weights: option(path, "start from a run folder, a checkpoint, or a .pt of the reference"),
      finetune: option(yesOrNo, "weights= of other classes get a new head (false)"),
      resume: option(path, "a run folder or a checkpoint to go on from"),
    },
  },
  val: {
    does: "measure trained weights; leaves report.json, curves.json (P, R, F1) and confusion.json",
    options: {
      weights: checkpoint,
      data: option(path, `${anything} (as trained)`),
      split: option(oneOf("train", "val", "test"), "which pictures (val)"),
      metric: option(oneOf(...METRICS), "whose figures"),
      energy: option(oneOf("clean", "sheet"), "a row for each layer; sheet: as published (clean)"),
      imgsz: option(imgsz, "pixels per side (as trained)"),
      batch: option(batch, "pictures at a time (as trained)"),
      threads,
      fold,
      ...timing,
      arithmetic: option(arithmetic, "strict: the same bits on every machine (as trained)"),
      out: option(path, "folder for the three files (runs/val, then runs/val2, ...)"),
    },
  },
  profile: {
    does: "show what each layer does: how busy it is, what it costs, which kernel runs it and how fast",
    options: {
      weights: checkpoint,
      data: option(path, `${anything} (as trained)`),
      split: option(oneOf("train", "val", "test"), "which pictures (val)"),
      imgsz: option(imgsz, "pixels per side (as trained)"),
      batch: option(batch, "pictures that it is shown, once (1)"),
      threads,
      fold,
      ...timing,
      arithmetic: option(arithmetic, "strict: the same bits on every machine (as trained)"),
      json: option(path, "a file for the same figures as JSON"),
      picture: option(path, "a file for rate and time of each layer as a figure, .svg or .png"),
    },
  },
  predict: {
    does: "find objects in pictures, or in recordings of events, and draw them",
    options: {
      weights: checkpoint,
      source: option(path, "a picture (JPEG, PNG, WebP), a recording (NAME_td.dat), or a folder of either"),
      conf: option(real(0, 1), "least score of a detection (0.25)"),
      every: option(real(1, 100_000), "recordings: milliseconds from frame to frame (one window)"),
      form: option(oneOf("real", "integer", "binary"), "float32 sums, or exact ones of spikes (integer)"),
      threads,
      fold,
      ...timing,
      imgsz: option(imgsz, "pixels per side (as trained)"),
      arithmetic: option(arithmetic, "strict: the same bits on every machine (as trained)"),
      out: option(path, "folder for the drawn pictures (runs/predict, then runs/predict2, ...)"),
    },
  },
  export: {
    does: "write trained weights for other programs",
    options: {
      weights: checkpoint,
      format: option(oneOf("safetensors"), "the state_dict of the reference (safetensors)"),
      ...timing,
      out: option(path, "the file to write (the weights' own name, beside them)"),
    },
  },
  scenes: {
    does: "write recordings of a simulated event camera, as the files of Gen1: something to train on",
    options: {
      out: option(path, "folder for train/, val/ and test/; must be empty or absent"),
      train: option(recordings, "recordings to train on (16)"),
      val: option(recordings, "recordings to validate on (4)"),
      test: option(recordings, "recordings for the final report (4)"),
      seconds: option(real(0.5, 3600), "length of each (10)"),
      width: option(whole(16, 16_384), "pixels of the sensor (304)"),
      height: option(whole(16, 16_384), "pixels of the sensor (240)"),
      seed: option(whole(0, 4294967295), "of everything (0)"),
    },
  },
  check: {
    does: "read a whole data set: what is in it, and what is wrong, by file and line",
    options: {
      data: option(path, "a VOC or COCO folder, a data.yaml of YOLO, or a folder of Gen1 recordings"),
      show: option(whole(1, 100), "labelled pictures on the contact sheet of a split (16)"),
      out: option(path, "folder for reports and contact sheets (runs/check, then runs/check2, ...)"),
    },
  },
} as const satisfies Record<string, { does: string; options: Record<string, Option<unknown>> }>;

export type Command = keyof typeof commands;
type ValueOf<O> = O extends Option<infer V> ? V : never;
/** What was given; the rest is left to the command. */
export type Values<C extends Command> = { -readonly [K in keyof (typeof commands)[C]["options"]]?: ValueOf<(typeof commands)[C]["options"][K]> };

export const isCommand = (word: string): word is Command => Object.hasOwn(commands, word);

/** Reads `key=value` arguments, each split at its first `=`. */
export function parseOptions<C extends Command>(command: C, args: readonly string[]): Values<C> {
  const table: Readonly<Record<string, Option<unknown>>> = commands[command].options;
  const values: Record<string, unknown> = {};
  for (const argument of args) {
    const equals = argument.indexOf("=");
    if (equals < 1) throw new UserError(`${command}: expected key=value, got ${JSON.stringify(argument)}${hint(argument.replace(/^-+/, ""), Object.keys(table), (key) => `; did you mean ${key}=...?`)}`);
    const key = argument.slice(0, equals), text = argument.slice(equals + 1);
    if (!Object.hasOwn(table, key)) throw new UserError(`${command}: ${unknown(command, key)}`);
    if (Object.hasOwn(values, key)) throw new UserError(`${command}: ${key} is given twice; keep one`);
    const value = text === "" ? undefined : table[key].read(text);
    if (value === undefined) throw new UserError(`${command}: ${key} is ${text === "" ? "empty" : text}, expected ${table[key].expected}`);
    values[key] = value;
  }
  return values as Values<C>;
}

function unknown(command: Command, key: string): string {
  const own = Object.keys(commands[command].options), bare = key.replace(/^-+/, "");
  const elsewhere = (Object.keys(commands) as Command[]).filter((other) => Object.hasOwn(commands[other].options, bare));
  const meant = own.includes(bare) ? `; write ${bare}=...`
    : hint(bare, own, (near) => `; did you mean ${JSON.stringify(near)}?`)
    || (elsewhere.length > 0 ? `, which belongs to ${elsewhere.join(" and ")}` : "")
    || `; the options are ${own.join(", ")}`;
  return `unknown option ${JSON.stringify(key)}${meant}`;
}

/** Says something of the name that is nearly `word`, if there is one. */
function hint(word: string, names: readonly string[], say: (name: string) => string): string {
  const near = nearest(word, names);
  return near === undefined ? "" : say(near);
}

export function nearest(word: string, names: readonly string[]): string | undefined {
  const allowed = Math.max(1, Math.floor(word.length / 3));
  const [best] = names.map((name) => ({ name, edits: edits(word.toLowerCase(), name.toLowerCase()) })).filter(({ edits }) => edits <= allowed).sort((a, b) => a.edits - b.edits);
  return best?.name;
}

/** Letters to add, drop, change or swap with their neighbour to make one word of the other (optimal string alignment). */
function edits(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    rows.push([i]);
    for (let j = 1; j <= b.length; j++) {
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? rows[i - 2][j - 2] + 1 : Infinity;
      rows[i][j] = Math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1), swapped);
    }
  }
  return rows[a.length][b.length];
}

/** The table for people, of all commands or of one. */
export function help(of?: Command): string {
  const lines = [`spiketrain ${of ?? "COMMAND"} key=value ...     spiking object detectors, trained from scratch`, ""];
  for (const [command, { does, options }] of Object.entries(commands)) {
    if (of !== undefined && command !== of) continue;
    lines.push(`${command.padEnd(9)}${does}`);
    for (const [key, { expected, shown = expected, does }] of Object.entries<Option<unknown>>(options)) lines.push(`  ${`${key}=`.padEnd(14)}${does}${expected === "a path" || expected.startsWith("a name") ? "" : `; ${shown}`}`);
    lines.push("");
  }
  if (of !== undefined) lines.push(`other commands: ${Object.keys(commands).filter((command) => command !== of).join(", ")}; spiketrain help shows them`);
  if (of === undefined || of === "train") lines.push("npm start -- key=value ...  is  spiketrain train key=value ...");
  return lines.join("\n");
}
