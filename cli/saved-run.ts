/** Reading a checkpoint back: which network it holds, what it was trained on, how far it came. Nothing in the file is believed. */
import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { readRegular } from "../datasets/file.ts";
import { ablations, expectAnchors, expectResumable, familyOf, networks, newDetector, savedProgress, type Anchors, type Detector, type DetectorRecord, type FamilyName, type SavedProgress, type TrainRecipe } from "../detection/index.ts";
import { FormatError, ilifGen1, loadCheckpoint, restore, WrongModelError, type Checkpoint } from "../nn/index.ts";
import { parseOptions, type Values } from "./options.ts";
import { settingsOf, type Settings } from "./recipes.ts";
import { reasonOf, UserError } from "./user-error.ts";

/** What this program adds to the state of a checkpoint. */
export interface About {
  readonly options: Settings;
  readonly classes: readonly string[];
  /** How events became frames, in words. */
  readonly protocol?: string;
  /** Of the network; absent in files of before there were several. */
  readonly family?: FamilyName;
  /** Sizes from which boxes are told, where the network has them from its own data. */
  readonly anchors?: Anchors;
}

export interface SavedRun extends About {
  /** Of the checkpoint file. */
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly checkpoint: Checkpoint;
  readonly recipe: TrainRecipe;
  readonly progress: SavedProgress;
  /** Epochs that are done. */
  readonly epochs: number;
  /** The run folder that the file lies in, if it lies in one: FOLDER/weights/ with the FOLDER/args.json of such a run. */
  readonly folder: string | undefined;
}

const LARGEST = 2 ** 31 - 1; // bytes that one call can read

/** Opens a checkpoint, or the one of this name in a run folder. */
export async function readRun(given: string, which: "last" | "best"): Promise<SavedRun> {
  const isFolder = (await stat(given).catch((error) => { throw new UserError(`checkpoint: cannot open ${given}: ${reasonOf(error)}`); })).isDirectory();
  const path = isFolder ? join(given, "weights", `${which}.safetensors`) : given;
  const bytes = await readBytes(path, isFolder);
  const saved = naming(path, () => {
    const checkpoint = loadCheckpoint(bytes);
    const { options, classes, recipe, protocol, family, anchors } = record(checkpoint.state);
    if (!Array.isArray(classes) || classes.length === 0 || !classes.every((name) => typeof name === "string")) throw new UserError("the state names no classes");
    const progress = savedProgress(checkpoint.state), run = { options: savedSettings(options), recipe: savedRecipe(recipe) };
    if (run.recipe.batch !== run.options.batch) throw new FormatError(`checkpoint: recipe.batch is ${run.recipe.batch}, but options.batch is ${run.options.batch}`, 8);
    if (anchors !== undefined) expectAnchors(anchors);
    return { path, bytes, checkpoint, anchors, family: expectFamily(run.options, family), classes: classes as string[], protocol: typeof protocol === "string" ? protocol : undefined, progress, epochs: progress.epoch, ...run };
  });
  return { ...saved, folder: await folderOf(path, saved) };
}

/** Two folders up, if a run of this model and these classes left its args.json there; any other folder is a stranger's, whatever its names. */
async function folderOf(path: string, { options, classes }: About): Promise<string | undefined> {
  if (basename(dirname(path)) !== "weights") return undefined;
  const folder = dirname(dirname(path));
  const args = await readRegular(join(folder, "args.json"), "args.json", 1 << 20).then((bytes) => record(JSON.parse(new TextDecoder().decode(bytes)))).catch(() => record(undefined));
  return args["model"] === options.model && JSON.stringify(args["classes"]) === JSON.stringify(classes) && typeof args["recipe"] === "object" ? folder : undefined;
}

/** Gives a new network the weights of the run, if it can go on with it over so many batches per epoch. */
export function resume(run: SavedRun, model: Detector, batchesPerEpoch: number): void { naming(run.path, () => expectResumable(run.checkpoint, model, batchesPerEpoch)); }

/** The network of a checkpoint with its averaged weights, which are those that were validated. */
export function modelOf(run: SavedRun): Detector {
  const model = newModel(run.options, run.classes.length, run.anchors);
  naming(run.path, () => restore(model, run.checkpoint.ema));
  return model;
}

export const newModel = (settings: Settings, classes: number, anchors?: Anchors): Detector => newDetector(configOf(settings, classes, anchors));

/** The record of the network that these options ask for. */
export function configOf({ model, T, D, seed, checkpointing, activations, frames, freeze = 0, ablation }: Settings, classes: number, anchors?: Anchors): DetectorRecord {
  const size: DetectorRecord = networks[model], { integers } = familyOf(size);
  return { ...size, T, seed, checkpointing, activations, classes, ...(integers && { D, freeze, ...(frames && { neuron: ilifGen1(D) }), ...(ablation && ablations[ablation].fields) }), ...(anchors && { anchors }) } as DetectorRecord;
}

