/** The table of contents of the SIMD build. */
export * from "./elementwise";
export * from "./gemm";
export * from "./conv";
export * from "./winograd";
export * from "./depthwise";
export * from "./rows";
export * from "./norm";
export * from "./pool";
export * from "./neuron";
export * from "./spike";
export * from "./spike-grad";
export * from "./fixed";
export * from "./loss";
export * from "./optimizer";
