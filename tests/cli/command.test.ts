/** The command line as people meet it: the built program in processes of its own, with its files, signals and exit codes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { readRun } from "../../cli/saved-run.ts";
import { resultsHeader } from "../../cli/run-folder.ts";
import { decodeImage, encodePng, shapes } from "../../datasets/index.ts";
import { truncatedJpeg, writeVoc } from "./voc-folder.ts";

vi.setConfig({ testTimeout: 180_000, hookTimeout: 300_000 });

const ROOT = resolve(import.meta.dirname, "../..");
const room = mkdtempSync(join(tmpdir(), "spiketrain-cli-"));
const at = (...path: string[]): string => join(room, ...path);
afterAll(() => { rmSync(room, { recursive: true, force: true }); });

interface Outcome { readonly code: number | null; readonly out: string; readonly err: string }
type Watch = (out: string, kill: (signal: NodeJS.Signals) => void) => void;

/** Runs a command to its end; `watch` sees all that it has said, each time it says more. */
async function run(command: readonly string[], watch?: Watch): Promise<Outcome> {
  const child = spawn(command[0], command.slice(1), { cwd: room, stdio: ["ignore", "pipe", "pipe"] });
  let out = "", err = "";
  child.stdout.on("data", (data) => { out += data; watch?.(out, (signal) => child.kill(signal)); });
  child.stderr.on("data", (data) => { err += data; });
  const [code] = await once(child, "close") as [number | null];
  return { code, out, err };
}

const program = join(ROOT, "dist/cli/main.js");
const spiketrain = (args: readonly string[], watch?: Watch): Promise<Outcome> => run([process.execPath, program, ...args], watch);

/** Ends in seconds. */
const TINY = ["train=48", "val=8", "test=8", "imgsz=64", "batch=8"];
/** results.csv without the last column, which is time. */
const figures = (folder: string): string[] => readFileSync(join(folder, "results.csv"), "utf8").trimEnd().split("\n").map((row) => row.slice(0, row.lastIndexOf(",")));

beforeAll(async () => {
  const { code, err } = await run([process.execPath, join(ROOT, "cli/bootstrap.mjs"), "build"]);
  if (code !== 0) throw new Error(err);
});

test.skipIf(process.platform === "win32")("the built program can be run by its name, as npx does", async () => {
  const { code, out } = await run([program, "check", "--help"]);
  expect([code, out]).toEqual([0, expect.stringMatching(/^spiketrain check key=value/)]);
});

