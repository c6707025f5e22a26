/**
 * NumPy's array files.
 *
 *   0        6         8 (10)    n
 *   | magic  | version | u16/u32 | header: a Python dict, padded with spaces … \n | data |
 *
 *   {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
 *   {'descr': [('t', '<u8'), ('x', '<f4'), ('', '|V4')], 'fortran_order': False, 'shape': (13,), }
 *
 * The header is read by a parser of exactly this grammar. Sizes are checked against the file before anything is allocated.
 */
import { BrokenFile } from "./file.ts";

export type NpyData = Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | BigInt64Array | BigUint64Array | Float32Array | Float64Array;

/** Number types by NumPy's names, without the byte order. Half precision is read as float32, booleans as bytes 0 and 1. */
const TYPES = {
  f2: { bytes: 2, make: Float32Array }, f4: { bytes: 4, make: Float32Array }, f8: { bytes: 8, make: Float64Array },
  i1: { bytes: 1, make: Int8Array }, i2: { bytes: 2, make: Int16Array }, i4: { bytes: 4, make: Int32Array }, i8: { bytes: 8, make: BigInt64Array },
  u1: { bytes: 1, make: Uint8Array }, u2: { bytes: 2, make: Uint16Array }, u4: { bytes: 4, make: Uint32Array }, u8: { bytes: 8, make: BigUint64Array },
  b1: { bytes: 1, make: Uint8Array },
} as const;

export type NpyType = keyof typeof TYPES;

export interface NpyArray {
  readonly type: NpyType;
  readonly shape: readonly number[];
  /** Row-major, whatever the order in the file. */
  readonly data: NpyData;
}

/** Records, as columns by field name; a field that holds k numbers has k values per row. Fields without a name are padding. */
export interface NpyTable {
  readonly rows: number;
  readonly columns: ReadonlyMap<string, NpyData>;
}

const MAX_HEADER_BYTES = 1 << 20, MAX_FIELDS = 1024, MAX_RANK = 32;
const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

// ---- reading ----

/** An array of numbers. */
export function readNpy(bytes: Uint8Array, name = "array.npy"): NpyArray {
  const { descr, fortran, shape, start } = readHeader(bytes, name);
  if (Array.isArray(descr)) throw new BrokenFile(name, `expected numbers, got records of ${descr.map((field) => field.name).join(", ")}`, { offset: 10 });
  const { type, little } = descr;
  if (type === undefined) throw new BrokenFile(name, "expected numbers, got bytes without a type", { offset: 10 });
  const count = countOf(bytes, name, shape, descr.bytes, start);
  const data = valuesOf(bytes, type, little, count, start, descr.bytes);
  return { type, shape, data: fortran && shape.length > 1 ? rowMajor(data, shape) : data };
}

/** An array of records. */
export function readNpyTable(bytes: Uint8Array, name = "table.npy"): NpyTable {
  const { descr, shape, start } = readHeader(bytes, name);
  if (!Array.isArray(descr)) throw new BrokenFile(name, `expected records with named fields, got plain ${descr.type ?? "bytes"}`, { offset: 10 });
  if (shape.length > 1) throw new BrokenFile(name, `expected a list of records, got an array of shape [${shape.join(", ")}]`, { offset: 10 });
  const rowBytes = descr.reduce((sum, field) => sum + field.bytes * field.count, 0);
  const rows = countOf(bytes, name, shape, rowBytes, start);
  const columns = new Map<string, NpyData>();
  let at = start;
  for (const { name: field, type, little, bytes: size, count } of descr) {
    if (field !== "" && type !== undefined) columns.set(field, count === 1 ? valuesOf(bytes, type, little, rows, at, rowBytes) : grouped(bytes, type, little, rows, count, at, rowBytes));
    at += size * count;
  }
  return { rows, columns };
}

/** How many elements the shape claims; the data must be exactly that long. */
function countOf(bytes: Uint8Array, name: string, shape: readonly number[], size: number, start: number): number {
  const count = shape.includes(0) ? 0 : shape.reduce((product, dimension) => product * dimension, 1), there = bytes.length - start;
  if (size === 0 && count > 0) throw new BrokenFile(name, "its elements have no bytes", { offset: 10 });
  if (!(count * size <= Number.MAX_SAFE_INTEGER)) throw new BrokenFile(name, `shape [${shape.join(", ")}] of ${size} bytes each is larger than any file`, { offset: 10 });
  if (count * size !== there) throw new BrokenFile(name, `shape [${shape.join(", ")}] of ${size} bytes each needs ${count * size} bytes of data, got ${there}; the file is ${there < count * size ? "cut off" : "too long"}`, { offset: start });
  return count;
}

