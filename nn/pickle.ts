/**
 * Python's pickles, read by a machine that has no way to run anything.
 *
 * A pickle is a program for a stack: opcodes push values, and some call what a name stands for. Here a name stands for nothing but a row in the
 * table that the caller brings (`PickleRules`): a name without a row is refused where it appears, before anything could use it. Opcodes
 * that torch.save does not write are refused by name. What is made is data: numbers, texts, lists, maps, and records of objects.
 *
 * Every byte makes at most one value of a bounded size, and `pickleLimits` bounds their number. Nothing here recurses.
 */
import { FormatError } from "./safetensors.ts";

/** What a name in a pickle may be used for. */
export interface GlobalRule {
  /** As the callee of REDUCE: makes a value of the arguments. */
  readonly call?: (args: readonly unknown[], fail: Fail) => unknown;
  /** As a class, whose objects are records (NEWOBJ, BUILD). */
  readonly records?: boolean;
  /** As a value: what is pushed in place of the name. */
  readonly value?: unknown;
}

export type Fail = (problem: string) => never;

export interface PickleRules {
  /** The row of a name; undefined refuses it. */
  global(module: string, name: string): GlobalRule | undefined;
  /** What a persistent id stands for: values that lie outside of the pickle. */
  persistent(id: unknown, fail: Fail): unknown;
}

export const pickleLimits = { bytes: 16 << 20, stringBytes: 1 << 20, containers: 250_000, stack: 500_000, memo: 500_000 } as const;

/** A tuple. Lists are arrays, dicts are Maps. */
export class Tuple { constructor(readonly items: readonly unknown[]) {} }

/** A name that the rules know, as it lies on the stack. */
export class GlobalName { constructor(readonly name: string, readonly rule: GlobalRule) {} }

/** An object as a record: its class by name, what it was made of, and the state that it was given. */
export class PickledObject {
  state: unknown;
  constructor(readonly type: string, readonly args: readonly unknown[]) {}
  /** An attribute, where the state is a dict. */
  field(name: string): unknown { return this.state instanceof Map ? this.state.get(name) : undefined; }
}

const MARK = Symbol("mark");

/** Opcodes that are refused, by the names that Python gives them. */
const REFUSED: Readonly<Record<string, string>> = {
  "0": "POP", "1": "POP_MARK", "2": "DUP", F: "FLOAT", I: "INT", L: "LONG", "\x8b": "LONG4", P: "PERSID", R: "REDUCE", S: "STRING", V: "UNICODE", d: "DICT", l: "LIST",
  i: "INST", o: "OBJ", g: "GET", p: "PUT", "\x82": "EXT1", "\x83": "EXT2", "\x84": "EXT4", "\x90": "ADDITEMS", "\x91": "FROZENSET", "\x92": "NEWOBJ_EX",
  "\x96": "BYTEARRAY8", "\x97": "NEXT_BUFFER", "\x98": "READONLY_BUFFER",
};

/** The value that a pickle describes. `at`: where its bytes lie in the file, for messages. Throws FormatError. */
export function readPickle(bytes: Uint8Array, rules: PickleRules, at = 0): unknown { return new Machine(bytes, rules, at).run(); }