describe("spiketrain train", () => {
  test("trains, validates and reports, and leaves its run folder", async () => {
    const { code, out, err } = await spiketrain(["train", ...TINY, "epochs=2", "seed=7", "arithmetic=strict", `out=${at("whole")}`]);
    expect([code, err]).toEqual([0, ""]);
    const rows = figures(at("whole"));
    expect(rows.length).toBe(3);
    expect(resultsHeader.startsWith(rows[0])).toBe(true);
    for (const row of rows.slice(1)) for (const value of row.split(",")) expect(Number.isFinite(Number(value))).toBe(true);
    expect(readdirSync(at("whole")).sort()).toEqual(["args.json", "confusion.json", "curves.json", "report.json", "results.csv", "validation.png", "weights"]);
    expect(readdirSync(at("whole", "weights")).sort()).toEqual(["best.safetensors", "last.safetensors"]);
    expect(JSON.parse(readFileSync(at("whole", "args.json"), "utf8"))).toMatchObject({ seed: 7, epochs: 2, arithmetic: "strict", kernels: "simd", imgsz: 64, classes: ["ball", "cube", "ring"] });
    const { width, height } = await decodeImage(readFileSync(at("whole", "validation.png")), "validation.png");
    expect(width).toBeGreaterThan(1000);
    expect(height).toBeGreaterThan(1000);
    expect(JSON.parse(readFileSync(at("whole", "report.json"), "utf8"))).toMatchObject({ scores: { images: 8 }, forms: { pictures: 8, binaryDiffers: 0 } });
    for (const part of ["epoch 2/2 batch 6/6", "mAP50-95", "binary steps: no detections differ", "energy = ", "best.safetensors"]) expect(out).toContain(part);
  });

  test("stops at Ctrl-C with a checkpoint and exit code 130, even if the signal comes twice, and goes on from there to the bit", async () => {
    let sent = false;
    const stopped = await spiketrain(["train", ...TINY, "epochs=2", "seed=7", "arithmetic=strict", `out=${at("stopped")}`], (out, kill) => {
      if (sent || !out.includes("batch 2/6")) return;
      sent = true;
      kill("SIGINT");
      kill("SIGINT"); // as under npm
    });
    expect(stopped.code).toBe(130);
    expect(stopped.out).toMatch(/stopped in epoch 1 of 2; the checkpoint is .*last\.safetensors\ngo on with: npm start -- resume=.*stopped\n$/);
    expect(stopped.err).toBe("");
    const saved = await readRun(at("stopped"), "last");
    expect(saved.epochs).toBe(0);
    expect((saved.checkpoint.state as { progress: { batch: number } }).progress.batch).toBeGreaterThanOrEqual(2);

    const resumed = await spiketrain(["train", `resume=${at("stopped")}`]);
    expect([resumed.code, resumed.err]).toEqual([0, ""]);
    expect(resumed.out).toContain("strict arithmetic"); // as it began
    expect(figures(at("stopped"))).toEqual(figures(at("whole")));
    for (const name of ["last", "best"]) expect(readFileSync(at("stopped", "weights", `${name}.safetensors`)).equals(readFileSync(at("whole", "weights", `${name}.safetensors`)))).toBe(true);
  });

  test("goes on for one more epoch", async () => {
    const before = figures(at("stopped"));
    const { code, out } = await spiketrain(["train", `resume=${at("stopped", "weights", "last.safetensors")}`, "epochs=3"]);
    expect(code).toBe(0);
    expect(out).toContain("going on after 2 of 3 epochs");
    const rows = figures(at("stopped"));
    expect(rows.slice(0, 3)).toEqual(before);
    expect(rows.length).toBe(4);
    expect(rows[3].startsWith("3,")).toBe(true);
  });

  test("ends at once at the second Ctrl-C", async () => {
    let first = 0, second = 0;
    const { code, out } = await spiketrain(["train", "train=8", "val=3000", "test=8", "imgsz=64", "batch=8", "epochs=1", `out=${at("killed")}`], (out, kill) => {
      if (first || !out.includes("batch 1/1")) return;
      first = performance.now();
      setTimeout(() => kill("SIGINT"), 1000); // the long validation has begun, which no first Ctrl-C ends
      setTimeout(() => { second = performance.now(); kill("SIGINT"); }, 3000);
    });
    expect(second).toBeGreaterThan(first);
    expect(performance.now() - second).toBeLessThan(10_000); // 3000 pictures take far longer
    expect(code).toBe(130);
    expect(out).toContain("once more to stop at once");
    expect(out).not.toContain("mAP50");
  });

  test("learns from a VOC folder, and tells of a picture that is cut and of a box that is flat", async () => {
    const ids = ["a", "b", "c", "d", "e"];
    await writeVoc(at("voc"), [...ids.map((id) => ({ id })), { id: "cut", jpeg: truncatedJpeg }, { id: "flat", objects: [{ name: "ball", corners: [5, 5, 5, 9] }] }], { train: [...ids, "cut", "flat"], val: ["a", "flat"] });
    const { code, out, err } = await spiketrain(["train", `data=${at("voc")}`, "imgsz=64", "batch=2", "epochs=1", `out=${at("from-voc")}`]);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toMatch(/voc: image JPEGImages\/cut\.jpg: .*truncated.*the picture is skipped/);
    expect(out).toContain('voc: object 1 ("ball") of Annotations/flat.xml has corners 5, 5 and 5, 9, which is no area; it is dropped');
    expect(out).toMatch(/data: 1 picture was skipped, 2 problems in all/);
    expect(JSON.parse(readFileSync(at("from-voc", "args.json"), "utf8")).data).toBe(at("voc"));
  });

  test("says that the disk is full, keeps the checkpoint of before, and exits with 2", async () => {
    // a limit on the size of files stands for a disk without room: args.json fits, a checkpoint of 20 MB does not
    const { code, err } = await run(["sh", "-c", 'ulimit -f 4000; exec "$@"', "-", process.execPath, program, "train", ...TINY, "epochs=1", `out=${at("full")}`]);
    expect(code).toBe(2);
    expect(err).toMatch(/^run: cannot write the \d{7,} bytes of .*full\/weights\/best\.safetensors: file too large \(EFBIG\); what was there before is kept\n$/);
    expect(readdirSync(at("full", "weights"))).toEqual([]);
  });
});

