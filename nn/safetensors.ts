/**
 * The safetensors format: named tensors in one file.
 *
 *   0        8                8 + n
 *   | u64 n  | JSON header … | data, tensor after tensor without a gap |
 *
 *   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …, "__metadata__": {"key": "text"}}
 *
 * A file is a stranger: nothing in it is believed before it is checked, nothing is allocated on its word, and whatever is wrong with it
 * is a FormatError. The header is read by a parser of exactly this grammar, because JSON.parse hides duplicate keys.
 */

/** A file that is not what it says; `offset` is the byte where that shows. */
export class FormatError extends Error {
  override readonly name = "FormatError";
  constructor(message: string, readonly offset: number) {
    super(message);
  }
}

/** The array each type is read as. */
interface Arrays {
  F64: Float64Array;
  F32: Float32Array;
  /** Half precision and bfloat16 are widened: every value of theirs is a float32. */
  F16: Float32Array;
  BF16: Float32Array;
  I64: BigInt64Array;
  U64: BigUint64Array;
  I32: Int32Array;
  U32: Uint32Array;
  I16: Int16Array;
  U16: Uint16Array;
  I8: Int8Array;
  U8: Uint8Array;
  /** One byte each; 0 is false. */
  BOOL: Uint8Array;
}

export type DType = keyof Arrays;

const BYTES = new Map<string, number>([
  ["F64", 8], ["I64", 8], ["U64", 8], ["F32", 4], ["I32", 4], ["U32", 4],
  ["F16", 2], ["BF16", 2], ["I16", 2], ["U16", 2], ["I8", 1], ["U8", 1], ["BOOL", 1],
]);

export const dtypeBytes = (dtype: DType): number => BYTES.get(dtype)!;

/** A tensor of a file; `read` copies its values out, a new array each time. */
export type StoredTensor = { [D in DType]: { readonly dtype: D; readonly shape: readonly number[]; read(): Arrays[D] } }[DType];

/** A tensor to write: row-major values, as many as the shape says. */
export type TensorData = { [D in WritableDType]: { readonly dtype: D; readonly shape: readonly number[]; readonly data: Arrays[D] } }[WritableDType];

export type WritableDType = Exclude<DType, "F16" | "BF16">;

export interface SafetensorsLimits {
  readonly headerBytes: number;
  /** Tensors, and metadata keys. */
  readonly entries: number;
  readonly rank: number;
  readonly nameBytes: number;
}

/** Generous for any real file, small for a machine. */
export const safetensorsLimits: SafetensorsLimits = { headerBytes: 100_000_000, entries: 100_000, rank: 32, nameBytes: 1024 };

const METADATA = "__metadata__";

export interface Safetensors {
  /** In the order of the header. */
  readonly tensors: Map<string, StoredTensor>;
  readonly metadata: Map<string, string>;
}

// ---- reading ----

export function readSafetensors(bytes: Uint8Array, limits: SafetensorsLimits = safetensorsLimits): Safetensors {
  if (bytes.length < 8) throw new FormatError(`safetensors: expected at least 8 bytes, got ${bytes.length}`, 0);
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(limits.headerBytes)) throw new FormatError(`safetensors: the header claims ${length} bytes, the limit is ${limits.headerBytes}`, 0);
  if (length > BigInt(bytes.length - 8)) throw new FormatError(`safetensors: the header claims ${length} bytes, the file has ${bytes.length - 8} after its length`, 0);

  const start = 8 + Number(length);
  const { entries, metadata } = parseHeader(bytes.subarray(0, start), limits);
  checkLayout(entries, bytes.length - start, start);

  const tensors = new Map<string, StoredTensor>();
  for (const { name, dtype, shape, begin, end } of entries) {
    tensors.set(name, { dtype, shape, read: () => decode(dtype, copy(bytes, start + begin, start + end)) } as StoredTensor);
  }
  return { tensors, metadata };
}

/** Not bytes.slice: that of a Node Buffer copies nothing. */
const copy = (bytes: Uint8Array, begin: number, end: number): ArrayBuffer => new Uint8Array(bytes.subarray(begin, end)).buffer;

interface Entry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** From the start of the data. */
  readonly begin: number;
  readonly end: number;
  /** Of its name in the file, for messages. */
  readonly offset: number;
}

/** The tensors fill the data without gap, overlap or rest, so no byte is read twice or hides. */
function checkLayout(entries: readonly Entry[], dataBytes: number, start: number): void {
  let free = 0;
  for (const { name, begin, end, offset } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (end > dataBytes) throw new FormatError(`safetensors: tensor ${quote(name)} ends at ${end} of ${dataBytes} bytes of data`, offset);
    if (begin < free) throw new FormatError(`safetensors: tensor ${quote(name)} begins at ${begin}, inside the one before it`, offset);
    if (begin > free) throw new FormatError(`safetensors: ${begin - free} bytes before tensor ${quote(name)} belong to no tensor`, offset);
    free = end;
  }
  if (free !== dataBytes) throw new FormatError(`safetensors: ${dataBytes - free} bytes after the last tensor belong to no tensor`, start + free);
}

