export const CONTROL: number;
export const CONTROL_BYTES: number;
export const FIELDS: Readonly<Record<"sequence" | "failed" | "taken" | "oldest" | "states" | "open" | "next" | "arguments" | "errands" | "end", number>>;
export const ERRANDS: number;
export const CALLS: number;
export const CALL: number;
export const STATES: Readonly<Record<"away" | "asleep" | "inTask", number>>;
export function insideErrand(errand: number): number;
export interface Errand { readonly open: number; readonly next: number; readonly limit: number; readonly done: number; readonly broken: number; readonly calls: Float64Array }
export function wordsOf(memory: WebAssembly.Memory, errand: number): Errand;
export function takePiece(words: Int32Array, errand: Errand, take: (kernel: number, begin: number, end: number, rest: number[]) => void): boolean;