describe("spiketrain val and predict", () => {
  test("val measures a run on a split of one's choice, with the figures of its report", async () => {
    const { code, out, err } = await spiketrain(["val", `weights=${at("whole")}`, "split=test", "metric=voc07", `out=${at("measured")}`]);
    expect([code, err]).toEqual([0, ""]);
    expect(readdirSync(at("measured")).sort()).toEqual(["confusion.json", "curves.json", "report.json"]);
    expect(out).toContain("PASCAL VOC, 11 points (2007), IoU >= 0.5 (as the devkit):\n");
    const { scores, millijoules } = JSON.parse(readFileSync(at("whole", "report.json"), "utf8"));
    expect(out).toMatch(new RegExp(`^shapes test: 8 pictures, ${scores.truths} objects\n`));
    expect(out).toContain(`${millijoules.toFixed(4)} mJ per picture`);
    expect(out).toContain(`by the rules of: ${scores.protocol}\n`);
  });

  test("predict draws every picture that it can read, and counts those that it cannot", async () => {
    const source = at("pictures");
    mkdirSync(source);
    for (const index of [0, 1]) writeFileSync(join(source, `shape ${index}.png`), encodePng((await shapes({ imgsz: 64 }).sample(index))!.picture));
    writeFileSync(join(source, "cut.jpg"), truncatedJpeg);
    writeFileSync(join(source, "notes.txt"), "not a picture");
    const { code, out, err } = await spiketrain(["predict", `weights=${at("whole")}`, `source=${source}`, "conf=0.01", `out=${at("drawn")}`]);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toMatch(/cut\.jpg: .*truncated.*; the picture is skipped\n/);
    expect(out).toMatch(/\d+ detections on 2 pictures, drawn in .*drawn; 1 skipped\n$/);
    expect(readdirSync(at("drawn")).sort()).toEqual(["shape 0.png", "shape 1.png"]);
    expect(await decodeImage(readFileSync(at("drawn", "shape 0.png")), "shape 0.png")).toMatchObject({ width: 384, height: 384 });
  });
});

