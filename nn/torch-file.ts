/**
 * Files of torch.save: a zip of one pickle and one file per storage.
 *
 *   NAME/data.pkl      the program that describes the object; storages are named, not held
 *   NAME/data/KEY      a storage: values one after the other, little-endian
 *   NAME/version, NAME/byteorder, ...
 *
 * Tensors are views of storages: offset, shape and strides, checked against the storage. Values are copied out when they are asked for.
 */
import { GlobalName, PickledObject, readPickle, Tuple, type Fail, type GlobalRule } from "./pickle.ts";
import { decode, dtypeBytes, FormatError, type DType, type StoredTensor } from "./safetensors.ts";
import { storedFiles, type StoredFile } from "./zip.ts";

export const torchLimits = { rank: 32, tensors: 100_000, modules: 100_000, depth: 64, nameLength: 512 } as const;

/** Types of storages by the names that pickles give them. */
const STORAGES: Readonly<Record<string, DType>> = {
  FloatStorage: "F32", HalfStorage: "F16", BFloat16Storage: "BF16", DoubleStorage: "F64",
  LongStorage: "I64", IntStorage: "I32", ShortStorage: "I16", CharStorage: "I8", ByteStorage: "U8", BoolStorage: "BOOL",
};

class StorageType { constructor(readonly dtype: DType) {} }

/** Values of one type, one after the other, that tensors look at. */
class Storage { constructor(readonly dtype: DType, readonly count: number, readonly file: StoredFile) {} }

/** A view of a storage. */
class View {
  constructor(private readonly storage: Storage, private readonly offset: number, readonly shape: readonly number[], private readonly strides: readonly number[]) {}
  get dtype(): DType { return this.storage.dtype; }

  /** The values in row-major order, a new array each time. */
  read(): ArrayLike<number | bigint> {
    const { shape, strides } = this, size = dtypeBytes(this.dtype), all = this.storage.file.bytes(), count = product(shape);
    if (count === 0 || isContiguous(shape, strides)) return decode(this.dtype, new Uint8Array(all.subarray(this.offset * size, (this.offset + count) * size)).buffer);
    const out = new Uint8Array(count * size), index = shape.map(() => 0);
    let from = this.offset;
    for (let i = 0; i < count; i++) {
      out.set(all.subarray(from * size, (from + 1) * size), i * size);
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        from += strides[axis];
        if (++index[axis] < shape[axis]) break;
        from -= strides[axis] * shape[axis];
        index[axis] = 0;
      }
    }
    return decode(this.dtype, out.buffer);
  }
}

const product = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis];
  }
  return true;
}

/** Whether a value of a file is a tensor. */
export const isTorchTensor = (value: unknown): value is StoredTensor => value instanceof View;

