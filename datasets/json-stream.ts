/**
 * JSON files that are larger than one wants in memory: an object of lists, or one list, read element after element.
 *
 *   {"info": {…}, "images": [{…}, {…}], "annotations": [{…}, …]}        [{…}, {…}]
 *             one element   one    one                    one             one
 *
 * Only the element at hand and a block of the file are in memory. Its end is found first, by counting brackets; then a Scanner of strict
 * JSON reads it, which refuses what JSON.parse hides, such as a key that appears twice.
 */
import { BrokenFile, type ByteSource } from "./file.ts";

export interface JsonLimits {
  /** Of one element. */
  readonly elementBytes: number;
  readonly depth: number;
  /** Keys of one object. */
  readonly keys: number;
}

/** Generous for any real annotation: its outline may have a hundred thousand points. */
export const jsonLimits: JsonLimits = { elementBytes: 8 << 20, depth: 64, keys: 4096 };

const BLOCK = 1 << 20;
const OPEN = 0x7b, CLOSE = 0x7d, LIST = 0x5b, UNLIST = 0x5d, QUOTE = 0x22, BACKSLASH = 0x5c, COMMA = 0x2c, COLON = 0x3a, SPACE = 0x20;

/** An element: in the list `key` of an object, or its only value, or (without a key) in the list that the file is. */
export type ElementReader = (scan: Scanner, key: string | undefined, inList: boolean) => void;

/** Reads a file to its end; `element` must read or `skip` each element that it is given. */
export async function readElements(source: ByteSource, element: ElementReader, limits: JsonLimits = jsonLimits): Promise<void> {
  const window = new Window(source, limits);
  await window.byteOrderMark();
  const first = await window.peek();
  if (first === LIST) await list(undefined);
  else if (first === OPEN) {
    const keys = new Set<string>();
    window.at++;
    if (await window.peek() !== CLOSE) for (;;) {
      const offset = window.offset, key = (await window.element("a key")).string(1024);
      if (keys.has(key)) window.fail(`key ${quoted(key)} appears twice`, offset);
      if (keys.size >= limits.keys) window.fail(`more than ${limits.keys} keys`, offset);
      keys.add(key);
      await window.expect(COLON);
      if (await window.peek() === LIST) await list(key);
      else await one(key, false);
      if (await window.peek() !== COMMA) break;
      window.at++;
      await window.peek();
    }
    await window.expect(CLOSE);
  } else window.fail(first === undefined ? "is empty, expected JSON" : "expected JSON, { or [");
  if (await window.peek() !== undefined) window.fail("expected the end of the file");

  async function one(key: string | undefined, inList: boolean): Promise<void> {
    const scan = await window.element("a value");
    element(scan, key, inList);
    scan.end();
  }
  async function list(key: string | undefined): Promise<void> {
    window.at++;
    if (await window.peek() === UNLIST) { window.at++; return; }
    for (;;) {
      await one(key, true);
      const next = await window.peek();
      window.at++;
      if (next === UNLIST) return;
      if (next !== COMMA) window.fail("expected , or ]", window.offset - 1);
      await window.peek();
    }
  }
}

/** The part of a file that is in memory. */
class Window {
  at = 0;
  private bytes: Uint8Array = new Uint8Array(0);
  /** Offset of bytes[0] in the file. */
  private base = 0;
  constructor(private readonly source: ByteSource, private readonly limits: JsonLimits) {}

  get offset(): number { return this.base + this.at; }
  fail(problem: string, offset = this.offset): never { throw new BrokenFile(this.source.name, problem, { offset }); }

  async byteOrderMark(): Promise<void> {
    await this.more();
    if (this.bytes[0] === 0xef && this.bytes[1] === 0xbb && this.bytes[2] === 0xbf) this.at = 3;
  }