/** `count` values, `stride` bytes apart from byte `at` on. */
function valuesOf(bytes: Uint8Array, type: NpyType, little: boolean, count: number, at: number, stride: number): NpyData {
  const { bytes: size, make } = TYPES[type];
  const raw = new Uint8Array(count * size);
  if (stride === size) raw.set(bytes.subarray(at, at + raw.length));
  else for (let i = 0, from = at, to = 0; i < count; i++, from += stride) for (let b = 0; b < size; b++) raw[to++] = bytes[from + b];
  if (!little && size > 1) for (let to = 0; to < raw.length; to += size) raw.subarray(to, to + size).reverse();
  if (type === "f2") return widenHalf(new Uint16Array(raw.buffer));
  if (type === "b1") return raw.map((value) => (value === 0 ? 0 : 1));
  return new make(raw.buffer);
}

/** A field of `group` values in each row. */
function grouped(bytes: Uint8Array, type: NpyType, little: boolean, rows: number, group: number, at: number, stride: number): NpyData {
  const { bytes: size } = TYPES[type], packed = new Uint8Array(rows * group * size);
  for (let row = 0; row < rows; row++) packed.set(bytes.subarray(at + row * stride, at + row * stride + group * size), row * group * size);
  return valuesOf(packed, type, little, rows * group, 0, size);
}

/** sign 1, exponent 5, fraction 10 -> sign 1, exponent 8, fraction 23 */
function widenHalf(halves: Uint16Array): Float32Array {
  const out = new Float32Array(halves.length), bits = new Uint32Array(out.buffer);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i], sign = (half & 0x8000) << 16, exponent = (half >> 10) & 31, fraction = half & 1023;
    if (exponent === 0) out[i] = (sign ? -1 : 1) * fraction * 2 ** -24;
    else bits[i] = sign | (exponent === 31 ? 255 : exponent + 112) << 23 | fraction << 13;
  }
  return out;
}

/** From first index fastest to last index fastest. */
function rowMajor(data: NpyData, shape: readonly number[]): NpyData {
  const out = new (data.constructor as { new(length: number): NpyData })(data.length), index = new Array<number>(shape.length).fill(0);
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((product, dimension) => product * dimension, 1));
  for (let to = 0, from = 0; to < data.length; to++) {
    out[to] = data[from];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}

interface Field {
  readonly name: string;
  /** undefined: bytes that mean nothing. */
  readonly type: NpyType | undefined;
  readonly little: boolean;
  readonly bytes: number;
  /** Values per element. */
  readonly count: number;
}

interface Header {
  readonly descr: Field | readonly Field[];
  readonly fortran: boolean;
  readonly shape: readonly number[];
  /** Where the data starts. */
  readonly start: number;
}

function readHeader(bytes: Uint8Array, name: string): Header & { descr: Field | Field[] } {
  if (!MAGIC.every((byte, i) => bytes[i] === byte)) throw new BrokenFile(name, "expected an npy file (\\x93NUMPY), got something else");
  const major = bytes[6], long = major > 1, begin = long ? 12 : 10;
  if (major < 1 || major > 3 || bytes[7] !== 0) throw new BrokenFile(name, `npy version ${major}.${bytes[7]} is unknown; save it with np.save`, { offset: 6 });
  if (bytes.length < begin) throw new BrokenFile(name, "ends within its header length", { offset: bytes.length });
  const length = bytes[8] + bytes[9] * 2 ** 8 + (long ? bytes[10] * 2 ** 16 + bytes[11] * 2 ** 24 : 0);
  if (length > Math.min(MAX_HEADER_BYTES, bytes.length - begin)) throw new BrokenFile(name, `the header claims ${length} bytes, the file has ${bytes.length - begin} after its length and the limit is ${MAX_HEADER_BYTES}`, { offset: 8 });
  return { ...new Literal(bytes.subarray(0, begin + length), begin, name).header(), start: begin + length };
}

/** Reads the Python that a header may contain. */
class Literal {
  constructor(private readonly bytes: Uint8Array, private at: number, private readonly name: string) {}

