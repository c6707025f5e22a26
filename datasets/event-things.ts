/**
 * What drives and walks before the simulated event camera: cars and pedestrians of discs, capsules and rounded boxes, seen from the side.
 *
 * A thing has its own frame, u to the right and v down, its feet or wheels at v = 0, about one unit long (car) or tall (pedestrian).
 */
import type { Random } from "../engine/random.ts";
import { cos, sin } from "../kernels/elementary.ts";

/** A capsule from a to b, or a box around a with half sides b, its corners rounded; both grown by r. Later parts lie over earlier ones. */
export interface Part {
  readonly kind: "capsule" | "box";
  readonly au: number;
  readonly av: number;
  readonly bu: number;
  readonly bv: number;
  readonly r: number;
  /** Light that it gives back, 0..1. */
  readonly tone: number;
}

export interface Thing {
  readonly class: number;
  /** Its parts when it has moved on by `way` units of its own. */
  parts(way: number): readonly Part[];
}

const capsule = (au: number, av: number, bu: number, bv: number, r: number, tone: number): Part => ({ kind: "capsule", au, av, bu, bv, r, tone });
const box = (au: number, av: number, bu: number, bv: number, r: number, tone: number): Part => ({ kind: "box", au, av, bu: bu - r, bv: bv - r, r, tone });

/** The classes of Gen1, in the order of their numbers; each draws one thing that faces right. */
export const things = { car, pedestrian } as const;

/** Wheels turn: a mark on each hub goes around. */
function car(random: Random): Thing {
  const paint = random.uniform(0.06, 0.95), glass = random.uniform(0.03, 0.12), tyre = random.uniform(0.02, 0.08), hub = random.uniform(0.3, 0.8);
  const height = random.uniform(0.36, 0.46), nose = random.uniform(0.02, 0.16), wheel = random.uniform(0.075, 0.095), r = 0.06;
  const waist = 0.24, roof = (waist + height) / 2 - 0.02, cabin = 0.5 - nose - 0.13, back = -0.13 - nose / 2;
  return {
    class: 0,
    parts(way) {
      const turn = way / wheel, ru = 0.6 * wheel * cos(turn), rv = 0.6 * wheel * sin(turn);
      return [
        box(back, -roof, cabin, height - roof, r, paint),
        box(0, -(waist + 0.05) / 2 - 0.02, 0.5, (waist - 0.05) / 2 + 0.02, r, paint),
        box(back - cabin / 2, -roof - 0.03, 0.4 * cabin, (height - waist) / 2 - 0.02, 0.02, glass),
        box(back + cabin / 2, -roof - 0.03, 0.4 * cabin, (height - waist) / 2 - 0.02, 0.02, glass),
        ...[-0.3, 0.3].flatMap((u) => [capsule(u, -wheel, u, -wheel, wheel, tyre), capsule(u - ru, -wheel - rv, u + ru, -wheel + rv, 0.25 * wheel, hub)]),
      ];
    },
  };
}

/** Legs and arms swing once in about 0.8 of its height. */
function pedestrian(random: Random): Thing {
  const coat = random.uniform(0.05, 0.9), trousers = random.uniform(0.04, 0.6), skin = random.uniform(0.25, 0.8);
  const stout = random.uniform(0.08, 0.12), stride = random.uniform(0.35, 0.55), phase = random.uniform(0, 2 * Math.PI);
  return {
    class: 1,
    parts(way) {
      const swing = stride * sin(way / 0.8 * 2 * Math.PI + phase), su = sin(swing), sv = cos(swing), leg = 0.44, arm = 0.3;
      return [
        capsule(0, -0.78, -arm * su, -0.78 + arm * sv, 0.032, 0.8 * coat),
        capsule(0, -0.49, leg * su, -0.49 + leg * sv, 0.05, trousers),
        capsule(0, -0.49, -leg * su, -0.49 + leg * sv, 0.05, 0.85 * trousers),
        capsule(0, -0.75, 0, -0.54, stout, coat),
        capsule(0, -0.92, 0, -0.9, 0.07, skin),
        capsule(0, -0.77, arm * su, -0.77 + arm * sv, 0.032, 0.9 * coat),
      ];
    },
  };
}

/** The smallest upright rectangle around a part. */
export function reachOf({ kind, au, av, bu, bv, r }: Part): { left: number; top: number; right: number; bottom: number } {
  if (kind === "box") return { left: au - bu - r, right: au + bu + r, top: av - bv - r, bottom: av + bv + r };
  return { left: Math.min(au, bu) - r, right: Math.max(au, bu) + r, top: Math.min(av, bv) - r, bottom: Math.max(av, bv) + r };
}

/** Distance of a place from a part: below 0 inside. */
export function distanceTo({ kind, au, av, bu, bv, r }: Part, u: number, v: number): number {
  if (kind === "box") {
    const x = Math.abs(u - au) - bu, y = Math.abs(v - av) - bv, ox = Math.max(x, 0), oy = Math.max(y, 0);
    return Math.sqrt(ox * ox + oy * oy) + Math.min(Math.max(x, y), 0) - r;
  }
  const du = bu - au, dv = bv - av, square = du * du + dv * dv;
  const along = square === 0 ? 0 : Math.min(Math.max(((u - au) * du + (v - av) * dv) / square, 0), 1);
  const x = u - au - along * du, y = v - av - along * dv;
  return Math.sqrt(x * x + y * y) - r;
}