export async function readBytes(path: string, inFolder: boolean): Promise<Uint8Array> {
  try {
    const found = await stat(path), { size } = found;
    if (!found.isFile()) throw new UserError(`checkpoint: ${path} is not a file; give a run folder or a .safetensors file`);
    if (size > LARGEST) throw new UserError(`checkpoint: ${path} has ${size} bytes, more than the ${LARGEST} that can be read`);
    return await readFile(path);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`checkpoint: cannot read ${path}: ${reasonOf(error)}${inFolder ? "; is this the folder of a run?" : ""}`);
  }
}

/** Options as they are in a checkpoint are read like those of a command line. */
function savedSettings(options: unknown): Settings {
  const given = parseOptions("train", Object.entries(record(options)).map(([key, value]) => `${key}=${String(value)}`));
  for (const key of ["model", "imgsz", "batch", "epochs"] as const) if (given[key] === undefined) throw new UserError(`the state lacks the option ${key}`);
  const { name, out, resume, memory, threads, weights, finetune, ...settings } = given;
  return settingsOf(settings as Values<"train"> & Partial<Settings>);
}

/** The family of the model, which the file may say too. */
function expectFamily({ model }: Settings, family: unknown): FamilyName {
  const { family: own = "spikeyolo" }: DetectorRecord = networks[model];
  if (family !== undefined && family !== own) throw new FormatError(`checkpoint: family is ${JSON.stringify(family)}, but its model ${model} is of ${own}`, 8);
  return own;
}

type Rule = readonly [expected: string, holds: (value: unknown) => boolean];
const from = (least: number, most: number): Rule => [`a number from ${least} to ${most}`, (x) => typeof x === "number" && x >= least && x <= most];
const whole = (least: number, most: number): Rule => [`a whole number from ${least} to ${most}`, (x) => Number.isInteger(x) && from(least, most)[1](x)];
const either: Rule = ["true or false", (x) => typeof x === "boolean"];
const optional = ([expected, holds]: Rule): Rule => [expected, (x) => x === undefined || holds(x)];

/** What the numbers of a recipe may be. */
const RECIPE: { readonly [K in keyof Required<Omit<TrainRecipe, "ema" | "gains">>]: Rule } = {
  lr0: from(0, 10), lrf: from(0, 1), momentum: from(1e-6, 1), weightDecay: from(0, 1), warmupEpochs: from(0, 100_000), warmupMomentum: from(0, 1), warmupBiasLr: from(0, 10),
  nbs: whole(1, 1_000_000), batch: whole(1, 4096), epochs: whole(1, 100_000), clip: from(1e-6, 1e9),
  mostWarmupIterations: optional(whole(0, 1_000_000)), gatherFrom: optional(whole(0, 100_000)), gather: optional(["sum or mean", (x) => x === "sum" || x === "mean"]),
  decaying: optional(["a list of weight, bias, norm", (x) => Array.isArray(x) && x.every((role) => ["weight", "bias", "norm"].includes(role as string))]),
  cosine: optional(either), warmupFrom: optional(from(0, 1)), oneEpochLate: optional(either), minWarmupIterations: optional(whole(0, 1_000_000)),
};
const EMA_RULES: Readonly<Record<string, Rule>> = { decay: optional(from(0, 1)), tau: optional(from(1e-6, 1e9)) };
const GAINS: Readonly<Record<string, Rule>> = { box: from(0, 1e6), classes: from(0, 1e6), dfl: from(0, 1e6) };

/** The recipe of a checkpoint, every number of it in range. */
function savedRecipe(recipe: unknown): TrainRecipe {
  const given = record(recipe);
  expectRules("recipe", given, RECIPE);
  if (typeof given["ema"] !== "object" || given["ema"] === null) throw new FormatError("checkpoint: recipe.ema is missing, expected its decay and tau, or {}", 8);
  expectRules("recipe.ema", record(given["ema"]), EMA_RULES);
  if (given["gains"] !== undefined) expectRules("recipe.gains", record(given["gains"]), GAINS);
  return given as unknown as TrainRecipe;
}

function expectRules(of: string, given: Readonly<Record<string, unknown>>, rules: Readonly<Record<string, Rule>>): void {
  for (const [name, [expected, holds]] of Object.entries(rules)) {
    if (!holds(given[name])) throw new FormatError(`checkpoint: ${of}.${name} is ${JSON.stringify(given[name]) ?? "missing"}, expected ${expected}`, 8);
  }
}

const record = (value: unknown): Readonly<Record<string, unknown>> => (typeof value === "object" && value !== null ? { ...value } : {});

/** Puts the file's name before what is wrong with it. */
export function naming<R>(path: string, run: () => R): R {
  try {
    return run();
  } catch (error) {
    if (error instanceof FormatError || error instanceof WrongModelError || error instanceof UserError) throw new UserError(`${path}: ${error.message}`, { cause: error });
    throw error;
  }
}
