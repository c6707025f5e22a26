/** Pickles and archives written by hand, opcode by opcode: what PyTorch writes, and what nobody should. */
import { zipSync } from "fflate";

type Code = Uint8Array | string;

/** Opcodes as letters, texts as they are, one byte a letter. */
export const code = (...parts: readonly Code[]): Uint8Array => {
  const pieces = parts.map((part) => (typeof part === "string" ? Uint8Array.from(part, (letter) => letter.charCodeAt(0)) : part));
  const out = new Uint8Array(pieces.reduce((n, { length }) => n + length, 0));
  let at = 0;
  for (const piece of pieces) { out.set(piece, at); at += piece.length; }
  return out;
};

const u32 = (n: number): Uint8Array => new Uint8Array(Uint32Array.of(n).buffer);
export const text = (value: string): Uint8Array => { const bytes = new TextEncoder().encode(value); return code("X", u32(bytes.length), bytes); };
export const int = (n: number): Uint8Array => code("J", u32(n));
export const name = (module: string, of: string): Uint8Array => code(`c${module}\n${of}\n`);
export const tuple = (...items: readonly Code[]): Uint8Array => code("(", ...items, "t");
export const list = (...items: readonly Code[]): Uint8Array => code("](", ...items, "e");
export const dict = (...items: readonly (readonly [Code, Code])[]): Uint8Array => code("}(", ...items.flat(), "u");
export const call = (callee: Code, ...args: readonly Code[]): Uint8Array => code(callee, tuple(...args), "R");
export const ordered = (...items: readonly (readonly [Code, Code])[]): Uint8Array => code(call(name("collections", "OrderedDict")), "(", ...items.flat(), "u");
export const object = (module: string, of: string, state: Code): Uint8Array => code(name(module, of), ")\x81", state, "b");
export const pickle = (...body: readonly Code[]): Uint8Array => code("\x80\x02", ...body, ".");

export const storage = (key: string, count: number, type = "FloatStorage"): Uint8Array => code(tuple(text("storage"), name("torch", type), text(key), text("cpu"), int(count)), "Q");
const ints = (values: readonly number[]): Uint8Array => tuple(...values.map(int));
export const tensor = (of: Code, shape: readonly number[], strides: readonly number[], offset = 0): Uint8Array =>
  call(name("torch._utils", "_rebuild_tensor_v2"), of, int(offset), ints(shape), ints(strides), "\x89", ordered());
export const parameter = (of: Code): Uint8Array => call(name("torch._utils", "_rebuild_parameter"), of, "\x88", ordered());
export const module_ = (of: string, { parameters = [], buffers = [], modules = [] }: { parameters?: [Code, Code][]; buffers?: [Code, Code][]; modules?: [Code, Code][] }): Uint8Array =>
  object("torch.nn.modules", of, dict([text("training"), "\x89"], [text("_parameters"), ordered(...parameters)], [text("_buffers"), ordered(...buffers)], [text("_modules"), ordered(...modules)]));

/** An archive as torch.save lays it out. */
export const archive = (program: Uint8Array, storages: Readonly<Record<string, Uint8Array>> = {}, more: Readonly<Record<string, Uint8Array>> = {}): Uint8Array =>
  zipSync({ "a/data.pkl": program, ...Object.fromEntries(Object.entries(storages).map(([key, bytes]) => [`a/data/${key}`, bytes])), "a/version": code("3\n"), ...more }, { level: 0 });

export const f32 = (...values: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