class Machine {
  private position = 0;
  private opcode = 0;
  private containers = 0;
  private stack: unknown[] = [];
  private readonly memo = new Map<number, unknown>();
  private readonly view: DataView;
  private readonly utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  constructor(private readonly bytes: Uint8Array, private readonly rules: PickleRules, private readonly start: number) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (bytes.length > pickleLimits.bytes) this.fail(`has ${bytes.length} bytes, more than the limit of ${pickleLimits.bytes}`);
  }

  run(): unknown {
    for (;;) {
      this.opcode = this.position;
      const code = this.bytes[this.skip(1)];
      if (code === 0x2e) break; // STOP
      this.step(String.fromCharCode(code));
      if (this.stack.length > pickleLimits.stack) this.fail(`has more than ${pickleLimits.stack} values on its stack`);
    }
    const result = this.pop();
    if (this.stack.length > 0) this.fail("ends with values left over");
    if (this.position !== this.bytes.length) this.fail(`ends at byte ${this.start + this.position}, before its ${this.bytes.length} bytes do`);
    return result;
  }

  private readonly fail: Fail = (problem) => { throw new FormatError(`pickle: ${problem} (byte ${this.start + this.opcode})`, this.start + this.opcode); };

  private step(code: string): void {
    switch (code) {
      case "\x80": return this.protocol(this.u8());
      case "\x95": return void this.length(this.u64(), "a frame"); // FRAME: its bytes are read like any others
      case "(": return this.push(MARK);
      case "N": return this.push(null);
      case "\x88": return this.push(true);
      case "\x89": return this.push(false);
      case "K": return this.push(this.u8());
      case "M": return this.push(this.view.getUint16(this.skip(2), true));
      case "J": return this.push(this.view.getInt32(this.skip(4), true));
      case "G": return this.push(this.view.getFloat64(this.skip(8), false));
      case "\x8a": return this.push(this.long(this.u8()));
      case "X": return this.push(this.text(this.u32()));
      case "\x8c": return this.push(this.text(this.u8()));
      case "\x8d": return this.push(this.text(this.u64()));
      case "T": case "B": return this.push(this.raw(this.u32())); // BINSTRING, BINBYTES
      case "U": case "C": return this.push(this.raw(this.u8()));  // the short ones
      case "\x8e": return this.push(this.raw(this.u64()));
      case "]": return this.push(this.made([]));
      case "}": return this.push(this.made(new Map()));
      case ")": return this.push(this.made(new Tuple([])));
      case "t": return this.push(this.made(new Tuple(this.popMark())));
      case "\x85": return this.push(this.made(new Tuple(this.popSome(1))));
      case "\x86": return this.push(this.made(new Tuple(this.popSome(2))));
      case "\x87": return this.push(this.made(new Tuple(this.popSome(3))));
      case "a": return this.append(this.popSome(1));
      case "e": return this.append(this.popMark());
      case "s": return this.setItems(this.popSome(2));
      case "u": return this.setItems(this.popMark());
      case "q": return this.remember(this.u8());
      case "r": return this.remember(this.u32());
      case "\x94": return this.remember(this.memo.size);
      case "h": return this.recall(this.u8());
      case "j": return this.recall(this.u32());
      case "c": return this.global(this.line(), this.line());
      case "\x93": return this.stackGlobal();
      case "Q": return this.push(this.rules.persistent(this.pop(), this.fail));
      case "R": return this.reduce();
      case "\x81": return this.newObject();
      case "b": return this.build();
      default: return this.fail(REFUSED[code] ? `uses the opcode ${REFUSED[code]}, which torch.save does not write` : `holds the unknown opcode 0x${code.charCodeAt(0).toString(16).padStart(2, "0")}`);
    }
  }

  // ---- the bytes ----

  /** Where the next `n` bytes are, which must be there. */
  private skip(n: number): number {
    if (n > this.bytes.length - this.position) this.fail(`ends within ${this.position === this.opcode ? "the program" : "a value"}: ${n} bytes are wanted, ${this.bytes.length - this.position} are left`);
    const at = this.position;
    this.position += n;
    return at;
  }
  private u8(): number { return this.bytes[this.skip(1)]; }
  private u32(): number { return this.view.getUint32(this.skip(4), true); }
  private u64(): number {
    const n = this.view.getBigUint64(this.skip(8), true);
    return n > BigInt(Number.MAX_SAFE_INTEGER) ? this.fail(`claims ${n} bytes`) : Number(n);
  }

  private protocol(version: number): void { if (version < 2 || version > 5) this.fail(`is of protocol ${version}, expected 2 to 5`); }

  private length(n: number, of: string): number {
    if (n > this.bytes.length - this.position) this.fail(`${of} claims ${n} bytes, ${this.bytes.length - this.position} are left`);
    return n;
  }

  private raw(n: number): Uint8Array {
    if (this.length(n, "a string") > pickleLimits.stringBytes) this.fail(`a string has ${n} bytes, more than the limit of ${pickleLimits.stringBytes}`);
    const at = this.skip(n);
    return this.made(this.bytes.subarray(at, at + n));
  }

  private text(n: number): string {
    if (this.length(n, "a text") > pickleLimits.stringBytes) this.fail(`a text has ${n} bytes, more than the limit of ${pickleLimits.stringBytes}`);
    const at = this.skip(n);
    try { return this.utf8.decode(this.bytes.subarray(at, at + n)); } catch { return this.fail("a text is not UTF-8"); }
  }

  /** Up to the end of the line: half of a name. */
  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.position), n = end - this.position;
    if (end < 0 || n > 256) this.fail("a name of more than 256 bytes, or without an end");
    const text = this.text(n);
    this.skip(1);
    return text;
  }

  /** A whole number, little-endian two's complement. */
  private long(n: number): number | bigint {
    let value = 0n;
    const at = this.skip(n);
    for (let i = n - 1; i >= 0; i--) value = value << 8n | BigInt(this.bytes[at + i]);
    value = BigInt.asIntN(Math.max(1, 8 * n), value);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  // ---- the stack ----

  private push(value: unknown): void { this.stack.push(value); }

  private pop(): unknown {
    if (this.stack.length === 0) this.fail("takes more values than there are");
    const value = this.stack.pop();
    return value === MARK ? this.fail("takes a mark for a value") : value;
  }

  private popSome(n: number): unknown[] {
    const some = Array.from({ length: n }, () => this.pop());
    return some.reverse();
  }

  private popMark(): unknown[] {
    const mark = this.stack.lastIndexOf(MARK);
    if (mark < 0) this.fail("ends a list that does not begin");
    const items = this.stack.splice(mark);
    items.shift();
    return items;
  }

  private top(): unknown {
    const top = this.stack.at(-1);
    return this.stack.length === 0 || top === MARK ? this.fail("takes more values than there are") : top;
  }

  private made<V>(container: V): V {
    if (++this.containers > pickleLimits.containers) this.fail(`makes more than ${pickleLimits.containers} lists, dicts and objects`);
    return container;
  }

  private remember(index: number): void {
    if (this.memo.size >= pickleLimits.memo) this.fail(`remembers more than ${pickleLimits.memo} values`);
    this.memo.set(index, this.top());
  }

  private recall(index: number): void {
    if (!this.memo.has(index)) this.fail(`takes value ${index} from its memory, where there is none`);
    this.push(this.memo.get(index));
  }

  private append(items: readonly unknown[]): void {
    const list = this.top();
    if (!Array.isArray(list)) this.fail("appends to what is no list");
    for (const item of items) list.push(item);
  }

  private setItems(items: readonly unknown[]): void {
    const dict = this.top();
    if (!(dict instanceof Map)) this.fail("sets a key of what is no dict");
    if (items.length % 2) this.fail("sets a key without a value");
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (typeof key === "object" && key !== null && !(key instanceof Tuple)) this.fail("has a key that is no text and no number");
      if (dict.has(key)) this.fail(`has the key ${JSON.stringify(key instanceof Tuple ? "(...)" : String(key).slice(0, 80))} twice`); // the second would hide the first
      dict.set(key, items[i + 1]);
    }
  }

  // ---- names and objects ----

  private stackGlobal(): void {
    const [module, name] = this.popSome(2);
    if (typeof module !== "string" || typeof name !== "string") this.fail("names a global by what is no text");
    this.global(module, name);
  }

  private global(module: string, name: string): void {
    const full = `${module}.${name}`, rule = full.length > 256 ? undefined : this.rules.global(module, name);
    if (!rule) this.fail(`asks for ${JSON.stringify(full.slice(0, 80))}, which no checkpoint needs and which is not run here`);
    this.push("value" in rule ? rule.value : this.made(new GlobalName(full, rule)));
  }

  private reduce(): void {
    const [callee, args] = this.popSome(2);
    if (!(callee instanceof GlobalName) || !callee.rule.call) this.fail(`calls ${callee instanceof GlobalName ? JSON.stringify(callee.name) : "what is no name"}, which is not run here`);
    if (!(args instanceof Tuple)) this.fail(`calls ${JSON.stringify(callee.name)} with what is no tuple`);
    this.push(this.made(callee.rule.call(args.items, this.fail)));
  }

  private newObject(): void {
    const [type, args] = this.popSome(2);
    if (!(type instanceof GlobalName) || !type.rule.records) this.fail(`makes an object of ${type instanceof GlobalName ? JSON.stringify(type.name) : "what is no class"}`);
    if (!(args instanceof Tuple)) this.fail(`makes an object of ${JSON.stringify(type.name)} with what is no tuple`);
    this.push(this.made(new PickledObject(type.name, args.items)));
  }

  /** The state of an object. That of a dict, such as the versions in a state_dict, is not kept. */
  private build(): void {
    const state = this.pop(), object = this.top();
    if (object instanceof Map) return;
    if (!(object instanceof PickledObject)) this.fail("gives a state to what is no object");
    if (object.state !== undefined) this.fail(`gives a state to a ${JSON.stringify(object.type)} twice`);
    object.state = state;
  }
}
