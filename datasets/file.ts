/** Files of strangers: read whole or in parts, or refused by name. node:fs is imported at the first call, so that this floor's index also loads in browsers. */
import { BrokenImage } from "./image.ts";
import { printable } from "./printable.ts";

export const MAX_IMAGE_BYTES = 256 << 20;

/** Where in a file something is wrong: a byte, and in a text the line too, from 1. */
export interface Place { readonly offset: number; readonly line?: number }

/** A file that is not what it should be. The message says which file, what is wrong there and where. */
export class BrokenFile extends Error {
  override readonly name = "BrokenFile";
  readonly offset: number;
  readonly line: number | undefined;
  constructor(readonly file: string, problem: string, { offset, line }: Place = { offset: 0 }, options?: ErrorOptions) {
    super(printable(`${file}: ${problem} (${line === undefined ? "" : `line ${line}, `}byte ${offset})`), options);
    this.offset = offset;
    this.line = line;
  }
}

/** Bytes that can be read at any place: a file, a Blob, an array. */
export interface ByteSource {
  readonly name: string;
  readonly size: number;
  /** The bytes from `offset` on, `length` of them or as many as there are. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

export const bytesSource = (bytes: Uint8Array, name: string): ByteSource =>
  ({ name, size: bytes.length, read: async (offset, length) => bytes.subarray(offset, offset + length) });

/** A regular file, opened for each read: no handle to forget. */
export async function fileSource(path: string, name = path): Promise<ByteSource> {
  const { open, stat } = await import("node:fs/promises");
  const trouble = (error: unknown): never => {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new BrokenFile(name, code === "ENOENT" ? "there is no such file" : `cannot be read (${code ?? message})`, undefined, { cause: error });
  };
  const found = await stat(path).catch(trouble);
  if (!found.isFile()) throw new BrokenFile(name, `expected a file, got ${found.isDirectory() ? "a folder" : "a pipe or a device"}`);
  return {
    name,
    size: found.size,
    async read(offset, length) {
      const handle = await open(path).catch(trouble);
      try {
        const bytes = new Uint8Array(Math.max(0, Math.min(length, found.size - offset)));
        let filled = 0;
        while (filled < bytes.length) {
          const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, offset + filled).catch(trouble);
          if (bytesRead === 0) throw new BrokenFile(name, `ends here, expected ${found.size} bytes; it was cut while it was read`, { offset: offset + filled });
          filled += bytesRead;
        }
        return bytes;
      } finally {
        await handle.close();
      }
    },
  };
}

/** All bytes of a source that must not be large. */
export async function readWhole(source: ByteSource, limit: number): Promise<Uint8Array> {
  if (source.size > limit) throw new BrokenFile(source.name, `has ${source.size} bytes, more than the limit of ${limit}`);
  return source.read(0, source.size);
}

/** UTF-8, with or without a byte order mark. */
export function textOf(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new BrokenFile(name, "is no UTF-8 text; save it as UTF-8", undefined, { cause: error });
  }
}

/** Whether a name from a file stays below the folder that it is taken from: no root, no drive, no "..", no backslash. */
export const staysInside = (name: string): boolean => !/^[/]|^[A-Za-z]:|[\\\0]|(^|[/])\.\.([/]|$)/.test(name) && name.trim() !== "";

/** The bytes of a regular file. One that is missing, no file, too large or locked is a BrokenImage that calls it `name`. */
export async function readRegular(path: string, name: string, limit = MAX_IMAGE_BYTES): Promise<Uint8Array> {
  const { readFile, stat } = await import("node:fs/promises");
  try {
    const found = await stat(path);
    if (!found.isFile()) throw new BrokenImage(`${name} is ${found.isDirectory() ? "a folder" : "a pipe or a device"}, expected a file`);
    if (found.size > limit) throw new BrokenImage(`${name} has ${found.size} bytes, more than the limit of ${limit}`);
    return await readFile(path);
  } catch (error) {
    if (error instanceof BrokenImage) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new BrokenImage(code === "ENOENT" ? `${name} is missing` : `${name} cannot be read (${code ?? message})`, { cause: error });
  }
}
