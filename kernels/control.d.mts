export const CONTROL: number;
export const FIELDS: Readonly<Record<"sequence" | "open" | "next" | "failed" | "taken" | "states" | "arguments" | "end", number>>;
export const STATES: Readonly<Record<"away" | "inside" | "asleep", number>>;