/** A name from a file, fit for a message. */
const quote = (name: string): string => JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);

function parseHeader(bytes: Uint8Array, limits: SafetensorsLimits): { entries: Entry[]; metadata: Map<string, string> } {
  const scan = new Scanner(bytes, 8);
  const entries: Entry[] = [], names = new Set<string>();
  const metadata = new Map<string, string>();
  if (bytes[8] !== OPEN) scan.fail("the header does not begin with {");
  scan.members(limits.nameBytes, (name, offset) => {
    if (names.has(name)) scan.fail(`${quote(name)} appears twice`, offset);
    if (names.size >= limits.entries) scan.fail(`more than ${limits.entries} tensors`, offset);
    names.add(name);
    if (name !== METADATA) return void entries.push(parseTensor(scan, name, offset, limits));
    scan.members(limits.nameBytes, (key, at) => {
      if (metadata.has(key)) scan.fail(`metadata ${quote(key)} appears twice`, at);
      if (metadata.size >= limits.entries) scan.fail(`more than ${limits.entries} metadata keys`, at);
      metadata.set(key, scan.string());
    });
  });
  scan.end();
  return { entries, metadata };
}

function parseTensor(scan: Scanner, name: string, offset: number, limits: SafetensorsLimits): Entry {
  let dtype: string | undefined, shape: number[] | undefined, range: number[] | undefined;
  scan.members(limits.nameBytes, (key, at) => {
    const known = key === "dtype" ? dtype : key === "shape" ? shape : key === "data_offsets" ? range : null;
    if (known === null) scan.fail(`tensor ${quote(name)} has an unknown field ${quote(key)}`, at);
    if (known !== undefined) scan.fail(`tensor ${quote(name)} has ${key} twice`, at);
    if (key === "dtype") dtype = scan.string(16);
    else if (key === "shape") shape = scan.integers(limits.rank);
    else range = scan.integers(2);
  });
  if (dtype === undefined) scan.fail(`tensor ${quote(name)} lacks dtype`, offset);
  if (shape === undefined) scan.fail(`tensor ${quote(name)} lacks shape`, offset);
  if (range === undefined) scan.fail(`tensor ${quote(name)} lacks data_offsets`, offset);
  const size = BYTES.get(dtype);
  if (size === undefined) scan.fail(`tensor ${quote(name)} has the unknown dtype ${quote(dtype)}`, offset);
  if (range.length !== 2 || range[1] < range[0]) scan.fail(`tensor ${quote(name)} has data_offsets [${range.join(", ")}], expected a begin and an end after it`, offset);

  const [begin, end] = range;
  const needed = shape.reduce((product, dimension) => product * dimension, size);
  if (!Number.isSafeInteger(needed)) scan.fail(`tensor ${quote(name)} of ${dtype} [${shape.join(", ")}] is larger than any file`, offset);
  if (needed !== end - begin) scan.fail(`tensor ${quote(name)} of ${dtype} [${shape.join(", ")}] needs ${needed} bytes, its offsets give ${end - begin}`, offset);
  return { name, dtype: dtype as DType, shape, begin, end, offset };
}

const OPEN = 0x7b, CLOSE = 0x7d, LIST = 0x5b, UNLIST = 0x5d, QUOTE = 0x22, BACKSLASH = 0x5c, COMMA = 0x2c, COLON = 0x3a, SPACE = 0x20;

/** Reads the JSON that a header may contain: objects, strings, lists of natural numbers. No recursion of its own. */
class Scanner {
  private readonly utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  constructor(private readonly bytes: Uint8Array, private at: number) {}

  fail(problem: string, offset = this.at): never {
    throw new FormatError(`safetensors: ${problem} (byte ${offset})`, offset);
  }

  /** An object: `member` is called after each key and its colon, and reads the value. */
  members(keyBytes: number, member: (key: string, offset: number) => void): void {
    this.expect(OPEN);
    if (this.skip(CLOSE)) return;
    do {
      this.space();
      const offset = this.at, key = this.string(keyBytes);
      this.expect(COLON);
      member(key, offset);
    } while (this.skip(COMMA));
    this.expect(CLOSE);
  }

  /** A list of at most `most` safe integers from 0 up. */
  integers(most: number): number[] {
    const out: number[] = [];
    this.expect(LIST);
    if (this.skip(UNLIST)) return out;
    do {
      if (out.length === most) this.fail(`expected at most ${most} numbers`);
      out.push(this.integer());
    } while (this.skip(COMMA));
    this.expect(UNLIST);
    return out;
  }

  private integer(): number {
    this.space();
    const start = this.at;
    let value = 0;
    for (; this.at < this.bytes.length; this.at++) {
      const digit = this.bytes[this.at] - 0x30;
      if (!(digit >= 0 && digit <= 9)) break;
      value = value * 10 + digit;
      if (!Number.isSafeInteger(value)) this.fail("a number is too large", start);
    }
    if (this.at === start) this.fail(`expected a number, got ${this.here()}`);
    if (this.at - start > 1 && this.bytes[start] === 0x30) this.fail("a number begins with 0", start);
    return value;
  }