describe("what people get wrong", () => {
  const refusals: [what: string, args: () => string[], sentence: string | RegExp][] = [
    ["an unknown option", () => ["train", "epoch=3"], 'train: unknown option "epoch"; did you mean "epochs"?'],
    ["an unknown command", () => ["trian"], 'spiketrain: unknown command "trian"; did you mean train?'],
    ["a size that is no multiple of 32", () => ["train", "imgsz=100"], "train: imgsz is 100, expected a multiple of 32 from 32 to 2048"],
    ["a folder that is not there", () => ["train", "data=nowhere"], 'voc: "nowhere" is not a folder; expected one with Annotations/, JPEGImages/ and ImageSets/Main/'],
    ["a batch larger than the set", () => ["train", "train=8", "batch=9"], "train: batch is 9, but shapes train has 8 usable pictures; give batch=8 or less"],
    ["two places for the run", () => ["train", "name=a", "out=b"], "train: name and out both say where the run goes; give one of them"],
    ["counts of embedded pictures with a folder", () => ["train", "data=voc", "val=3"], "train: val counts embedded pictures and means nothing with data=; leave it out"],
    ["a run folder that cannot be", () => ["train", "train=8", "batch=8", "out=/dev/null/run"], "run: cannot make files in /dev/null/run: not a directory (ENOTDIR); choose another folder with out=PATH"],
    ["a run folder that is taken", () => ["train", "train=8", "batch=8", `out=${at("whole")}`], /^run: .*whole is not empty \(it holds args\.json, confusion\.json, curves\.json, \.\.\.\); choose another folder, or go on with resume=/],
    ["another option beside resume", () => ["train", `resume=${at("whole")}`, "lr0=0.5"], /^train: resume= goes on with the options of .*last\.safetensors; beside it only epochs, data, memory and threads can be given, not lr0$/],
    ["a batch that does not fit into the memory", () => ["train", "train=48", "val=8", "test=8", "imgsz=64", "batch=512", "memory=150"], /^train: memory: batch 512 at 64 x 64 needs \d+ MB, the limit is 150 MB; batch=\d+ fits, and checkpointing=true takes less$/],
    ["a run that is not there", () => ["train", "resume=runs/none"], "checkpoint: cannot open runs/none: no such file or directory (ENOENT)"],
    ["no weights", () => ["val"], "val: weights is missing; give weights=RUN_FOLDER or weights=CHECKPOINT"],
    ["no source", () => ["predict", `weights=${at("whole")}`], "predict: source is missing; give source=PICTURE, source=RECORDING or source=FOLDER"],
    ["a source without pictures", () => ["predict", `weights=${at("whole")}`, `source=${at("whole", "weights")}`], /^predict: .*weights holds no JPEG, PNG or WebP$/],
    ["a class that the network does not know", () => ["val", `weights=${at("whole")}`, `data=${at("cats")}`], /class "cat", which is not in the class list \[ball, cube, ring\]/],
  ];

  beforeAll(() => writeVoc(at("cats"), [{ id: "a", objects: [{ name: "cat", corners: [2, 2, 30, 30] }] }], { train: ["a"], val: ["a"] }));

  for (const [what, args, sentence] of refusals) {
    test(`${what}: one sentence, no stack, exit code 2`, async () => {
      const { code, err } = await spiketrain(args());
      expect(code).toBe(2);
      expect(err.endsWith("\n")).toBe(true);
      const line = err.slice(0, -1);
      expect(line).not.toContain("\n");
      if (typeof sentence === "string") expect(line).toBe(sentence); else expect(line).toMatch(sentence);
    });
  }

  test("nothing of it leaves a run folder", () => { expect(existsSync(at("runs"))).toBe(false); });

  test("help is a table, and exit code 0", async () => {
    for (const args of [[], ["help"], ["--help"]]) {
      const { code, out } = await spiketrain(args);
      expect(code).toBe(0);
      expect(out).toContain("predict  find objects in pictures, or in recordings of events, and draw them");
    }
    expect((await spiketrain(["val", "-h"])).out).toMatch(/^spiketrain val key=value/);
    for (const word of ["help", "--help"]) { // npm start -- help
      const { code, out } = await run([process.execPath, join(ROOT, "cli/bootstrap.mjs"), "start", word]);
      expect(code).toBe(0);
      expect(out).toMatch(/^spiketrain train key=value .*\n\ntrain    train a detector/);
      expect(out).not.toContain("source=");
    }
  });
});

test("a file is readable after its writer was killed at any moment", async () => {
  const path = at("state"), module = new URL(`file://${join(ROOT, "dist/cli/atomic-file.js")}`).href;
  const writer = `
    const { writeAtomically } = await import(${JSON.stringify(module)});
    for (let i = 0; ; i++) { await writeAtomically(${JSON.stringify(path)}, new Uint8Array(1 << 21).fill(i & 255)); if (i === 0) console.log("ready"); }`;
  for (let k = 0; k < 12; k++) {
    await run([process.execPath, "--input-type=module", "-e", writer], (_, kill) => { setTimeout(() => kill("SIGKILL"), (k * 37) % 100); });
    const bytes = readFileSync(path);
    expect(bytes.length).toBe(1 << 21);
    expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
  }
});
