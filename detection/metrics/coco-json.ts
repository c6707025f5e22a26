/** What COCO's two files hold, as columns: "instances" (images, categories, annotations), and "results" (a list of detections). */
import type { CocoSet } from "./coco.ts";

const FIELDS = {
  annotation: ["id", "image_id", "category_id", "area"],
  result: ["image_id", "category_id", "score"],
} as const;

/** The set that both files describe; `instances` and `results` are parsed JSON, by whomever written. */
export function cocoSet(instances: unknown, results: unknown): CocoSet {
  const annotations = listOf(instances, "annotations"), images = listOf(instances, "images"), categories = listOf(instances, "categories");
  if (!Array.isArray(results)) throw new Error(`coco: results: expected a list of { image_id, category_id, bbox, score }, got ${kind(results)}`);
  return {
    images: Float64Array.from(images, (image, i) => numberOf(image, "id", `image ${i}`)),
    classes: Float64Array.from(categories, (category, i) => numberOf(category, "id", `category ${i}`)),
    truths: {
      ...columns(annotations, "annotation"),
      crowd: Uint8Array.from(annotations, (annotation) => (field(annotation, "iscrowd") ? 1 : 0)),
    },
    detections: columns(results, "result"),
  };
}

interface Columns<What extends keyof typeof FIELDS> {
  readonly image: Float64Array;
  readonly class: Float64Array;
  readonly box: Float64Array;
  readonly id: What extends "annotation" ? Float64Array : undefined;
  readonly area: What extends "annotation" ? Float64Array : undefined;
  readonly score: What extends "annotation" ? undefined : Float64Array;
}

function columns<What extends keyof typeof FIELDS>(rows: readonly unknown[], what: What): Columns<What> {
  const column = new Map<string, Float64Array>(FIELDS[what].map((name) => [name, new Float64Array(rows.length)]));
  const box = new Float64Array(4 * rows.length);
  for (const [i, row] of rows.entries()) {
    for (const [name, values] of column) values[i] = numberOf(row, name, `${what} ${i}`);
    const bbox = field(row, "bbox");
    if (!Array.isArray(bbox) || bbox.length !== 4 || !bbox.every((value) => typeof value === "number")) {
      throw new Error(`coco: ${what} ${i}: expected bbox as four numbers [x, y, width, height], got ${Array.isArray(bbox) ? `a list of ${bbox.length}` : kind(bbox)}`);
    }
    box.set(bbox, 4 * i);
  }
  return { image: column.get("image_id")!, class: column.get("category_id")!, box, id: column.get("id"), area: column.get("area"), score: column.get("score") } as Columns<What>;
}

function listOf(from: unknown, name: string): readonly unknown[] {
  const list = field(from, name);
  if (!Array.isArray(list)) throw new Error(`coco: instances: expected a list "${name}", got ${kind(list)}; is this the file of annotations?`);
  return list;
}

function numberOf(from: unknown, name: string, where: string): number {
  const value = field(from, name);
  if (typeof value !== "number") throw new Error(`coco: ${where}: expected a number "${name}", got ${kind(value)}`);
  return value;
}

const field = (from: unknown, name: string): unknown => (from !== null && typeof from === "object" && Object.hasOwn(from, name) ? (from as Record<string, unknown>)[name] : undefined);
const kind = (value: unknown): string => (value === undefined ? "nothing" : value === null ? "null" : Array.isArray(value) ? "a list" : typeof value === "object" ? "an object" : `a ${typeof value}`);
