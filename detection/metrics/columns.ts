/**
 * Boxes of many images as columns: row i of each belongs together. What a protocol reads, so that half a million detections are a few
 * typed arrays and no objects.
 */

/** Where boxes are and what they are of. Images and classes are numbers of the caller's choice. */
export interface BoxColumns {
  readonly image: ArrayLike<number>;
  readonly class: ArrayLike<number>;
  /** Four numbers each; which four is the protocol's business. */
  readonly box: ArrayLike<number>;
}

export interface DetectionColumns extends BoxColumns {
  /** Larger is surer. */
  readonly score: ArrayLike<number>;
}

/** Refuses columns of unequal length and numbers that are none, naming row, value and remedy. */
export function checkColumns(protocol: string, what: string, { image, class: category, box, ...others }: BoxColumns & Readonly<Record<string, ArrayLike<number> | undefined>>): void {
  const n = image.length;
  const columns: [name: string, column: ArrayLike<number>, width: number][] = [["image", image, 1], ["class", category, 1], ["box", box, 4]];
  for (const [name, column] of Object.entries(others)) if (column) columns.push([name, column, 1]);
  for (const [name, column, width] of columns) {
    if (column.length !== width * n) throw new Error(`${protocol}: ${what}s: expected ${width * n} numbers in column "${name}" for ${n} rows, got ${column.length}`);
    for (let i = 0; i < column.length; i++) {
      if (!Number.isFinite(column[i])) throw new Error(`${protocol}: ${what} ${Math.floor(i / width)} (image ${image[Math.floor(i / width)]}) has ${name} ${column[i]}, expected a finite number; leave it out or repair it`);
    }
  }
}

/** The ids in rising order, each once. */
export const ascending = (ids: ArrayLike<number>): Float64Array => Float64Array.from(new Set(Array.from(ids))).sort();

/** The place of each id among the sorted ones; -1 where it is not among them. */
export function placesOf(ids: ArrayLike<number>, sorted: Float64Array): Int32Array {
  const places = new Map(Array.from(sorted, (id, place) => [id, place]));
  return Int32Array.from(ids, (id) => places.get(id) ?? -1);
}

/** Rows from the surest detection down; rows of equal score keep their order. */
export function byFallingScore(score: ArrayLike<number>): Uint32Array {
  return Uint32Array.from({ length: score.length }, (_, i) => i).sort((a, b) => score[b] - score[a] || a - b);
}

/** The rows in the order of their key (0 to keys - 1), those of equal keys in the order given, those of negative keys left out. */
export function sortedByKey(rows: Uint32Array, key: Int32Array, keys: number): Uint32Array {
  const start = new Uint32Array(keys + 1);
  for (let i = 0; i < rows.length; i++) if (key[rows[i]] >= 0) start[key[rows[i]] + 1]++;
  for (let k = 0; k < keys; k++) start[k + 1] += start[k];
  const sorted = new Uint32Array(start[keys]);
  for (let i = 0; i < rows.length; i++) if (key[rows[i]] >= 0) sorted[start[key[rows[i]]]++] = rows[i];
  return sorted;
}

export const everyRow = (n: number): Uint32Array => Uint32Array.from({ length: n }, (_, i) => i);
