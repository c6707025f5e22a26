/** Functions whose last bit is each engine's own affair stay off the training path: kernels/elementary.ts has our own. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";

const ROOT = resolve(import.meta.dirname, "../..");
const INEXACT = /\bMath\.(a?(sin|cos|tan)h?|atan2|exp|expm1|log|log1p|log2|log10|pow|hypot|cbrt)\b|\*\*|\}\s*=\s*Math\b|\bMath\s*\[/;

/** No bit of a weight depends on these. */
const HARMLESS = [
  "engine/ops/geometry.ts", // the size of a piece of memory
  "kernels/reference/half.ts", // whole powers of two, which a test checks for every half
  "nn/surrogates.ts", //       derivatives for people to read; kernels have their own
];

const code = (text: string): string => text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[^:"'`])\/\/.*$/gm, "$1").replace(/(?<![.\w])2 \*\* -?\d+/g, "");

test("no kernel, op, layer, loss or data set calls a function that engines round differently", () => {
  const files = ["kernels", "engine", "nn", "detection", "datasets"]
    .flatMap((room) => readdirSync(join(ROOT, room), { recursive: true, encoding: "utf8" }).map((name) => `${room}/${name}`))
    .filter((name) => /\.(ts|mjs)$/.test(name) && !/^kernels\/(assembly|generate|build)\//.test(name));
  expect(files.length).toBeGreaterThan(50);
  expect(files.filter((name) => INEXACT.test(code(readFileSync(join(ROOT, name), "utf8")))).sort()).toEqual(HARMLESS);
  expect(["Math.tanh(x)", "Math.hypot(x, y)", "x ** 3", "f(x) ** y", "x**3", "x **= 3", "1.2 ** 5", "const { exp } = Math;", "xs.map(Math.exp)", "Math[name](x)", 'f("https://x"); Math.exp(1)'].every((text) => INEXACT.test(code(text)))).toBe(true);
});
