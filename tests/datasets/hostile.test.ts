/**
 * Readers meet 20,000 mutated files each: every one is read or refused with the project's own error, which names the file and a byte in it,
 * within a second and without asking for more memory than 64 MB and four times the file.
 */
import { describe, expect, test, vi } from "vitest";
import fc from "fast-check";
import { mutant, seeds, type Format } from "./mutate.ts";

vi.setConfig({ testTimeout: 120_000 });

/** Bytes that arrays and buffers were asked for. It must know before the readers are loaded, because they keep the constructors. */
let asked = 0;
for (const name of ["ArrayBuffer", "Int8Array", "Uint8Array", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array", "BigInt64Array", "BigUint64Array", "Float32Array", "Float64Array"] as const) {
  const made = globalThis[name] as any, size = made.BYTES_PER_ELEMENT ?? 1;
  (globalThis as any)[name] = new Proxy(made, {
    construct(target, args, own) {
      const [first] = args;
      if (typeof first === "number") asked += first * size;
      else if (Array.isArray(first) || (ArrayBuffer.isView(first) && !(first instanceof DataView))) asked += (first as ArrayLike<unknown>).length * size;
      return Reflect.construct(target, args, own);
    },
  });
}

const { BrokenFile } = await import("../../datasets/file.ts");
const { readInstances, readResults } = await import("../../datasets/coco.ts");
const { openEvents, readBoxes } = await import("../../datasets/gen1.ts");
const { readNpy } = await import("../../datasets/npy.ts");
const { readNpz } = await import("../../datasets/npz.ts");
const { ProblemList } = await import("../../datasets/problems.ts");
const { parseAnnotation } = await import("../../datasets/voc.ts");
const { parseDataYaml, parseLabels } = await import("../../datasets/yolo-txt.ts");

const readers: Record<Format, (bytes: Uint8Array) => unknown> = {
  npy: (bytes) => readNpy(bytes, "a.npy"),
  boxes: (bytes) => readBoxes(bytes, "a_bbox.npy"),
  npz: (bytes) => { const npz = readNpz(bytes, "a.npz"); return npz.names.map((name) => npz.read(name)); },
  events: async (bytes) => { const file = await openEvents(bytes); return [await file.events(), await file.events(100, 2000), file.problems]; },
  instances: (bytes) => readInstances(bytes),
  results: (bytes) => readResults(bytes),
  annotation: (bytes) => parseAnnotation(new TextDecoder().decode(bytes), "a.xml"),
  labels: (bytes) => { const problems = new ProblemList(); return [parseLabels(bytes, "a.txt", 80, problems), problems.list]; },
  yaml: (bytes) => parseDataYaml(bytes, "data.yaml"),
};

/** What became of one file; a sentence where it is not what may. Machines are busy at times, so slowness must show twice. */
async function fate(format: Format, bytes: Uint8Array): Promise<"read" | "refused" | string> {
  const first = await attempt(format, bytes);
  return first.startsWith("took") ? attempt(format, bytes) : first;
}

async function attempt(format: Format, bytes: Uint8Array): Promise<string> {
  asked = 0;
  const start = performance.now();
  let outcome: string;
  try {
    await readers[format](bytes);
    outcome = "read";
  } catch (error) {
    if (!(error instanceof BrokenFile)) return `threw ${(error as Error).stack ?? error}`;
    if (!(error.file && Number.isInteger(error.offset) && error.offset >= 0 && error.offset <= bytes.length)) return `refused at byte ${error.offset} of ${bytes.length} in "${error.file}": ${error.message}`;
    outcome = "refused";
  }
  const ms = performance.now() - start;
  if (ms > 1000) return `took ${ms.toFixed(0)} ms`;
  if (asked > (64 << 20) + 4 * bytes.length) return `asked for ${asked} bytes`;
  return outcome;
}

const RUNS = 20_000;

describe("mutated files", () => {
  test.each(Object.keys(seeds) as Format[])("of %s are read or refused", async (format) => {
    for (const seed of seeds[format]) expect(await fate(format, seed), "untouched").toBe("read");
    const counts = { read: 0, refused: 0 };
    for (let number = 0; number < RUNS; number++) {
      const bytes = mutant(format, number), outcome = await fate(format, bytes);
      if (outcome !== "read" && outcome !== "refused") throw new Error(`mutant(${JSON.stringify(format)}, ${number}) of ${bytes.length} bytes: ${outcome}`);
      counts[outcome]++;
    }
    expect(counts.read + counts.refused).toBe(RUNS);
    expect(Math.min(counts.read, counts.refused), JSON.stringify(counts)).toBeGreaterThan(RUNS / 200);
  });

  test("made of nothing but noise, or of any JSON, are read or refused", async () => {
    const formats = Object.keys(seeds) as Format[];
    await fc.assert(fc.asyncProperty(fc.constantFrom(...formats), fc.uint8Array({ maxLength: 200 }), async (format, bytes) => {
      expect(await fate(format, bytes)).toMatch(/^(read|refused)$/);
    }), { seed: 5, numRuns: 3000 });
    await fc.assert(fc.asyncProperty(fc.constantFrom("instances" as const, "results" as const, "yaml" as const), fc.json(), async (format, json) => {
      expect(await fate(format, new TextEncoder().encode(json))).toMatch(/^(read|refused)$/);
    }), { seed: 5, numRuns: 3000 });
  });

  test("would be noticed if they crashed a reader or made it ask for too much", async () => {
    const { npy } = readers;
    try {
      readers.npy = () => { throw new TypeError("undefined is not a function"); };
      expect(await fate("npy", seeds.npy[0])).toMatch(/^threw TypeError/);
      readers.npy = () => new Float64Array(9 << 20);
      expect(await fate("npy", seeds.npy[0])).toMatch(/^asked for 75497472 bytes/);
      readers.npy = () => { throw new BrokenFile("a.npy", "is broken", { offset: 1e6 }); };
      expect(await fate("npy", seeds.npy[0])).toMatch(/^refused at byte 1000000/);
    } finally {
      readers.npy = npy;
    }
  });
});
