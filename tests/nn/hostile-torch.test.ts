/** Files of torch.save from a hostile hand: nothing runs, nothing grows, and one sentence says why. */
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { readForeign } from "../../detection/foreign.ts";
import { Random } from "../../engine/random.ts";
import { FormatError } from "../../nn/safetensors.ts";
import { crc32, storedFiles } from "../../nn/zip.ts";
import { archive, code, dict, f32, int, module_, name, ordered, parameter, pickle, storage, tensor, text, call, tuple } from "./pickles.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const ROOT = resolve(import.meta.dirname, "../.."), room = mkdtempSync(join(tmpdir(), "spiketrain-torch-"));
afterAll(() => { rmSync(room, { recursive: true, force: true }); });

describe("bombs", () => {
  beforeAll(() => {
    const { status, stderr, stdout } = spawnSync(process.execPath, [join(ROOT, "cli/bootstrap.mjs"), "build"], { encoding: "utf8" });
    if (status !== 0) throw new Error(stdout + stderr);
  });

  test("are refused in one sentence with its byte, within a second and 100 MB, and nothing of them runs", async () => {
    const marker = join(room, "ran");
    const { stdout } = await promisify(execFile)(process.execPath, ["--max-old-space-size=256", join(ROOT, "dist/tests/nn/torch-bombs.js"), marker], { maxBuffer: 64 << 20 });
    const [, ...bombs] = stdout.trim().split("\n").map((line) => JSON.parse(line));
    expect(bombs.length).toBeGreaterThanOrEqual(60);
    for (const { name, read, refused, threw, ms, grown } of bombs) {
      expect([threw, read], name).toEqual([undefined, undefined]);
      expect(refused, name).toMatch(/^(pickle|zip|pt): [^\n]{10,400}$/);
      expect(ms, name).toBeLessThan(1000);
      expect(grown, name).toBeLessThan(100 << 20);
    }
    expect(existsSync(marker)).toBe(false);
  });
});

/** A small checkpoint of every kind of value that PyTorch writes. */
const conv = module_("conv.Conv2d", { parameters: [[text("weight"), parameter(tensor(storage("0", 6, "HalfStorage"), [1, 6, 1, 1], [6, 1, 1, 1]))], [text("bias"), "N"]] });
const norm = module_("batchnorm.BatchNorm2d", { parameters: [[text("weight"), parameter(tensor(storage("1", 4), [2], [2]))]], buffers: [[text("num_batches_tracked"), tensor(storage("2", 1, "LongStorage"), [], [])]] });
const program = pickle(dict(
  [text("epoch"), int(-1)], [text("best_fitness"), "G?\xf8\0\0\0\0\0\0"], [text("ema"), "N"], [text("names"), dict([int(0), text("cell")])], [text("size"), call(name("torch", "Size"), tuple(int(2)))],
  [text("model"), module_("container.Sequential", { modules: [[text("model"), module_("container.Sequential", { modules: [[text("1"), conv], [text("2"), norm]] })]] })], [text("optimizer"), ordered([text("lr"), "\x88"])],
));
const STORAGES = { 0: new Uint8Array(12).fill(7), 1: f32(1, 2, 3, 4), 2: new Uint8Array(8) }, sound = archive(program, STORAGES);
const real = new Uint8Array(gunzipSync(readFileSync(new URL("../fixtures/torch/checkpoint_tiny_stripped.pt.gzip", import.meta.url))));

const BYTES = [0, 1, 0x7f, 0x80, 0xff, ...Array.from("(.NRbctu}])\x81\x85\x93QqhXJ", (letter) => letter.charCodeAt(0))];

