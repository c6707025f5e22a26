/** TensorFlow.js on its WASM backend (XNNPACK with SIMD; in Node it has one thread): NHWC, filters packed at their first use. */
import { packages } from "./packages.ts";
import { timed, transposed, type Problem, type Side } from "./problem.ts";

export const tfjsVersion = (): string => `@tensorflow/tfjs-backend-wasm ${packages.tensorflow().version_core}`;

export async function tfjsSides({ pass, shape: { B, S, C, N, k }, groups, x, w }: Problem, threads: number): Promise<Side[]> {
  if (pass !== "forward" || threads !== 1) return [];
  const tf = packages.tensorflow();
  if (!(await tf.setBackend("wasm"))) throw new Error("bench: TensorFlow.js does not start its WASM backend here");
  await tf.ready();
  const depthwise = groups > 1, filters = transposed(w, 1, N, w.length / N); // [k, k, C, N], or [k, k, C, 1]
  const input = tf.tensor4d(x, [B, S, S, C]), filter = tf.tensor4d(filters, depthwise ? [k, k, C, 1] : [k, k, C, N]);
  const convolve = () => (depthwise ? tf.depthwiseConv2d : tf.conv2d)(input, filter, 1, "same");
  return [{
    name: "tfjs-backend-wasm", form: "NHWC",
    time: () => timed(() => convolve().dispose()),
    result: () => {
      const y = convolve(), values = y.dataSync().slice();
      y.dispose();
      return values;
    },
    close: () => { input.dispose(); filter.dispose(); },
  }];
}
