/** Reading a checkpoint back: which network it holds, what it was trained on, how far it came. Nothing in the file is believed. */
import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { spikeYOLO, SpikeYOLO, type TrainRecipe } from "../detection/index.ts";
import { FormatError, loadCheckpoint, restore, WrongModelError, type Checkpoint } from "../nn/index.ts";
import { parseOptions, type Values } from "./options.ts";
import { settingsOf, type Settings } from "./recipes.ts";
import { reasonOf, UserError } from "./user-error.ts";

/** What this program adds to the state of a checkpoint. */
export interface About { readonly options: Settings; readonly classes: readonly string[] }

export interface SavedRun extends About {
  /** Of the checkpoint file. */
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly checkpoint: Checkpoint;
  /** As the run used it; what trains by it checks its numbers. */
  readonly recipe: TrainRecipe;
  /** Epochs that are done. */
  readonly epochs: number;
  /** The run folder that the file lies in, if it lies in one. */
  readonly folder: string | undefined;
}

const LARGEST = 2 ** 31 - 1; // bytes that one call can read

/** Opens a checkpoint, or the one of this name in a run folder. */
export async function readRun(given: string, which: "last" | "best"): Promise<SavedRun> {
  const isFolder = (await stat(given).catch((error) => { throw new UserError(`checkpoint: cannot open ${given}: ${reasonOf(error)}`); })).isDirectory();
  const path = isFolder ? join(given, "weights", `${which}.safetensors`) : given;
  const bytes = await readBytes(path, isFolder);
  return naming(path, () => {
    const checkpoint = loadCheckpoint(bytes);
    const { options, classes, recipe, progress } = record(checkpoint.state);
    const { epoch } = record(progress);
    if (!Array.isArray(classes) || classes.length === 0 || !classes.every((name) => typeof name === "string")) throw new UserError("the state names no classes");
    if (typeof epoch !== "number" || !Number.isSafeInteger(epoch) || epoch < 0) throw new UserError("the state does not say how far the run was");
    return {
      path, bytes, checkpoint, classes: classes as string[], epochs: epoch, options: savedSettings(options), recipe: record(recipe) as unknown as TrainRecipe,
      folder: basename(dirname(path)) === "weights" ? dirname(dirname(path)) : undefined,
    };
  });
}

/** The network of a checkpoint with its averaged weights, which are those that were validated. */
export function modelOf(run: SavedRun): SpikeYOLO {
  const model = newModel(run.options, run.classes.length);
  naming(run.path, () => restore(model, run.checkpoint.ema));
  return model;
}

export function newModel({ model, T, D, seed }: Settings, classes: number): SpikeYOLO {
  return new SpikeYOLO({ ...spikeYOLO[model], T, D, seed, classes });
}

async function readBytes(path: string, inFolder: boolean): Promise<Uint8Array> {
  try {
    const { size } = await stat(path);
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
  const { name, out, resume, ...settings } = given;
  return settingsOf(settings as Values<"train"> & Partial<Settings>);
}

const record = (value: unknown): Readonly<Record<string, unknown>> => (typeof value === "object" && value !== null ? { ...value } : {});

/** Puts the file's name before what is wrong with it. */
function naming<R>(path: string, run: () => R): R {
  try {
    return run();
  } catch (error) {
    if (error instanceof FormatError || error instanceof WrongModelError || error instanceof UserError) throw new UserError(`${path}: ${error.message}`, { cause: error });
    throw error;
  }
}
