export const CONTROL: number;
export const FIELDS: Readonly<Record<"sequence" | "failed" | "taken" | "oldest" | "states" | "tasks" | "end", number>>;
export const TASKS: number;
export const STATES: Readonly<Record<"away" | "asleep", number>>;
export function inside(task: number): number;
export interface Task { readonly open: number; readonly next: number; readonly values: Float64Array }
export function taskIn(memory: WebAssembly.Memory, task: number): Task;
