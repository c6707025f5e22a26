/** onnxruntime-web on its WASM SIMD backend: NCHW, weights packed when a session is made, graph optimised. */
import { onnxModel } from "./onnx.ts";
import { packages, type OrtSession } from "./packages.ts";
import { transposed, type Problem, type Side } from "./problem.ts";

export const ortVersion = (): string => `onnxruntime-web ${packages.onnxruntime().env.versions.web}`;

export async function ortSides({ pass, shape: { B, S, C, N, k }, groups, x, w }: Problem, threads: number): Promise<Side[]> {
  if (pass !== "forward") return [];
  const ort = packages.onnxruntime();
  ort.env.wasm.numThreads = threads;
  const session = (model: Uint8Array): Promise<OrtSession> => ort.InferenceSession.create(model, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
  const tensors = { x: { name: "x", dims: [B, C, S, S] }, y: { name: "y", dims: [B, N, S, S] } };
  const convolution = await session(onnxModel({
    op: "Conv", inputs: ["x", "w"], ...tensors,
    w: { name: "w", dims: [N, C / groups, k, k], data: transposed(w, N, k * k, C / groups) },
    attributes: { group: groups, kernel_shape: [k, k], pads: Array(4).fill(k >> 1), strides: [1, 1] },
  }));
  const carrier = await session(onnxModel({ op: "Concat", inputs: Array(N / C).fill("x"), ...tensors, attributes: { axis: 1 } })); // moves as much in and out
  const feeds = { x: new ort.Tensor("float32", transposed(x, B, S * S, C), [B, C, S, S]) };
  const time = async (one: OrtSession): Promise<number> => {
    const start = performance.now();
    await one.run(feeds);
    return performance.now() - start;
  };
  return [{
    name: "onnxruntime-web", form: "NCHW",
    time: () => time(convolution),
    overhead: () => time(carrier),
    result: async () => transposed((await convolution.run(feeds)).y.data as Float32Array, B, N, S * S),
    close: async () => { await convolution.release(); await carrier.release(); },
  }];
}