/** What torch.save was given, as data. Throws FormatError, with the byte of the file where it went wrong. */
export function readTorch(bytes: Uint8Array): unknown {
  if (bytes.length < 4 || bytes[0] !== 0x50 || bytes[1] !== 0x4b) {
    throw new FormatError("pt: is no zip archive; expected a file of torch.save (PyTorch 1.6 or later); older ones must be loaded and saved again there (byte 0)", 0);
  }
  const files = storedFiles(bytes), programs = [...files.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (programs.length !== 1) throw new FormatError(`pt: the archive holds ${programs.length} files NAME/data.pkl, expected one (byte 0)`, 0);
  const root = programs[0].slice(0, -"data.pkl".length);
  const outside = [...files.keys()].find((name) => !name.startsWith(root));
  if (outside !== undefined) throw new FormatError(`pt: ${JSON.stringify(outside)} lies outside of ${JSON.stringify(root)} (byte ${files.get(outside)!.offset})`, files.get(outside)!.offset);
  const order = files.get(`${root}byteorder`);
  if (order && new TextDecoder().decode(order.bytes().subarray(0, 16)).trim() !== "little") throw new FormatError(`pt: was written on a big-endian machine, which is not read (byte ${order.offset})`, order.offset);
  if (files.has(`${root}constants.pkl`)) throw new FormatError("pt: is a TorchScript program, expected weights: save model.state_dict() instead (byte 0)", 0);

  const program = files.get(programs[0])!, storages = new Map<string, Storage>();
  return readPickle(program.bytes(), { global, persistent: (id, fail) => storageOf(id, files, root, storages, fail) }, program.offset);
}

/** ("storage", type, key, place, count) */
function storageOf(id: unknown, files: ReadonlyMap<string, StoredFile>, root: string, known: Map<string, Storage>, fail: Fail): Storage {
  const [kind, type, key, , count] = id instanceof Tuple ? id.items : [];
  if (kind !== "storage" || !(type instanceof StorageType) || typeof key !== "string" || !isCount(count)) fail("names a storage by what is no (\"storage\", type, key, place, count)");
  const before = known.get(key);
  if (before && (before.dtype !== type.dtype || before.count !== count)) fail(`calls storage ${JSON.stringify(key.slice(0, 80))} ${type.dtype} [${count}], and ${before.dtype} [${before.count}] elsewhere`);
  if (before) return before;
  const file = files.get(`${root}data/${key}`);
  if (!file) fail(`names a storage ${JSON.stringify(key.slice(0, 80))} that is not in the archive`);
  if (file.size !== count * dtypeBytes(type.dtype)) fail(`says that storage ${JSON.stringify(key.slice(0, 80))} holds ${count} values of ${type.dtype}, its file has ${file.size} bytes`);
  const storage = new Storage(type.dtype, count, file);
  known.set(key, storage);
  return storage;
}

const isCount = (x: unknown): x is number => typeof x === "number" && Number.isSafeInteger(x) && x >= 0;
const counts = (value: unknown, what: string, fail: Fail): number[] => {
  const items = value instanceof Tuple ? value.items : value instanceof PickledObject && value.args[0] instanceof Tuple ? value.args[0].items : undefined; // torch.Size((2, 3))
  if (!items || items.length > torchLimits.rank || !items.every(isCount)) fail(`a tensor has a ${what} that is no tuple of at most ${torchLimits.rank} numbers from 0 up`);
  return items as number[];
};

const shown = (numbers: readonly number[]): string => `[${numbers.slice(0, 6).join(", ")}${numbers.length > 6 ? ", ..." : ""}]`;

/** (storage, offset, shape, strides, requires_grad, hooks) */
function rebuildTensor([storage, offset, shape_, strides_]: readonly unknown[], fail: Fail): View {
  if (!(storage instanceof Storage) || !isCount(offset)) fail("makes a tensor of what is no storage and offset");
  const shape = counts(shape_, "shape", fail), strides = counts(strides_, "stride", fail), count = product(shape);
  if (strides.length !== shape.length) fail(`a tensor has ${shape.length} axes and ${strides.length} strides`);
  const last = count === 0 ? offset - 1 : shape.reduce((sum, d, axis) => sum + (d - 1) * strides[axis], offset);
  if (!(last < storage.count && offset <= storage.count)) fail(`a tensor ${shown(shape)} with strides ${shown(strides)} looks at value ${last} of a storage of ${storage.count}`);
  if (count > storage.count) fail(`a tensor ${shown(shape)} shows ${count} values of a storage of ${storage.count}; save it with .contiguous()`);
  return new View(storage, offset, shape, strides);
}

function rebuildParameter([tensor]: readonly unknown[], fail: Fail): View {
  return tensor instanceof View ? tensor : fail("makes a parameter of what is no tensor");
}

/** An OrderedDict begins empty; its items follow one by one. */
function orderedDict(args: readonly unknown[], fail: Fail): Map<unknown, unknown> {
  return args.length === 0 ? new Map() : fail("makes an OrderedDict of something, expected nothing");
}

/** Kept as a record of what it was called with; nothing looks inside. */
const inert = (name: string): GlobalRule => ({ call: (args) => new PickledObject(name, args), records: true });

const CALLS: Readonly<Record<string, GlobalRule>> = {
  "torch._utils._rebuild_tensor_v2": { call: rebuildTensor },
  "torch._utils._rebuild_parameter": { call: rebuildParameter },
  "collections.OrderedDict": { call: orderedDict },
};

/** Sets, shapes, options, and the numbers, paths and dates that training leaves beside the weights. */
const INERT = new Set([
  "__builtin__.set", "builtins.set", "torch.Size", "torch.device", "torch.dtype", "_codecs.encode", "__builtin__.bytearray", "builtins.bytearray", "__builtin__.slice", "builtins.slice", "__builtin__.complex", "builtins.complex",
  "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.dtype", "numpy.ndarray",
  "types.SimpleNamespace", "ultralytics.utils.IterableSimpleNamespace", "ultralytics.yolo.utils.IterableSimpleNamespace",
  "pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath", "datetime.datetime", "datetime.date",
]);

/** Packages whose classes are read as records: those that pickled detectors are built of. */
const RECORDS = /^(torch\.nn\.modules|ultralytics|spikingjelly|models)(\.[A-Za-z_]\w*)*\.[A-Za-z_]\w*$/;

function global(module: string, name: string): GlobalRule | undefined {
  const full = `${module}.${name}`;
  if (module === "torch" && Object.hasOwn(STORAGES, name)) return { value: new StorageType(STORAGES[name]) };
  if (module === "torch" && /^(float(16|32|64)|bfloat16|half|double|u?int(8|16|32|64)|long|bool)$/.test(name)) return { value: new GlobalName(full, {}) };
  if (Object.hasOwn(CALLS, full)) return CALLS[full];
  if (INERT.has(full)) return inert(full);
  return RECORDS.test(full) ? { records: true } : undefined;
}

// ---- what is in it ----

/** A module of a pickled tree with its path, such as "model.2.Conv". */
export type TorchModule = readonly [path: string, module: PickledObject];

export const isTorchModule = (value: unknown): value is PickledObject => value instanceof PickledObject && value.field("_modules") instanceof Map;

/** A module and everything below it, in order of registration. */
export function modulesOf(root: PickledObject): TorchModule[] {
  const found: TorchModule[] = [];
  const visit = (path: string, module: PickledObject, above: readonly PickledObject[]): void => {
    if (above.includes(module)) tooMuch(`module ${JSON.stringify(path.slice(0, 80))} contains itself`);
    if (above.length >= torchLimits.depth) tooMuch(`modules lie more than ${torchLimits.depth} deep`);
    if (found.length >= torchLimits.modules) tooMuch(`there are more than ${torchLimits.modules} modules`);
    found.push([path, module]);
    for (const [name, child] of entriesOf(module.field("_modules"))) if (isTorchModule(child)) visit(joined(path, name), child, [...above, module]);
  };
  visit("", root, []);
  return found;
}

/** The tensors of a state_dict, or of a module and everything below it, by the names that state_dict() gives them. */
export function tensorsIn(value: unknown): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  const add = (name: string, tensor: unknown): void => {
    if (!isTorchTensor(tensor)) return;
    if (tensors.size >= torchLimits.tensors) tooMuch(`there are more than ${torchLimits.tensors} tensors`);
    tensors.set(name, tensor);
  };
  if (isTorchModule(value)) {
    for (const [path, module] of modulesOf(value)) for (const kind of ["_parameters", "_buffers"]) for (const [name, tensor] of entriesOf(module.field(kind))) add(joined(path, name), tensor);
  } else for (const [name, tensor] of entriesOf(value)) add(joined("", name), tensor);
  return tensors;
}

/** Members of a dict that are called by texts. */
export const entriesOf = (dict: unknown): [string, unknown][] => (dict instanceof Map ? [...dict].filter((entry): entry is [string, unknown] => typeof entry[0] === "string") : []);

function joined(path: string, name: string): string {
  if (path.length + name.length >= torchLimits.nameLength) tooMuch(`a name has more than ${torchLimits.nameLength} letters`);
  return path === "" ? name : `${path}.${name}`;
}

function tooMuch(problem: string): never { throw new FormatError(`pt: ${problem}; this is no file of torch.save`, 0); }
