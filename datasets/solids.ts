/**
 * The things in a generated picture, seen along z without perspective: x to the right, y down, z towards the eye.
 *
 * Each answers two questions about one line of sight: how near is the thing at (x, y), and what does its surface look like there?
 * Answers are exact (a quadratic, three slabs) but for the ring, whose quartic is found by walking along the line.
 */
import type { Random } from "../engine/random.ts";
import { acos, cos, sin } from "../kernels/elementary.ts";

/** The normal in view space, and the place in the thing's own frame, for its texture. */
export interface Surface { nx: number; ny: number; nz: number; u: number; v: number; w: number }

export interface Body {
  /** The silhouette's smallest upright rectangle, from the body's centre, in the body's own unit. */
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
  /** z of the nearest surface point, or MISS. */
  depth(x: number, y: number): number;
  /** Writes what is there to `at`. */
  look(x: number, y: number, z: number, at: Surface): void;
}

export const MISS = -Infinity;

/** Rows of a rotation: view = R own. Column 2 is the direction of the own z axis: [sin a cos b, sin a sin b, cos a], a from the eye. */
type Rotation = readonly [number, number, number, number, number, number, number, number, number];

function rotation(axis: number, direction: number, spin: number): Rotation {
  const ca = cos(axis), sa = sin(axis), cb = cos(direction), sb = sin(direction), cs = cos(spin), ss = sin(spin);
  // Rz(direction) Ry(axis) Rz(spin)
  return [
    cb * ca * cs - sb * ss, -cb * ca * ss - sb * cs, cb * sa,
    sb * ca * cs + cb * ss, -sb * ca * ss + cb * cs, sb * sa,
    -sa * cs, sa * ss, ca,
  ];
}

const FULL = 2 * Math.PI;
const around = (x: number, y: number): Pick<Body, "left" | "top" | "right" | "bottom"> => ({ left: -x, right: x, top: -y, bottom: y });

/** The classes, in the order of their numbers. Each draws one body, turned as far as a person still knows it at once. */
export const solids = { ball, cube, ring } as const;

/** x^2 + y^2 + z^2 = 1 */
function ball(random: Random): Body {
  const [a, b, c, d, e, f, g, h, i] = rotation(acos(random.uniform(-1, 1)), random.uniform(0, FULL), random.uniform(0, FULL));
  return {
    ...around(1, 1),
    depth(x, y) {
      const square = 1 - x * x - y * y;
      return square < 0 ? MISS : Math.sqrt(square);
    },
    look(x, y, z, at) {
      at.nx = x; at.ny = y; at.nz = z;
      at.u = a * x + d * y + g * z; at.v = b * x + e * y + h * z; at.w = c * x + f * y + i * z;
    },
  };
}

/** |u| <= A, |v| <= B, |w| <= C, not quite equal. */
function cube(random: Random): Body {
  const A = random.uniform(0.85, 1), B = random.uniform(0.85, 1), C = random.uniform(0.85, 1);
  // never face on: a flat square could be anything
  const R = rotation(random.uniform(0.45, 1.15), random.uniform(0, FULL), Math.PI / 4 + random.uniform(-0.55, 0.55));
  const [a, b, c, d, e, f, g, h, i] = R;
  const extent = (r0: number, r1: number, r2: number) => A * Math.abs(r0) + B * Math.abs(r1) + C * Math.abs(r2);
  const ag = 1 / g, bh = 1 / h, ci = 1 / i, sideA = A * Math.abs(ag), sideB = B * Math.abs(bh), sideC = C * Math.abs(ci);
  return {
    ...around(extent(a, b, c), extent(d, e, f)),
    depth(x, y) {
      // own = o + z (g, h, i); each slab holds for z within side of -o / (g, h, i)
      const zu = -(a * x + d * y) * ag, zv = -(b * x + e * y) * bh, zw = -(c * x + f * y) * ci;
      const near = Math.min(zu + sideA, zv + sideB, zw + sideC);
      return near < Math.max(zu - sideA, zv - sideB, zw - sideC) ? MISS : near;
    },
    look(x, y, z, at) {
      const u = a * x + d * y + g * z, v = b * x + e * y + h * z, w = c * x + f * y + i * z;
      const pu = Math.abs(u) / A, pv = Math.abs(v) / B, pw = Math.abs(w) / C;
      const face = pu > pv && pu > pw ? 0 : pv > pw ? 1 : 2, sign = R[6 + face] < 0 ? -1 : 1;
      at.nx = sign * R[face]; at.ny = sign * R[3 + face]; at.nz = sign * R[6 + face];
      at.u = u; at.v = v; at.w = w;
    },
  };
}