  string(mostBytes = Infinity): string {
    this.expect(QUOTE);
    const start = this.at;
    let escaped = false;
    for (; this.bytes[this.at] !== QUOTE; this.at++) {
      if (this.at >= this.bytes.length) this.fail("a string does not end", start);
      if (this.at - start >= mostBytes) this.fail(`a string is longer than ${mostBytes} bytes`, start);
      if (this.bytes[this.at] < SPACE) this.fail("a control character in a string");
      if (this.bytes[this.at] === BACKSLASH) { escaped = true; this.at++; }
    }
    const inner = this.bytes.subarray(start, this.at++);
    let text: string;
    try {
      text = this.utf8.decode(inner);
      if (escaped) text = JSON.parse(`"${text}"`) as string;
    } catch {
      this.fail("a string is not valid UTF-8 or JSON", start);
    }
    if (/\p{Surrogate}/u.test(text)) this.fail("a string holds half a surrogate pair", start);
    return text;
  }

  /** Only white space is left. */
  end(): void {
    this.space();
    if (this.at < this.bytes.length) this.fail(`expected the end of the header, got ${this.here()}`);
  }

  private space(): void {
    for (; this.at < this.bytes.length; this.at++) {
      const byte = this.bytes[this.at];
      if (byte !== SPACE && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
    }
  }

  private skip(byte: number): boolean {
    this.space();
    if (this.bytes[this.at] !== byte) return false;
    this.at++;
    return true;
  }

  private expect(byte: number): void {
    if (!this.skip(byte)) this.fail(`expected ${String.fromCharCode(byte)}, got ${this.here()}`);
  }

  private here(): string {
    if (this.at >= this.bytes.length) return "the end of the header";
    const byte = this.bytes[this.at];
    return byte > SPACE && byte < 0x7f ? String.fromCharCode(byte) : `byte 0x${byte.toString(16).padStart(2, "0")}`;
  }
}

/** Typed arrays have the byte order of the machine; every machine that runs WebAssembly fast is little-endian, like the file. */
export function decode(dtype: DType, data: ArrayBuffer): Arrays[DType] {
  switch (dtype) {
    case "F64": return new Float64Array(data);
    case "F32": return new Float32Array(data);
    case "F16": return widenHalf(new Uint16Array(data));
    case "BF16": return widenBrain(new Uint16Array(data));
    case "I64": return new BigInt64Array(data);
    case "U64": return new BigUint64Array(data);
    case "I32": return new Int32Array(data);
    case "U32": return new Uint32Array(data);
    case "I16": return new Int16Array(data);
    case "U16": return new Uint16Array(data);
    case "I8": return new Int8Array(data);
    case "U8": case "BOOL": return new Uint8Array(data);
  }
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

/** A bfloat16 is the upper half of a float32. */
function widenBrain(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16;
  return new Float32Array(bits.buffer);
}

// ---- writing ----

/**
 * The same tensors and metadata give the same bytes, whatever order they come in. Tensors lie by falling element size, then by name, and the
 * header is padded to 8 bytes, so that every tensor starts at a multiple of its element size.
 */
export function writeSafetensors(tensors: ReadonlyMap<string, TensorData>, metadata: ReadonlyMap<string, string> = new Map()): Uint8Array {
  const names = [...tensors.keys()].sort((a, b) => BYTES.get(tensors.get(b)!.dtype)! - BYTES.get(tensors.get(a)!.dtype)! || (a < b ? -1 : 1));
  const fields: string[] = [];
  if (metadata.size > 0) {
    const pairs = [...metadata].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${json(key)}:${json(value)}`);
    fields.push(`"${METADATA}":{${pairs.join(",")}}`);
  }
  let end = 0;
  for (const name of names) {
    const { dtype, shape, data } = tensors.get(name)!;
    if (name === METADATA) throw new Error(`safetensors: a tensor cannot be called ${METADATA}`);
    if (!shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0) || shape.reduce((product, d) => product * d, 1) !== data.length) {
      throw new Error(`safetensors: tensor ${quote(name)} of shape [${shape.join(", ")}] got ${data.length} values`);
    }
    if (data.BYTES_PER_ELEMENT !== BYTES.get(dtype)) throw new Error(`safetensors: tensor ${quote(name)} of ${dtype} got a ${data.constructor.name}`);
    const begin = end;
    end += data.byteLength;
    fields.push(`${json(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[${begin},${end}]}`);
  }

  const header = new TextEncoder().encode(`{${fields.join(",")}}`);
  const start = Math.ceil((8 + header.length) / 8) * 8;
  const out = new Uint8Array(start + end).fill(SPACE, 8, start);
  new DataView(out.buffer).setBigUint64(0, BigInt(start - 8), true);
  out.set(header, 8);
  let at = start;
  for (const name of names) {
    const { data } = tensors.get(name)!;
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}

function json(text: string): string {
  if (/\p{Surrogate}/u.test(text)) throw new Error(`safetensors: ${quote(text)} holds half a surrogate pair`);
  return JSON.stringify(text);
}
