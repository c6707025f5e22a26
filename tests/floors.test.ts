/** Stairs go down: reads every import in the tree and refuses one that goes up. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";

const ROOT = resolve(import.meta.dirname, "..");

/** What each room may import from, beside itself. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  kernels: [],
  engine: ["kernels"],
  nn: ["engine", "kernels/elementary.ts"],
  detection: ["engine", "nn", "kernels/elementary.ts"],
  datasets: ["engine/random.ts", "kernels/elementary.ts"],
  cli: ["engine", "nn", "detection", "datasets"],
  web: ["engine", "nn", "detection", "datasets"],
  tests: ["kernels", "engine", "nn", "detection", "datasets", "cli", "web", "bench"],
  bench: ["kernels", "engine", "nn", "detection", "datasets", "cli"],
};

/** Rooms that anyone can use with nothing installed. */
const WITHOUT_PACKAGES = ["kernels", "engine", "nn", "detection"];

interface Import { file: string; target: string }

function sources(room: string): string[] {
  try {
    return readdirSync(join(ROOT, room), { recursive: true, encoding: "utf8" }).filter((name) => /\.(ts|mjs)$/.test(name) && !name.includes("node_modules")).map((name) => join(room, name));
  } catch { return []; }
}

/** Static imports, re-exports and dynamic imports of literal names. */
export function importsOf(file: string, text: string): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  const names = [...code.matchAll(/(?:^|[\s;}])(?:import|export)\s[^;"'`]*?from\s*["']([^"']+)["']|(?:^|[\s;}])import\s*["']([^"']+)["']|import\(\s*["']([^"']+)["']/g)];
  return names.map((match) => ({ file, target: match[1] ?? match[2] ?? match[3] }));
}

/** Why an import may not be, or undefined. */
export function objection({ file, target }: Import): string | undefined {
  const room = file.split("/")[0];
  if (!target.startsWith(".")) {
    const fromNode = target.startsWith("node:");
    return WITHOUT_PACKAGES.includes(room) && !fromNode ? `${file} imports the package ${target}; ${room}/ has no dependencies` : undefined;
  }
  const place = relative(ROOT, resolve(ROOT, dirname(file), target)), other = place.split("/")[0];
  if (other === room) return undefined;
  return MAY_IMPORT[room].some((allowed) => place === allowed || place.startsWith(`${allowed}/`)) ? undefined : `${file} imports ${place}; ${room}/ may import ${MAY_IMPORT[room].join(", ") || "nothing"}`;
}

describe("floors", () => {
  const all = Object.keys(MAY_IMPORT).flatMap((room) => sources(room)).flatMap((file) => importsOf(file, readFileSync(join(ROOT, file), "utf8")));

  test("no import goes up, and the engine floors import no package", () => {
    expect(all.length).toBeGreaterThan(50);
    expect(all.map(objection).filter(Boolean)).toEqual([]);
  });

  test("an import that goes up would be found", () => {
    expect(objection({ file: "engine/ops/conv.ts", target: "../../nn/layers.ts" })).toMatch(/engine\/ may import kernels/);
    expect(objection({ file: "datasets/voc.ts", target: "../engine/tensor.ts" })).toMatch(/engine\/random\.ts/);
    expect(objection({ file: "nn/layers.ts", target: "sharp" })).toMatch(/no dependencies/);
    expect(importsOf("a.ts", 'import type { A } from "../b.ts";\nexport { c } from "./c.ts";\nconst d = await import("d");').map(({ target }) => target)).toEqual(["../b.ts", "./c.ts", "d"]);
  });

  test("the heart of the engine knows no op by name", () => {
    for (const file of ["engine/op.ts", "engine/backward.ts"]) {
      const targets = importsOf(file, readFileSync(join(ROOT, file), "utf8")).map(({ target }) => target);
      expect(targets.filter((target) => target.includes("ops/"))).toEqual([]);
    }
  });
});
