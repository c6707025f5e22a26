/**
 * Our checkpoints: a safetensors file of float32 tensors and one JSON text.
 *
 *   model.<name>, ema.<name>, momentum.<name>     as the modules hold them, channel-last: weights are [out, kh, kw, in]
 *   metadata   format "spiketrain", version, layout "OHWI", state (JSON: whatever else a run needs to go on)
 *
 * This file writes no bytes to disk and knows no foreign weights.
 */
import { show, type RealArray, type Shape, type Tensor } from "../engine/index.ts";
import { equalShapes } from "../engine/shape.ts";
import type { Module } from "./module.ts";
import { FormatError, readSafetensors, writeSafetensors, type StoredTensor, type TensorData } from "./safetensors.ts";

/** Values by name: live tensors of a module, or what a file holds. `data` is read when it is needed. */
export type NamedTensors = ReadonlyMap<string, { readonly shape: Shape; readonly data: RealArray }>;

const FORMAT = "spiketrain", VERSION = "1", LAYOUT = "OHWI";
const GROUPS = ["model", "ema", "momentum"] as const;

export interface Checkpoint extends Readonly<Record<(typeof GROUPS)[number], NamedTensors>> {
  /** Model record, classes, recipe, epoch, random streams: any JSON. What reads it checks it. */
  readonly state: unknown;
}

/** The tensors are of another model than the one that they were to fill. Nothing was written. */
export class WrongModelError extends Error {
  override readonly name = "WrongModelError";
  constructor(message: string, readonly differing: number) {
    super(message);
  }
}

/** Every parameter and buffer by name, live. */
export function tensorsOf(module: Module): Map<string, Tensor> {
  return new Map<string, Tensor>([...module.namedParameters(), ...module.namedBuffers()]);
}

/** Fills a module from saved tensors; refuses those of another model before it writes anything. */
export function restore(module: Module, tensors: NamedTensors): void { restoreTensors("restore", tensorsOf(module), tensors); }

/** Fills tensors from others of the same names and shapes. */
export function restoreTensors(what: string, into: ReadonlyMap<string, Tensor>, from: NamedTensors): void {
  const missing = [...into.keys()].filter((name) => !from.has(name)).map((name) => `${quote(name)} is missing from the checkpoint`);
  expectKnown(what, into, from, missing);
  for (const [name, { data }] of from) into.get(name)!.data.set(data);
}

/** Refuses names that are not among the known ones, and other shapes than theirs. */
export function expectKnown(what: string, known: ReadonlyMap<string, { readonly shape: Shape }>, from: NamedTensors, missing: readonly string[] = []): void {
  const reshaped: string[] = [], unexpected: string[] = [];
  for (const [name, { shape }] of known) {
    const saved = from.get(name);
    if (saved && !equalShapes(saved.shape, shape)) reshaped.push(`${quote(name)} is ${show(shape)} in this model, ${show(saved.shape)} in the checkpoint`);
  }
  for (const name of from.keys()) if (!known.has(name)) unexpected.push(`${quote(name)} is in the checkpoint, not in this model`);
  const differences = [...reshaped, ...missing, ...unexpected], n = differences.length;
  if (n > 0) throw new WrongModelError(`${what}: ${differences[0]}; ${n} of ${known.size + unexpected.length} tensors differ (another model, or another number of classes?)`, n);
}

/** The same parts give the same bytes. */
export function saveCheckpoint({ state, ...groups }: Pick<Checkpoint, "model" | "state"> & Partial<Checkpoint>): Uint8Array {
  const tensors = new Map<string, TensorData>();
  for (const group of GROUPS) {
    for (const [name, { shape, data }] of groups[group] ?? []) tensors.set(`${group}.${name}`, { dtype: "F32", shape, data: data instanceof Float32Array ? data : Float32Array.from(data) });
  }
  return writeSafetensors(tensors, new Map([["format", FORMAT], ["version", VERSION], ["layout", LAYOUT], ["state", toJSON(state)]]));
}

/** The parts of a checkpoint. Throws FormatError for anything that `saveCheckpoint` would not have written. */
export function loadCheckpoint(bytes: Uint8Array): Checkpoint {
  const { tensors, metadata } = readSafetensors(bytes);
  const format = metadata.get("format"), version = metadata.get("version"), layout = metadata.get("layout");
  if (format !== FORMAT) fail(`got format ${quoted(format)}, expected "${FORMAT}" (weights of other programs are imported, not loaded)`);
  if (version !== VERSION) fail(`got format v${version ?? "?"}, expected v${VERSION} (re-save it with the version that wrote it)`);
  if (layout !== LAYOUT) fail(`got layout ${quoted(layout)}, expected "${LAYOUT}"`);

  const groups = { model: new Map<string, Stored>(), ema: new Map<string, Stored>(), momentum: new Map<string, Stored>() };
  for (const [full, tensor] of tensors) {
    const dot = full.indexOf("."), group = GROUPS.find((known) => known === full.slice(0, dot));
    if (!group) fail(`tensor ${quote(full)} belongs to none of ${GROUPS.join(", ")}`);
    if (tensor.dtype !== "F32") fail(`tensor ${quote(full)} is ${tensor.dtype}, expected F32`);
    groups[group].set(full.slice(dot + 1), new Stored(tensor));
  }
  return { ...groups, state: fromJSON(metadata.get("state")) };
}

/** A tensor that stays in the file's bytes until it is asked for. */
class Stored {
  constructor(private readonly tensor: Extract<StoredTensor, { dtype: "F32" }>) {}
  get shape(): Shape { return this.tensor.shape; }
  /** A copy, new each time. */
  get data(): Float32Array { return this.tensor.read(); }
}

/** JSON has no NaN and no infinities, and would write null without a word. */
function toJSON(state: unknown): string {
  return JSON.stringify(state ?? null, (key, value: unknown) => {
    if (typeof value === "number" && !Number.isFinite(value)) throw new Error(`checkpoint: state.${key} is ${value}, which JSON cannot hold; leave it out`);
    return value;
  });
}

function fromJSON(text: string | undefined): unknown {
  if (text === undefined) fail("the state is missing");
  try { return JSON.parse(text); } catch (error) { fail(`the state is not JSON: ${(error as Error).message}`); }
}

function fail(problem: string): never { throw new FormatError(`checkpoint: ${problem}`, 8); }

const quote = (name: string): string => JSON.stringify(name);
const quoted = (value: string | undefined): string => (value === undefined ? "none" : quote(value));
