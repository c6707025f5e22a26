/** Which things are in a generated picture, where, and who hides whom. */
import type { Random } from "../engine/random.ts";
import { power } from "../kernels/elementary.ts";
import type { ObjectBox } from "./sample.ts";
import { clutter, MISS, solids, type Body } from "./solids.ts";
import { drawSkin, type Skin, type Tone } from "./texture.ts";

export const CLASSES = Object.keys(solids) as (keyof typeof solids)[];
const CLUTTER = Object.values(clutter);

/** A thing in its place. Its depth is known on sample points [x0, x0 + columns) x [y0, y0 + rows), which may lie off the picture. */
export interface Thing {
  /** Number of its class, or -1 for clutter. */
  readonly class: number;
  readonly body: Body;
  readonly skin: Skin;
  readonly x: number;
  readonly y: number;
  /** Pixels per unit of the body. */
  readonly scale: number;
  /** Shine of the highlight, and how sharp: its power is 2^gloss. */
  readonly shine: number;
  readonly gloss: number;
  readonly x0: number;
  readonly y0: number;
  readonly columns: number;
  readonly rows: number;
  /** MISS outside the silhouette. */
  readonly depth: Float32Array;
  /** Sample points of the silhouette, on and off the picture. */
  readonly points: number;
  readonly box: ObjectBox;
}

/** Things smaller or larger than this share of the picture's side are not drawn. */
const SMALLEST = 0.2, LARGEST = 0.66;
const LEAST_VISIBLE = 0.4, MOST = 6;
export const FEWEST = 2;

/** Solids where they do not hide half of each other's boxes, then clutter anywhere before or behind them. */
export function placeThings(random: Random, palette: readonly Tone[], side: number): Thing[] {
  const things: Thing[] = [];
  const count = random.integer(FEWEST, MOST + 1);
  for (let k = 0; k < count; k++) {
    const kind = random.integer(0, CLASSES.length), body = solids[CLASSES[kind]](random);
    for (let attempt = 0; attempt < 12; attempt++) {
      const size = side * SMALLEST * power(LARGEST / SMALLEST, random.uniform());
      const scale = size / Math.max(body.right - body.left, body.bottom - body.top);
      const x = random.uniform(0, side), y = random.uniform(0, side);
      const box = reach(kind, body, x, y, scale, side), whole = (body.right - body.left) * (body.bottom - body.top) * scale * scale;
      if (area(box) < 0.55 * whole) continue;
      if (things.some((other) => overlap(box, other.box) > 0.5 * area(other.box))) continue;
      things.push(place(random, kind, body, x, y, scale, drawSkin(random, palette), side));
      break;
    }
  }
  for (let k = random.integer(1, 5); k > 0; k--) {
    const body = CLUTTER[random.integer(0, CLUTTER.length)](random);
    const x = random.uniform(0, side), y = random.uniform(0, side), scale = side * random.uniform(0.08, 0.24) * (body.right > 1 || body.bottom > 1 ? 1 : 1.3);
    const piece = place(random, -1, body, x, y, scale, drawSkin(random, palette), side);
    things.splice(random.integer(0, things.length + 1), 0, piece);
  }
  return things;
}

