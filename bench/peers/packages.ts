/** The peers' packages: installed beside this bench's package.json when it first runs, so that nothing else ever fetches them. */
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** bench/peers of the source tree, seen from dist/bench/peers. */
export const HOME = new URL("../../../bench/peers/", import.meta.url);
const require = createRequire(new URL("package.json", HOME));

/** What this bench uses of onnxruntime-web. */
export interface Ort {
  env: { wasm: { numThreads: number }; versions: { web?: string } };
  Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => { readonly data: unknown };
  InferenceSession: { create(model: Uint8Array, options: object): Promise<OrtSession> };
}
export interface OrtSession {
  run(feeds: Record<string, object>): Promise<Record<string, { readonly data: unknown }>>;
  release(): Promise<void>;
}

/** … of TensorFlow.js. */
export interface Tf {
  version_core: string;
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  tensor4d(values: Float32Array, shape: readonly number[]): TfTensor;
  conv2d(x: TfTensor, filter: TfTensor, stride: number, padding: "same"): TfTensor;
  depthwiseConv2d(x: TfTensor, filter: TfTensor, stride: number, padding: "same"): TfTensor;
}
export interface TfTensor { dataSync(): Float32Array; dispose(): void }

interface MessageType { fromObject(object: object): object; encode(message: object): { finish(): Uint8Array } }
interface Protobuf { Root: { fromJSON(json: object): { lookupType(name: string): MessageType } } }

export const packages = {
  onnxruntime: () => require("onnxruntime-web") as Ort,
  tensorflow: () => {
    const tf = require("@tensorflow/tfjs-core") as Tf;
    require("@tensorflow/tfjs-backend-wasm"); // registers itself
    return tf;
  },
  protobufjs: () => require("protobufjs") as Protobuf,
};

export function installPeers(): void {
  const installed = new URL("node_modules/.package-lock.json", HOME), wanted = new URL("package-lock.json", HOME);
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(wanted).mtimeMs) return;
  console.error("installing the peers with npm (once) ...");
  const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ["npm"];
  const [command, ...args] = [...npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  const { status, error, stderr } = spawnSync(command, args, { cwd: fileURLToPath(HOME), encoding: "utf8", shell: process.platform === "win32" && command === "npm" });
  if (status !== 0) throw new Error(`bench: npm cannot install the peers: ${error?.message ?? stderr.trim()}`);
}
