/** Shapes are plain arrays of sizes, outermost first: [T, B, H, W, C]. */
export type Shape = readonly number[];

export const sizeOf = (shape: Shape): number => shape.reduce((product, n) => product * n, 1);
export const show = (shape: Shape): string => `[${shape.join(", ")}]`;
export const equalShapes = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((n, i) => n === b[i]);

interface Shaped { readonly shape: Shape }

/** The shape that all operands share; refuses unequal ones by name. */
export function sameShape(op: string, first: Shaped, ...others: Shaped[]): Shape {
  for (const other of others) {
    if (!equalShapes(first.shape, other.shape)) throw new Error(`${op}: expected equal shapes, got ${show(first.shape)} and ${show(other.shape)}`);
  }
  return first.shape;
}

/** Refuses a tensor whose number of axes differs from what the op reads. */
export function expectRank(op: string, axes: string, { shape }: Shaped): void {
  const rank = axes.split(",").length;
  if (shape.length !== rank) throw new Error(`${op}: expected [${axes}], got ${show(shape)}`);
}

/** Refuses what is not a whole number from least to most. */
export function expectWhole(op: string, name: string, value: number, least: number, most = Infinity): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new Error(`${op}: ${name} must be a whole number ${most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`}, got ${value}`);
}

/** Size of the last axis, and how many rows of it there are. */
export const lastAxis = (shape: Shape): number => shape[shape.length - 1];
export const rowsOf = (shape: Shape): number => sizeOf(shape.slice(0, -1));