/** (sqrt(u^2 + v^2) - 1)^2 + w^2 = r^2, tilted so that the hole stays open. */
function ring(random: Random): Body {
  const r = random.uniform(0.24, 0.38);
  const [a, b, c, d, e, f, g, h, i] = rotation(random.uniform(0, 0.95), random.uniform(0, FULL), random.uniform(0, FULL));
  const outer = (1 + r) * (1 + r), tolerance = 0.03 * r;
  return {
    ...around(Math.sqrt(1 - c * c) + r, Math.sqrt(1 - f * f) + r),
    depth(x, y) {
      const square = outer - x * x - y * y;
      if (square < 0) return MISS;
      const ou = a * x + d * y, ov = b * x + e * y, ow = c * x + f * y;
      // inside |w| <= r and inside the ball around the ring; the distance to the ring can be walked without missing it
      const ball = Math.sqrt(square), end = Math.max((-r - ow) / i, -ball);
      let z = Math.min((r - ow) / i, ball);
      while (z >= end) {
        const u = ou + z * g, v = ov + z * h, w = ow + z * i, q = Math.sqrt(u * u + v * v) - 1;
        const distance = Math.sqrt(q * q + w * w) - r;
        if (distance < tolerance) return z;
        z -= distance;
      }
      return MISS;
    },
    look(x, y, z, at) {
      const u = a * x + d * y + g * z, v = b * x + e * y + h * z, w = c * x + f * y + i * z;
      const rho = Math.sqrt(u * u + v * v), q = rho - 1, unit = 1 / Math.sqrt(q * q + w * w);
      const nu = u * q / rho * unit, nv = v * q / rho * unit, nw = w * unit;
      at.nx = a * nu + b * nv + c * nw; at.ny = d * nu + e * nv + f * nw; at.nz = g * nu + h * nv + i * nw;
      at.u = u; at.v = v; at.w = w;
    },
  };
}

/** Things of no class that lie about and hide others; flat, so their depth is 0. */
export const clutter = { leaf, bar } as const;

/** Two arcs that meet in points, folded along the middle. */
function leaf(random: Random): Body {
  const direction = random.uniform(0, FULL), co = cos(direction), si = sin(direction);
  const width = random.uniform(0.28, 0.5), fold = random.uniform(0.2, 0.6), bend = random.uniform(-0.35, 0.35);
  const reach = 1 + Math.abs(bend) / 2;
  return {
    ...around(reach, reach),
    depth(x, y) {
      const s = co * x + si * y, t = co * y - si * x - bend * (s * s - 0.5);
      return Math.abs(t) > width * (1 - s * s) ? MISS : 0;
    },
    look(x, y, _, at) {
      const s = co * x + si * y, t = co * y - si * x - bend * (s * s - 0.5);
      const tilt = (t < 0 ? -fold : fold) + 0.3 * sin(9 * s + 14 * Math.abs(t)), n = 1 / Math.sqrt(1 + tilt * tilt);
      at.nx = -si * tilt * n; at.ny = co * tilt * n; at.nz = n;
      at.u = s; at.v = t; at.w = 0;
    },
  };
}

/** A rod, round or flat. */
function bar(random: Random): Body {
  const direction = random.uniform(0, FULL), co = cos(direction), si = sin(direction);
  const half = random.uniform(0.025, 0.07), round = random.uniform() < 0.6;
  return {
    ...around(Math.abs(co) + half * Math.abs(si), Math.abs(si) + half * Math.abs(co)),
    depth(x, y) {
      const s = co * x + si * y, t = co * y - si * x;
      return s < -1 || s > 1 || t < -half || t > half ? MISS : 0;
    },
    look(x, y, _, at) {
      const s = co * x + si * y, t = co * y - si * x, bulge = round ? t / half : 0;
      at.nx = -si * bulge; at.ny = co * bulge; at.nz = Math.sqrt(Math.max(0, 1 - bulge * bulge));
      at.u = s; at.v = t; at.w = 0;
    },
  };
}
