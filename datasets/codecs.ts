/**
 * JPEG and WebP without native code: @jsquash, wrapped. A failed decode damages its instance, so after any failure the next call makes a new
 * one (13 ms), as it does every so many decodes even if all went well.
 */
import { upright } from "./exif.ts";
import type { Picture } from "./sample.ts";

interface Rgba { readonly width: number; readonly height: number; readonly data: Uint8Array | Uint8ClampedArray }
interface Decoding {
  init(module: WebAssembly.Module, options: object): Promise<void>;
  decode(bytes: ArrayBuffer): Promise<Rgba>;
}

interface Source { readonly wasm: string; load(): Promise<Decoding> }

const SOURCES: Readonly<Record<"jpeg" | "webp", Source>> = {
  jpeg: {
    wasm: "@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm",
    async load() {
      const { default: decode, init } = await import("@jsquash/jpeg/decode.js");
      return { init: init as unknown as Decoding["init"], decode: (bytes) => decode(bytes, { preserveOrientation: true }) };
    },
  },
  webp: {
    wasm: "@jsquash/webp/codec/dec/webp_dec.wasm",
    async load() {
      const { default: decode, init } = await import("@jsquash/webp/decode.js");
      return { init: init as unknown as Decoding["init"], decode };
    },
  },
};

/** Decodes after which an instance is replaced. */
const RECYCLE = 500;

class Codec {
  private module: Promise<WebAssembly.Module> | undefined;
  /** Decodes since the instance was made; 0: there is none. */
  private decodes = 0;
  /** One picture at a time, so that nobody else is inside an instance that fails. */
  private turn: Promise<unknown> = Promise.resolve();
  constructor(private readonly source: Source) {}

  decode(bytes: Uint8Array): Promise<Rgba> {
    const mine = this.turn.then(() => this.run(bytes));
    this.turn = mine.catch(() => {});
    return mine;
  }

  private async run(bytes: Uint8Array): Promise<Rgba> {
    const { init, decode } = await this.source.load(), module = await (this.module ??= compile(this.source.wasm));
    if (this.decodes % RECYCLE === 0) await init(module, { printErr: () => {} });
    try {
      this.decodes++;
      return await decode(new Uint8Array(bytes).buffer);
    } catch (error) {
      this.decodes = 0;
      throw error instanceof Error ? error : new Error(String(error));
    }
  }
}

const codecs = { jpeg: new Codec(SOURCES.jpeg), webp: new Codec(SOURCES.webp) };

/** `orientation` is for formats whose decoder does not turn pictures. */
export async function byWasm(kind: "jpeg" | "png" | "webp", bytes: Uint8Array, orientation: number): Promise<Picture> {
  if (kind === "png") throw new Error("PNG has a decoder of its own");
  globalThis.ImageData ??= PlainImageData as unknown as typeof ImageData;
  const { width, height, data } = await codecs[kind].decode(bytes);
  return upright({ width, height, pixels: withoutAlpha(data) }, orientation);
}

export function withoutAlpha(rgba: Uint8Array | Uint8ClampedArray): Uint8Array {
  const pixels = new Uint8Array(rgba.length / 4 * 3);
  for (let i = 0, from = 0; i < pixels.length; i += 3, from += 4) {
    pixels[i] = rgba[from];
    pixels[i + 1] = rgba[from + 1];
    pixels[i + 2] = rgba[from + 2];
  }
  return pixels;
}

/** What the decoders hand their pixels over in; Node has none. */
class PlainImageData {
  constructor(readonly data: Uint8ClampedArray, readonly width: number, readonly height: number) {}
}

async function compile(wasm: string): Promise<WebAssembly.Module> {
  const [{ createRequire }, { readFile }] = await Promise.all([import("node:module"), import("node:fs/promises")]);
  return WebAssembly.compile(await readFile(createRequire(import.meta.url).resolve(wasm)));
}