  fail(problem: string, offset = this.at): never { throw new BrokenFile(this.name, `npy header: ${problem}`, { offset }); }

  header(): { descr: Field | Field[]; fortran: boolean; shape: number[] } {
    let descr: Field | Field[] | undefined, fortran: boolean | undefined, shape: number[] | undefined;
    const begin = this.at;
    this.sequence("{", "}", 3, () => {
      const offset = this.at, key = this.text();
      this.expect(":");
      const known = key === "descr" ? descr : key === "fortran_order" ? fortran : key === "shape" ? shape : null;
      if (known === null) this.fail(`unknown field ${JSON.stringify(key.slice(0, 40))}`, offset);
      if (known !== undefined) this.fail(`${key} appears twice`, offset);
      if (key === "descr") descr = this.peek() === "[" ? this.fields() : this.type("");
      else if (key === "shape") shape = this.shape();
      else fortran = this.truth();
    });
    if (this.peek() !== "") this.fail("expected its end");
    if (descr === undefined || fortran === undefined || shape === undefined) this.fail(`lacks ${descr === undefined ? "descr" : shape === undefined ? "shape" : "fortran_order"}`, begin);
    return { descr, fortran, shape };
  }

  private fields(): Field[] {
    const fields: Field[] = [], names = new Set<string>();
    this.sequence("[", "]", MAX_FIELDS, () => {
      this.expect("(");
      const offset = this.at, name = this.text();
      if (name !== "" && names.has(name)) this.fail(`field ${JSON.stringify(name.slice(0, 40))} appears twice`, offset);
      names.add(name);
      this.expect(",");
      if (this.peek() === "[") this.fail("records within records are not read");
      const field = this.type(name);
      const group = this.skip(",") && this.peek() === "(" ? this.shape() : [];
      this.skip(",");
      this.expect(")");
      const count = group.includes(0) ? 0 : group.reduce((product, dimension) => product * dimension, 1);
      if (!Number.isSafeInteger(count * field.bytes)) this.fail(`field ${JSON.stringify(name.slice(0, 40))} is larger than any file`, offset);
      fields.push({ ...field, count });
    });
    return fields;
  }

  /** '<f4' */
  private type(name: string): Field {
    const offset = this.at, text = this.text(), [, order, letter, digits] = /^([<>|=]?)([a-zA-Z])(\d{1,9})$/.exec(text) ?? [];
    if (letter === "V") return { name, type: undefined, little: true, bytes: Number(digits), count: 1 };
    const type = `${letter}${digits}`;
    if (!Object.hasOwn(TYPES, type)) this.fail(`type ${JSON.stringify(text.slice(0, 40))} is not read; expected numbers (${Object.keys(TYPES).join(", ")})`, offset);
    return { name, type: type as NpyType, little: order !== ">", bytes: TYPES[type as NpyType].bytes, count: 1 };
  }

  private shape(): number[] {
    const shape: number[] = [];
    this.sequence("(", ")", MAX_RANK, () => {
      const offset = this.at, digits = this.word(/[0-9]/);
      if (!/^\d{1,16}$/.test(digits) || !Number.isSafeInteger(Number(digits))) this.fail(`expected a whole number, got ${JSON.stringify(digits.slice(0, 40))}`, offset);
      this.skip("L");                                                                     // Python 2
      shape.push(Number(digits));
    });
    return shape;
  }

  private truth(): boolean {
    this.peek();
    const offset = this.at, word = this.word(/[A-Za-z]/);
    if (word !== "True" && word !== "False") this.fail(`expected True or False, got ${JSON.stringify(word)}`, offset);
    return word === "True";
  }

  /** Items with commas between them, and perhaps one after the last. */
  private sequence(open: string, close: string, most: number, item: () => void): void {
    this.expect(open);
    for (let n = 0; this.peek() !== close; n++) {
      if (n === most) this.fail(`expected at most ${most} items`);
      item();
      if (!this.skip(",") && this.peek() !== close) this.fail(`expected , or ${close}`);
    }
    this.expect(close);
  }

  private text(): string {
    const quote = this.peek();
    if (quote !== "'" && quote !== '"') this.fail("expected a string");
    const end = this.bytes.indexOf(quote.charCodeAt(0), ++this.at);
    if (end < 0) this.fail("a string does not end");
    const inner = this.bytes.subarray(this.at, end);
    if (inner.includes(0x5c)) this.fail("a string holds a backslash");
    this.at = end + 1;
    return new TextDecoder().decode(inner);
  }

