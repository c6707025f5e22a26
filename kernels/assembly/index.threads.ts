/** The table of contents of the SIMD builds with shared memory. */
export * from "./index";
export * from "./threads";
