export const CONTROL: number;
export const CONTROL_BYTES: number;
export const FIELDS: Readonly<Record<"sequence" | "failed" | "taken" | "oldest" | "states" | "open" | "next" | "arguments" | "errands" | "end", number>>;
export const ERRANDS: number;
export const STAGES: number;
export const STAGE: number;
export const STATES: Readonly<Record<"away" | "asleep" | "inTask", number>>;
export function inErrand(errand: number): number;
export interface Errand { readonly open: number; readonly next: number; readonly limit: number; readonly done: number; readonly broken: number; readonly calls: Float64Array }
export function errandIn(memory: WebAssembly.Memory, errand: number): Errand;
export function takePiece(words: Int32Array, errand: Errand, take: (kernel: number, begin: number, end: number, rest: number[]) => void): boolean;