/** One to four changes of single bytes and runs; the same for the same number. `least`: bytes before it stay. */
function mutant(bytes: Uint8Array, number: number, least = 0): Uint8Array {
  const random = new Random(number, 78), below = (n: number) => Math.min(n - 1, Math.floor(random.uniform() * n));
  let out = bytes;
  for (let times = 1 + below(4); times > 0; times--) {
    const at = least + below(Math.max(1, out.length - least)), to = Math.min(out.length, at + 1 + below(16)), choice = below(6);
    if (choice < 2) { out = out.slice(); out[at] = choice === 0 ? out[at] ^ 1 << below(8) : BYTES[below(BYTES.length)]; }
    else if (choice === 2) out = code(out.subarray(0, at), out.subarray(to));
    else if (choice === 3) out = code(out.subarray(0, to), out.subarray(at));
    else if (choice === 4) { const from = least + below(Math.max(1, out.length - least)); out = out.slice(); out.copyWithin(at, from, from + to - at); }
    else out = below(8) === 0 ? out.slice(0, at) : (() => { const copy = out.slice(), view = new DataView(copy.buffer); if (at + 4 <= copy.length) view.setUint32(at, [0, 1, 0xffffffff, 0x7fffffff, copy.length][below(5)], true); return copy; })();
  }
  return out;
}

/** Reads a file and every tensor in it; a sentence where it ends otherwise than it may. */
function fate(bytes: Uint8Array): "read" | "refused" | string {
  const attempt = (): string => {
    const start = performance.now();
    let outcome = "read", values = 0;
    try {
      for (const tensor of readForeign(bytes).tensors.values()) values += tensor.read().length;
    } catch (error) {
      if (!(error instanceof FormatError)) return `threw ${(error as Error).stack}`;
      if (!(error.offset >= 0 && error.offset <= bytes.length) || error.message.length > 500) return `refused at byte ${error.offset} of ${bytes.length}: ${error.message}`;
      outcome = "refused";
    }
    if (values > bytes.length) return `gave ${values} values for ${bytes.length} bytes`;
    return performance.now() - start > 1000 ? "took more than a second" : outcome;
  };
  const first = attempt();
  return first.startsWith("took") ? attempt() : first; // machines are busy at times
}

/** So many mutants; how many were read and how many refused. */
function run(count: number, make: (number: number) => Uint8Array): { read: number; refused: number } {
  const counts = { read: 0, refused: 0 };
  for (let number = 0; number < count; number++) {
    const outcome = fate(make(number));
    if (outcome !== "read" && outcome !== "refused") throw new Error(`mutant ${number}: ${outcome}`);
    counts[outcome]++;
  }
  return counts;
}

describe("mutants", () => {
  test("are read or refused: 20,000 programs in sound archives, 10,000 archives", () => {
    expect(fate(sound)).toBe("read");
    const programs = run(20_000, (number) => archive(mutant(program, number), STORAGES));
    expect(programs.read, JSON.stringify(programs)).toBeGreaterThan(100);
    expect(programs.refused, JSON.stringify(programs)).toBeGreaterThan(5000);
    const archives = run(10_000, (number) => mutant(sound, number));
    expect(Math.min(archives.read, archives.refused), JSON.stringify(archives)).toBeGreaterThan(50);
  });

  test("of a file that PyTorch wrote are read or refused: 1000, half of them with the checksum of the changed program", () => {
    expect(fate(real)).toBe("read");
    const { offset, size } = [...storedFiles(real).values()].find(({ name }) => name.endsWith("/data.pkl"))!, directory = new DataView(real.buffer, real.byteOffset).getUint32(real.length - 6, true);
    const counts = run(1000, (number) => {
      if (number % 2) return mutant(real, number);
      const bytes = real.slice(), random = new Random(number, 79), below = (n: number) => Math.min(n - 1, Math.floor(random.uniform() * n));
      for (let times = 1 + below(3); times > 0; times--) bytes[offset + below(size)] = BYTES[below(BYTES.length)];
      new DataView(bytes.buffer).setUint32(directory + 16, crc32(bytes.subarray(offset, offset + size)), true); // data.pkl comes first
      return bytes;
    });
    expect(Math.min(counts.read, counts.refused), JSON.stringify(counts)).toBeGreaterThan(50);
  });

  test("would be noticed if they crashed the reader", () => {
    expect(fate(null as unknown as Uint8Array)).toMatch(/^threw TypeError/);
  });
});
