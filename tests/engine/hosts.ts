/** The two kernel sets that behaviour is tested on: the plain ones, and the best that this machine runs. */
import { loadKernels, type Host } from "../../engine/index.ts";

export const kernelSets: readonly (readonly [name: string, load: () => Promise<Host>])[] = [
  ["plain kernels", () => loadKernels({ build: "reference" })],
  ["best kernels", () => loadKernels()],
];
