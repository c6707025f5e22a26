/** What a reference kernel sees of the world: one linear memory, one real type, and how that type rounds. */
export type RealArray = Float32Array | Float64Array;

export interface Machine {
  /** Bytes of one real: 4, or 8 in the float64 twin. */
  readonly bytes: 4 | 8;
  /** Rounds an intermediate result to the real type, as the hardware does after each operation. */
  readonly round: (x: number) => number;
  /** Views that start at a byte address. Made late and never kept: they go empty when the memory grows. */
  real(pointer: number): RealArray;
  u8(pointer: number): Uint8Array;
  i8(pointer: number): Int8Array;
  u16(pointer: number): Uint16Array;
  i16(pointer: number): Int16Array;
  i32(pointer: number): Int32Array;
  f64(pointer: number): Float64Array;
}

export function machine(memory: WebAssembly.Memory, real: "f32" | "f64"): Machine {
  const wide = real === "f64";
  return {
    bytes: wide ? 8 : 4,
    round: wide ? (x) => x : Math.fround,
    real: (pointer) => (wide ? new Float64Array(memory.buffer, pointer) : new Float32Array(memory.buffer, pointer)),
    u8: (pointer) => new Uint8Array(memory.buffer, pointer),
    i8: (pointer) => new Int8Array(memory.buffer, pointer),
    u16: (pointer) => new Uint16Array(memory.buffer, pointer),
    i16: (pointer) => new Int16Array(memory.buffer, pointer),
    i32: (pointer) => new Int32Array(memory.buffer, pointer),
    f64: (pointer) => new Float64Array(memory.buffer, pointer),
  };
}

/** Round half to even, as `f32x4.nearest` does and `Math.round` does not. */
export function nearest(x: number): number {
  const floor = Math.floor(x);
  const above = x - floor;
  if (above < 0.5) return floor;
  if (above > 0.5) return floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}