  private word(letters: RegExp): string {
    const start = this.at;
    while (this.at < this.bytes.length && this.at - start < 64 && letters.test(String.fromCharCode(this.bytes[this.at]))) this.at++;
    return String.fromCharCode(...this.bytes.subarray(start, this.at));
  }

  /** The next character that is not white space, "" at the end. */
  private peek(): string {
    while (this.bytes[this.at] === 0x20 || this.bytes[this.at] === 0x0a) this.at++;
    return this.at < this.bytes.length ? String.fromCharCode(this.bytes[this.at]) : "";
  }
  private skip(character: string): boolean {
    if (this.peek() !== character) return false;
    this.at++;
    return true;
  }
  private expect(character: string): void { if (!this.skip(character)) this.fail(`expected ${character}`); }
}

// ---- writing ----

export type WritableNpyType = Exclude<NpyType, "f2">;

/** An array of numbers, little-endian, row-major. */
export function writeNpy({ type, shape, data }: { type: WritableNpyType; shape: readonly number[]; data: NpyData }): Uint8Array {
  const { bytes, make } = TYPES[type];
  if (!(data instanceof make)) throw new RangeError(`npy: ${type} is written from a ${make.name}, got a ${data.constructor.name}`);
  if (!shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0) || shape.reduce((product, dimension) => product * dimension, 1) !== data.length) throw new RangeError(`npy: shape [${shape.join(", ")}] got ${data.length} values`);
  return withHeader(`'${bytes === 1 ? "|" : "<"}${type}'`, shape, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

/** A field of a table: its name, "" for padding; its type, or the number of bytes of padding; its values. */
export type NpyColumn = readonly [name: string, type: WritableNpyType, value: (row: number) => number | bigint] | readonly [name: "", padding: number];

/** Records, little-endian and packed but for padding that is asked for. */
export function writeNpyTable(rows: number, columns: readonly NpyColumn[]): Uint8Array {
  const sizeOf = ([, type]: NpyColumn) => (typeof type === "number" ? type : TYPES[type].bytes);
  const rowBytes = columns.reduce((sum, column) => sum + sizeOf(column), 0);
  const data = new Uint8Array(rows * rowBytes), view = new DataView(data.buffer);
  let at = 0;
  for (const column of columns) {
    if (typeof column[1] !== "number") {
      const [, type, value] = column;
      for (let row = 0, to = at; row < rows; row++, to += rowBytes) put[type](view, to, value(row));
    }
    at += sizeOf(column);
  }
  const descr = columns.map(([name, type]) => `('${name}', '${typeof type === "number" ? `|V${type}` : `${TYPES[type].bytes === 1 ? "|" : "<"}${type}`}')`);
  return withHeader(`[${descr.join(", ")}]`, [rows], data);
}

const put: Record<WritableNpyType, (view: DataView, at: number, value: number | bigint) => void> = {
  f4: (view, at, value) => view.setFloat32(at, Number(value), true),
  f8: (view, at, value) => view.setFloat64(at, Number(value), true),
  i1: (view, at, value) => view.setInt8(at, Number(value)),
  i2: (view, at, value) => view.setInt16(at, Number(value), true),
  i4: (view, at, value) => view.setInt32(at, Number(value), true),
  i8: (view, at, value) => view.setBigInt64(at, BigInt(value), true),
  u1: (view, at, value) => view.setUint8(at, Number(value)),
  u2: (view, at, value) => view.setUint16(at, Number(value), true),
  u4: (view, at, value) => view.setUint32(at, Number(value), true),
  u8: (view, at, value) => view.setBigUint64(at, BigInt(value), true),
  b1: (view, at, value) => view.setUint8(at, Number(value)),
};

/** Version 1.0, the data starting at a multiple of 64 bytes, as np.save writes it. */
function withHeader(descr: string, shape: readonly number[], data: Uint8Array): Uint8Array {
  const text = `{'descr': ${descr}, 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), }`;
  const start = Math.ceil((10 + text.length + 1) / 64) * 64, out = new Uint8Array(start + data.length).fill(0x20, 0, start);
  out.set([...MAGIC, 1, 0]);
  new DataView(out.buffer).setUint16(8, start - 10, true);
  out.set(new TextEncoder().encode(text), 10);
  out[start - 1] = 0x0a;
  out.set(data, start);
  return out;
}
