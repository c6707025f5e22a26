/** Readers in processes of their own: bombs are refused in a second and little memory, and large files never lie in memory twice. */
import { execFile, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { datHeader, encodeEvents } from "../../datasets/gen1.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 300_000 });

const ROOT = resolve(import.meta.dirname, "../.."), MB = 1 << 20;
const room = mkdtempSync(join(tmpdir(), "spiketrain-large-"));
afterAll(() => { rmSync(room, { recursive: true, force: true }); });
beforeAll(() => {
  const { status, stderr, stdout } = spawnSync(process.execPath, [join(ROOT, "cli/bootstrap.mjs"), "build"], { encoding: "utf8" });
  if (status !== 0) throw new Error(stdout + stderr);
});

/** Lines of JSON that a program prints, in at most `heap` MB of JavaScript objects. */
async function lines(program: string, heap: number, ...args: string[]): Promise<any[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [`--max-old-space-size=${heap}`, join(ROOT, `dist/tests/datasets/${program}.js`), ...args], { maxBuffer: 64 * MB });
  return stdout.trim().split("\n").map((line) => JSON.parse(line));
}

describe("bombs", () => {
  test("are refused by name and byte in a second each, all together in 100 MB", async () => {
    const [before, ...bombs] = await lines("bombs", 192);
    expect(bombs.length).toBeGreaterThanOrEqual(60);
    for (const { name, read, refused, offset, threw, ms } of bombs) {
      expect(threw, name).toBeUndefined();
      if (name.startsWith("harmless")) expect(read, `${name}: ${refused}`).toBe(true);
      else expect(refused, name).toMatch(/ \((line \d+, )?byte \d+\)$/);
      if (refused) expect(offset, name).toBeGreaterThanOrEqual(0);
      expect(ms, name).toBeLessThan(1000);
    }
    expect(bombs.at(-1).most - before.most).toBeLessThan(100 * MB);
  });
});

/** Writes a file piece by piece. */
function write(name: string, pieces: Iterable<Uint8Array | string>): string {
  const path = join(room, name), file = openSync(path, "w");
  for (const piece of pieces) typeof piece === "string" ? writeSync(file, piece) : writeSync(file, piece);
  closeSync(file);
  return path;
}

describe("a recording of a minute, of a hundred megabytes", () => {
  const BLOCKS = 100, EACH = 1 << 17;
  let path: string;
  beforeAll(() => {
    const x = Uint16Array.from({ length: EACH }, (_, i) => i % 304), y = Uint16Array.from({ length: EACH }, (_, i) => i % 240), p = Uint8Array.from({ length: EACH }, (_, i) => i & 1);
    path = write("minute_td.dat", (function* () {
      yield datHeader();
      for (let block = 0; block < BLOCKS; block++) yield encodeEvents({ t: Float64Array.from({ length: EACH }, (_, i) => Math.floor((block + i / EACH) * 6e7 / BLOCKS)), x, y, p });
    })());
  });

  test("is read in blocks without being in memory", async () => {
    const [{ bytes, result, grown }] = await lines("large", 64, "blocks", path);
    expect(bytes).toBeGreaterThan(100 * MB);
    expect(result).toBe(BLOCKS * EACH);
    expect(grown).toBeLessThan(64 * MB);
  });

  test("is in memory once when it is wanted whole: 13 bytes an event for 8 in the file", async () => {
    const [{ bytes, result, grown }] = await lines("large", 64, "events", path);
    expect(result).toBeLessThan(6e7);
    expect(result).toBeGreaterThan(5.99e7);
    expect(grown).toBeLessThan(bytes * 13 / 8 + 40 * MB);
  });
});

describe("annotations with outlines, of a hundred and fifty megabytes", () => {
  const IMAGES = 5000, EACH = 30;
  let path: string;
  beforeAll(() => {
    const outline = `[[${Array.from({ length: 120 }, (_, i) => (i * 1.37).toFixed(2)).join(", ")}]]`;
    path = write("instances.json", (function* () {
      yield `{"info": {"year": 2017}, "images": [${Array.from({ length: IMAGES }, (_, i) => `{"license": 1, "file_name": "${String(i).padStart(12, "0")}.jpg", "height": 480, "width": 640, "id": ${i}}`).join(", ")}], "annotations": [`;
      for (let i = 0; i < IMAGES; i++) yield Array.from({ length: EACH }, (_, k) => `${i + k > 0 ? ", " : ""}{"segmentation": ${outline}, "area": 702.1, "iscrowd": 0, "image_id": ${i}, "bbox": [473.07, 395.93, 38.65, 28.67], "category_id": 18, "id": ${i * EACH + k}}`).join("");
      yield '], "categories": [{"supercategory": "animal", "id": 18, "name": "dog"}]}';
    })());
  });

  test("leave their boxes in memory and nothing else", async () => {
    const [{ bytes, result, grown }] = await lines("large", 64, "instances", path);
    expect(bytes).toBeGreaterThan(120 * MB);
    expect(result).toBe(IMAGES * (EACH + 1));
    expect(grown).toBeLessThan(90 * MB);
  });
});
