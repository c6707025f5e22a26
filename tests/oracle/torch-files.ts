/** Files of PyTorch: every tensor bit for bit, under its name, and nothing else. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readForeign } from "../../detection/foreign.ts";
import { isTorchModule, isTorchTensor, readTorch, tensorsIn } from "../../nn/torch-file.ts";
import type { StoredTensor } from "../../nn/safetensors.ts";
import type { Check, OracleCase, Player } from "./play.ts";

const numbers = (tensor: StoredTensor): ArrayLike<number> => { const read = tensor.read(); return read instanceof BigInt64Array || read instanceof BigUint64Array ? Float64Array.from(read, Number) : read; };

/** Names, types, shapes and values. */
function compare(check: Check, what: string, got: ReadonlyMap<string, StoredTensor>, want: ReadonlyMap<string, StoredTensor>): void {
  if ([...got.keys()].sort().join() !== [...want.keys()].sort().join()) check.fail(`${what}: ${got.size} names, expected ${want.size}`);
  for (const [name, expected] of want) {
    const tensor = got.get(name);
    if (!tensor) { check.fail(`${what}: ${name} is missing`); continue; }
    if (tensor.dtype !== expected.dtype || tensor.shape.join() !== expected.shape.join()) check.fail(`${what}: ${name} is ${tensor.dtype} [${tensor.shape}], expected ${expected.dtype} [${expected.shape}]`);
    check.equal(`${what} ${name}`, numbers(tensor), numbers(expected));
  }
}

/** [sum, sum of magnitudes] of every tensor, in float64. */
function compareSums(check: Check, what: string, got: ReadonlyMap<string, StoredTensor>, want: Readonly<Record<string, readonly number[]>>): void {
  for (const [name, sums] of Object.entries(want)) {
    const tensor = got.get(name);
    if (!tensor) { check.fail(`${what}: ${name} is missing`); continue; }
    let sum = 0, size = 0;
    for (const x of Array.from(numbers(tensor))) { sum += x; size += Math.abs(x); }
    check.within(`${what} ${name} (sum, magnitudes)`, [sum, size], sums, 1e-12 * Math.max(1, sums[1])); // the order of a sum in float64
  }
}

/** "DetectionModel", "dict", or the value itself. */
const kindOf = (value: unknown): unknown => (value instanceof Map ? "dict" : isTorchModule(value) ? value.type.slice(value.type.lastIndexOf(".") + 1) : value);

const bytesOf = (c: OracleCase): Uint8Array => readFileSync(join(c.folder.path, c.record.file!));

const checkpoint: Player = {
  places: [],
  play(c, check) {
    const bytes = bytesOf(c), root = readTorch(bytes) as Map<string, unknown>, { contents, expected, model_checks: sums, optimizer, params } = c.record;
    for (const [key, kind] of Object.entries(contents as Record<string, unknown>)) if (kindOf(root.get(key)) !== kind) check.fail(`${key} is ${String(kindOf(root.get(key)))}, expected ${String(kind)}`);
    for (const [key, file] of Object.entries(expected as Record<string, string>)) {
      compare(check, key, tensorsIn(root.get(key)), c.folder.tensors(file));
      const taken = readForeign(bytes), { nc, ...size } = params!;
      if (taken.from !== key) check.fail(`${taken.from} is taken, expected ${key}`);
      compare(check, "taken", taken.tensors, c.folder.tensors(file));
      check.equal("T, D, classes", [taken.T ?? NaN, taken.D ?? NaN, taken.classes?.length ?? NaN], [size["T"], size["D"], nc]);
    }
    if (sums) compareSums(check, "model", tensorsIn(root.get("model")), sums);
    if (optimizer) compareOptimizer(check, root.get("optimizer"), optimizer);
  },
};

/** SGD's momentum: parameters are numbered there in the order of its groups. */
function compareOptimizer(check: Check, saved: unknown, want: any): void {
  const state = saved instanceof Map ? saved.get("state") : undefined;
  const momenta = new Map<string, StoredTensor>();
  if (state instanceof Map) for (const [index, of] of state) {
    const momentum = of instanceof Map ? of.get("momentum_buffer") : undefined;
    if (isTorchTensor(momentum)) momenta.set(want.param_order[index as number], momentum);
  }
  compareSums(check, "momentum", momenta, want.momentum_checks);
}

const stateDict: Player = {
  places: [],
  play(c, check) { compare(check, "state_dict", tensorsIn(readTorch(bytesOf(c))), c.folder.tensors(c.record["expected"][""])); },
};

export const torchFilePlayers: ReadonlyMap<string, Player> = new Map([["ultralytics checkpoint", checkpoint], ["torch state_dict", stateDict]]);
