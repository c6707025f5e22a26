export const CONTROL: number;
export const FIELDS: Readonly<Record<"sequence" | "sleepers" | "active" | "open" | "next" | "failed" | "taken" | "arguments" | "end", number>>;