function place(random: Random, kind: number, body: Body, x: number, y: number, scale: number, skin: Skin, side: number): Thing {
  const x0 = Math.ceil(x + body.left * scale), x1 = Math.floor(x + body.right * scale), y0 = Math.ceil(y + body.top * scale), y1 = Math.floor(y + body.bottom * scale);
  const columns = Math.max(0, x1 - x0 + 1), rows = Math.max(0, y1 - y0 + 1), depth = new Float32Array(columns * rows);
  const all = new Extent(), inside = new Extent();
  let points = 0;
  for (let j = 0, at = 0; j < rows; j++) {
    const py = y0 + j, v = (py - y) / scale;
    for (let i = 0; i < columns; i++, at++) {
      const px = x0 + i;
      const z = depth[at] = body.depth((px - x) / scale, v);
      if (z === MISS) continue;
      points++;
      all.add(px, py);
      if (px >= 0 && px <= side && py >= 0 && py <= side) inside.add(px, py);
    }
  }
  // a side that the picture does not cut is known exactly; one that it cuts, to half a pixel
  const whole = reach(kind, body, x, y, scale, side);
  const box = {
    class: kind,
    x1: inside.left === all.left ? whole.x1 : Math.max(whole.x1, inside.left - 0.5),
    y1: inside.top === all.top ? whole.y1 : Math.max(whole.y1, inside.top - 0.5),
    x2: inside.right === all.right ? whole.x2 : Math.min(whole.x2, inside.right + 0.5),
    y2: inside.bottom === all.bottom ? whole.y2 : Math.min(whole.y2, inside.bottom + 0.5),
  };
  return { class: kind, body, skin, x, y, scale, shine: random.uniform() < 0.3 ? 0 : random.uniform(0.1, 0.6), gloss: random.integer(3, 7), x0, y0, columns, rows, depth, points, box };
}

/** The smallest rectangle around points. */
class Extent {
  left = Infinity;
  top = Infinity;
  right = -Infinity;
  bottom = -Infinity;
  add(x: number, y: number): void {
    if (x < this.left) this.left = x;
    if (x > this.right) this.right = x;
    if (y < this.top) this.top = y;
    if (y > this.bottom) this.bottom = y;
  }
}

/** A body's own rectangle, clipped to the picture. */
function reach(kind: number, { left, top, right, bottom }: Body, x: number, y: number, scale: number, side: number): ObjectBox {
  const inside = (value: number) => Math.min(Math.max(value, 0), side);
  return { class: kind, x1: inside(x + left * scale), y1: inside(y + top * scale), x2: inside(x + right * scale), y2: inside(y + bottom * scale) };
}
const area = ({ x1, y1, x2, y2 }: ObjectBox): number => (x2 - x1) * (y2 - y1);
const overlap = (a: ObjectBox, b: ObjectBox): number => Math.max(0, Math.min(a.x2, b.x2) - Math.max(a.x1, b.x1)) * Math.max(0, Math.min(a.y2, b.y2) - Math.max(a.y1, b.y1));

export interface Scene {
  readonly things: readonly Thing[];
  /** Per sample point of the picture, [side + 1, side + 1]: 0 for the ground, else 1 + the thing seen there. */
  readonly owner: Uint8Array;
  /** Sample points per owner. */
  readonly shown: Uint32Array;
}

/** Removes what hides too much, or what is hidden too much, until every solid shows enough of itself. */
export function cull(things: readonly Thing[], side: number): Scene {
  const width = side + 1;
  for (; ;) {
    const owner = new Uint8Array(width * width);
    things.forEach((thing, k) => eachPoint(thing, width, (at) => { owner[at] = k + 1; }));
    const shown = new Uint32Array(things.length + 1);
    for (let at = 0; at < owner.length; at++) shown[owner[at]]++;
    const hidden = things.findIndex((thing, k) => thing.class >= 0 && shown[k + 1] < LEAST_VISIBLE * thing.points);
    if (hidden < 0) return { things, owner, shown };
    const before = new Uint32Array(things.length + 1);
    eachPoint(things[hidden], width, (at) => { before[owner[at]]++; });
    let worst = hidden;
    things.forEach((thing, k) => { if (thing.class < 0 && k > hidden && before[k + 1] > (worst === hidden ? 0 : before[worst + 1])) worst = k; });
    things = things.filter((_, k) => k !== worst);
  }
}

/** Calls back with the sample points of the picture that a thing's silhouette covers. */
export function eachPoint({ x0, y0, columns, rows, depth }: Thing, width: number, visit: (at: number, x: number, y: number, z: number) => void): void {
  const left = Math.max(0, -x0), right = Math.min(columns, width - x0);
  for (let j = Math.max(0, -y0), last = Math.min(rows, width - y0); j < last; j++) {
    for (let i = left; i < right; i++) {
      const z = depth[j * columns + i];
      if (z !== MISS) visit((y0 + j) * width + x0 + i, x0 + i, y0 + j, z);
    }
  }
}
