/** What this machine can do at most, to hold kernels against: multiply-adds on registers in float32 and in integers, bytes copied. One thread. */
import { readFile } from "node:fs/promises";
import asc from "assemblyscript/asc";
import type { Build } from "../kernels/load.ts";

const SOURCE = new URL("../../bench/assembly/peak.ts", import.meta.url);
const ROUNDS = 200_000;

interface Peak {
  multiplyAdds(rounds: number, x: number, y: number): number;
  multiplyAdds16(rounds: number, x: number, y: number): number;
  dots8(rounds: number, x: number, y: number): number;
  copy(to: number, from: number, bytes: number): void;
}

export interface Limits {
  /** Runs multiply-adds and nothing else. */
  multiplyAdd(): void;
  /** Operations in one such run, 2 per multiply-add. */
  readonly flops: number;
  /** The same in int16, and dot products of int8 (of int16, in a build without relaxed SIMD), with the operations in one such run. */
  readonly int16: { run(): void; readonly operations: number };
  readonly int8: { run(): void; readonly operations: number };
  /** memory.copy in the memory given. */
  readonly copy: Peak["copy"];
}

/** Compiles the limits with the instructions that a build of the kernels has. */
export async function limitsOf(build: Build, memory = new WebAssembly.Memory({ initial: 1 })): Promise<Limits> {
  const bytes = await compiled(build === "relaxed" ? ["simd", "bulk-memory", "relaxed-simd"] : ["simd", "bulk-memory"]);
  const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
  const peak = instance.exports as unknown as Peak;
  const operations = (lanes: number): number => 2 * lanes * 12 * ROUNDS;
  return {
    multiplyAdd: () => { peak.multiplyAdds(ROUNDS, 0.5, 1); }, flops: operations(4),
    int16: { run: () => { peak.multiplyAdds16(ROUNDS, 3, 1); }, operations: operations(8) },
    int8: { run: () => { peak.dots8(ROUNDS, 3, 1); }, operations: operations(build === "relaxed" ? 16 : 8) },
    copy: peak.copy,
  };
}

async function compiled(features: string[]): Promise<Uint8Array<ArrayBuffer>> {
  const source = await readFile(SOURCE, "utf8");
  let bytes: Uint8Array | undefined;
  const options = ["-O3", "--noAssert", "--runtime", "stub", "--importMemory", "--enable", features.join(",")];
  const { error, stderr } = await asc.main(["peak.ts", "--outFile", "peak.wasm", ...options], {
    readFile: (name) => (name === "peak.ts" ? source : null),
    writeFile: (_, contents) => { bytes = contents as Uint8Array; },
    listFiles: () => [],
  });
  if (error || !bytes) throw new Error(`bench: peak.ts does not compile: ${stderr.toString() || error?.message}`);
  return new Uint8Array(bytes);
}