  /** The next byte that is not white space, undefined at the end. */
  async peek(): Promise<number | undefined> {
    for (;;) {
      for (; this.at < this.bytes.length; this.at++) {
        const byte = this.bytes[this.at];
        if (byte !== SPACE && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte;
      }
      if (!await this.more()) return undefined;
    }
  }

  async expect(byte: number): Promise<void> {
    if (await this.peek() !== byte) this.fail(`expected ${String.fromCharCode(byte)}`);
    this.at++;
  }

  /** The value that starts here, whole. */
  async element(what: string): Promise<Scanner> {
    if (await this.peek() === undefined) this.fail(`ends where ${what} should be`);
    let length = 0, depth = 0, quoted = false;
    for (;;) {
      const { bytes } = this, start = this.at;
      let i = start + length, done = false;
      for (; i < bytes.length; i++) {
        const byte = bytes[i];
        if (quoted) {
          if (byte === BACKSLASH) i++;
          else if (byte === QUOTE) { quoted = false; if (depth === 0) { i++; done = true; break; } }
        } else if (byte === QUOTE) {
          if (depth === 0 && i > start) { done = true; break; }
          quoted = true;
        } else if (byte === OPEN || byte === LIST) depth++;
        else if (byte === CLOSE || byte === UNLIST) {
          if (depth === 0) { done = true; break; }
          if (--depth === 0) { i++; done = true; break; }
        } else if (depth === 0 && (byte === COMMA || byte === COLON || byte === SPACE || byte === 0x0a || byte === 0x0d || byte === 0x09)) { done = true; break; }
      }
      length = i - start;                                                                 // may be one past the end after a backslash there
      if (length > this.limits.elementBytes) this.fail(`${what} is longer than ${this.limits.elementBytes} bytes`);
      if (!done && await this.more()) continue;
      if (!done && (depth > 0 || quoted)) this.fail(`ends within ${what}`);
      const from = this.at;
      this.at = Math.min(from + length, this.bytes.length);
      return new Scanner(this.bytes, from, this.at, this.base, this.source.name, this.limits);
    }
  }

  /** Drops what is behind and reads on; false at the end of the file. */
  private async more(): Promise<boolean> {
    const { source, bytes } = this, end = this.base + bytes.length;
    if (end >= source.size) return false;
    const rest = bytes.subarray(this.at), next = await source.read(end, Math.max(BLOCK, rest.length));
    if (next.length === 0) this.fail(`ends here, expected ${source.size} bytes`, end);
    this.base += this.at;
    this.at = 0;
    if (rest.length === 0) this.bytes = next;
    else {
      this.bytes = new Uint8Array(rest.length + next.length);
      this.bytes.set(rest);
      this.bytes.set(next, rest.length);
    }
    return true;
  }
}

/** A name from a file, fit for a message. */
export const quoted = (name: string): string => JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);

/** How the members of an object are read into a row, by key. */
export type Fields<Row> = ReadonlyMap<string, (scan: Scanner, row: Row) => void>;

const POWERS = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];
const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads one JSON value, strictly. */
export class Scanner {
  constructor(private readonly bytes: Uint8Array, private at: number, private readonly stop: number, private readonly base: number, private readonly name: string, private readonly limits: JsonLimits) {}

  /** Of the next byte in the file. */
  get offset(): number { return this.base + this.at; }
  fail(problem: string, offset = this.offset): never { throw new BrokenFile(this.name, problem, { offset }); }

  /** Whether what comes next is an object, list, string or something else. */
  kind(): "object" | "list" | "string" | "other" {
    const byte = this.peek();
    return byte === OPEN ? "object" : byte === LIST ? "list" : byte === QUOTE ? "string" : "other";
  }

  /** An object: `member` is called after each key and its colon, and reads the value. */
  members(member: (key: string, offset: number) => void): void {
    this.expect(OPEN);
    if (this.take(CLOSE)) return;
    const keys: string[] = [];
    let many: Set<string> | undefined;
    do {
      this.peek();
      const offset = this.offset, key = this.string(1024);
      if (many ? many.has(key) : keys.includes(key)) this.fail(`key ${quoted(key)} appears twice`, offset);
      if (many) many.add(key); else if (keys.push(key) > 24) many = new Set(keys);
      if (many && many.size > this.limits.keys) this.fail(`more than ${this.limits.keys} keys`, offset);
      this.expect(COLON);
      member(key, offset);
    } while (this.take(COMMA));
    this.expect(CLOSE);
  }

  /** An object, the members that are known into `row`, the others passed over. */
  into<Row>(row: Row, fields: Fields<Row>): Row {
    this.members((key) => {
      const read = fields.get(key);
      if (read) read(this, row); else this.skip();
    });
    return row;
  }

  items(item: (i: number) => void): void {
    this.expect(LIST);
    if (this.take(UNLIST)) return;
    let i = 0;
    do item(i++); while (this.take(COMMA));
    this.expect(UNLIST);
  }

  /** Any value, checked but not kept. */
  skip(depth = 1): void {
    const byte = this.peek();
    if (byte === OPEN || byte === LIST) {
      if (depth >= this.limits.depth) this.fail(`nested deeper than ${this.limits.depth}`);
      if (byte === OPEN) this.members(() => this.skip(depth + 1)); else this.items(() => this.skip(depth + 1));
    } else if (byte === QUOTE) this.string();
    else if (byte === 0x74) this.word("true");
    else if (byte === 0x66) this.word("false");
    else if (byte === 0x6e) this.word("null");
    else this.number();
  }

