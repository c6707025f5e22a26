/** The builds that this host runs: each SIMD build and the reference. */
import { instantiateKernels, type Build } from "../../kernels/load.ts";

export const builds: Build[] = ["reference"];
for (const build of ["simd", "relaxed"] as const) {
  try {
    await instantiateKernels({ build });
    builds.push(build);
  } catch (error) {
    if (!/does not run on this host/.test(String(error))) throw error;
  }
}
