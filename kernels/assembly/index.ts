/** The table of contents of the SIMD build. */
export * from "./elementwise";
export * from "./gemm";
export * from "./conv";
export * from "./masked";
export * from "./winograd";
export * from "./depthwise";
export * from "./rows";
export * from "./norm";
export * from "./pool";
export * from "./neuron";
export * from "./spike";
export * from "./spike-grad";
export * from "./spike-i16";
export * from "./fixed";
export * from "./dot";
export * from "./loss";
export * from "./optimizer";