  /** A number as JSON writes them; NaN and Infinity are none. */
  number(): number {
    this.peek();
    const { bytes, stop } = this, start = this.at;
    let at = start, mantissa = 0, digits = 0, decimals = 0, exponent = false;
    const negative = bytes[at] === 0x2d;
    if (negative) at++;
    const whole = at;
    for (let digit; at < stop && (digit = bytes[at] - 0x30) >= 0 && digit <= 9; at++) { mantissa = mantissa * 10 + digit; digits++; }
    if (digits === 0) this.fail(`expected a number, got ${this.here()}`);
    if (digits > 1 && bytes[whole] === 0x30) this.fail("a number begins with 0");
    if (at < stop && bytes[at] === 0x2e) {
      at++;
      const from = at;
      for (let digit; at < stop && (digit = bytes[at] - 0x30) >= 0 && digit <= 9; at++) { mantissa = mantissa * 10 + digit; digits++; }
      decimals = at - from;
      if (decimals === 0) this.fail("a number ends with its point");
    }
    if (at < stop && (bytes[at] | 0x20) === 0x65) {
      at++;
      exponent = true;
      if (bytes[at] === 0x2b || bytes[at] === 0x2d) at++;
      const from = at;
      while (at < stop && bytes[at] >= 0x30 && bytes[at] <= 0x39) at++;
      if (at === from) this.fail("a number has an exponent without digits");
    }
    this.at = at;
    if (digits <= 15 && !exponent && decimals < POWERS.length) return (negative ? -mantissa : mantissa) / POWERS[decimals];   // exact: one rounding, at the division
    if (at - start > 400) this.fail("a number is longer than 400 characters", this.base + start);
    const value = Number(String.fromCharCode(...bytes.subarray(start, at)));
    if (!Number.isFinite(value)) this.fail("a number is too large", this.base + start);
    return value;
  }

  integer(): number {
    this.peek();
    const offset = this.offset, value = this.number();
    if (!Number.isSafeInteger(value)) this.fail(`expected a whole number, got ${value}`, offset);
    return value;
  }

  /** 0, 1, false or true. */
  flag(): boolean {
    const byte = this.peek(), offset = this.offset;
    if (byte === 0x74) { this.word("true"); return true; }
    if (byte === 0x66) { this.word("false"); return false; }
    const value = this.number();
    if (value !== 0 && value !== 1) this.fail(`expected 0 or 1, got ${value}`, offset);
    return value === 1;
  }

  string(mostBytes = Infinity): string {
    this.expect(QUOTE);
    const { bytes, stop } = this, start = this.at;
    let escaped = false, plain = true, at = start;
    for (; bytes[at] !== QUOTE; at++) {
      if (at >= stop) this.fail("a string does not end", this.base + start);
      if (at - start >= mostBytes) this.fail(`a string is longer than ${mostBytes} bytes`, this.base + start);
      const byte = bytes[at];
      if (byte < SPACE) this.fail("a control character in a string", this.base + at);
      if (byte === BACKSLASH) { escaped = true; at++; } else if (byte > 0x7f) plain = false;
    }
    if (at >= stop) this.fail("a string does not end", this.base + start);
    this.at = at + 1;
    if (plain && !escaped && at - start <= 64) return short(bytes, start, at);
    try {
      const decoded = text.decode(bytes.subarray(start, at));
      return escaped ? JSON.parse(`"${decoded}"`) as string : decoded;
    } catch {
      return this.fail("a string is not valid UTF-8 or JSON", this.base + start);
    }
  }

  /** Nothing is left of the value. */
  end(): void {
    if (this.peek() !== undefined) this.fail(`expected the end of the value, got ${this.here()}`);
  }

  private word(word: string): void {
    for (let i = 0; i < word.length; i++) if (this.at + i >= this.stop || this.bytes[this.at + i] !== word.charCodeAt(i)) this.fail(`expected ${word}`);
    this.at += word.length;
  }

  private peek(): number | undefined {
    for (; this.at < this.stop; this.at++) {
      const byte = this.bytes[this.at];
      if (byte !== SPACE && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte;
    }
    return undefined;
  }
  private take(byte: number): boolean {
    if (this.peek() !== byte) return false;
    this.at++;
    return true;
  }
  private expect(byte: number): void {
    if (!this.take(byte)) this.fail(`expected ${String.fromCharCode(byte)}, got ${this.here()}`);
  }
  private here(): string {
    if (this.at >= this.stop) return "the end";
    const byte = this.bytes[this.at];
    return byte > SPACE && byte < 0x7f ? String.fromCharCode(byte) : `byte 0x${byte.toString(16).padStart(2, "0")}`;
  }
}

/** ASCII of at most 64 letters; a decoder costs more than it reads. */
function short(bytes: Uint8Array, start: number, end: number): string {
  let out = "";
  for (let i = start; i < end; i++) out += String.fromCharCode(bytes[i]);
  return out;
}

/** Numbers in a typed array that grows: half the room is spare at most. */
export class Column<A extends Float64Array | Uint8Array = Float64Array> {
  length = 0;
  private data: A;
  constructor(make: new (length: number) => A) { this.data = new make(16); }
  push(value: number): void {
    if (this.length === this.data.length) {
      const larger = new (this.data.constructor as new (length: number) => A)(2 * this.length);
      larger.set(this.data as never);
      this.data = larger;
    }
    this.data[this.length++] = value;
  }
  get values(): A { return this.data.subarray(0, this.length) as A; }
}

