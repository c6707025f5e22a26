import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { voc, type VocOptions } from "../../datasets/voc.ts";
import { beside, jpegOf, pattern } from "./pictures.ts";

const home = mkdtempSync(join(tmpdir(), "voc-"));
afterAll(() => rmSync(home, { recursive: true }));

const PICTURE = await jpegOf(pattern(40, 30));

interface Thing { name: string; corners: readonly (number | string)[]; extra?: string }
const object = ({ name, corners: [xmin, ymin, xmax, ymax], extra = "" }: Thing) =>
  `<object><name>${name}</name>${extra}<bndbox><xmin>${xmin}</xmin><ymin>${ymin}</ymin><xmax>${xmax}</xmax><ymax>${ymax}</ymax></bndbox></object>`;
const xml = (things: readonly Thing[], width = 40, height = 30) =>
  `<annotation><filename>000005.jpg</filename><size><width>${width}</width><height>${height}</height><depth>3</depth></size>${things.map(object).join("")}</annotation>`;

/** Python's "%.6f": a tie goes to the even digit, where toFixed takes the larger. */
function sixDecimals(value: number): string {
  const exact = value.toFixed(20), tie = /^50*$/.test(exact.slice(-14));
  return tie && "02468".includes(exact.at(-15)!) ? exact.slice(0, -14) : value.toFixed(6);
}

/** Writes a VOC folder: text is an annotation, bytes are a picture, and an array is a list of ids. */
let folders = 0;
function folder(files: Record<string, string | Uint8Array | readonly string[]>): string {
  const root = join(home, `set${folders++}`);
  for (const [name, content] of Object.entries(files)) {
    const path = join(root, typeof content === "string" ? `Annotations/${name}.xml` : content instanceof Uint8Array ? `JPEGImages/${name}.jpg` : `ImageSets/Main/${name}.txt`);
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, Array.isArray(content) ? content.map((id) => `${id}\n`).join("") : (content as string | Uint8Array));
  }
  return root;
}
/** A folder with one picture, "a", and these objects in it. */
const one = (things: readonly Thing[], width?: number, height?: number) => ({ "a": xml(things, width, height), train: ["a"] as readonly string[] });
const withPicture = (files: Record<string, string | readonly string[]>, picture: Uint8Array = PICTURE): string => {
  const root = folder(files);
  mkdirSync(join(root, "JPEGImages"), { recursive: true });
  for (const name of Object.keys(files)) if (typeof files[name] === "string") writeFileSync(join(root, "JPEGImages", `${name}.jpg`), picture);
  return root;
};
const refusal = async (path: string, options?: VocOptions): Promise<string> => voc(path, options).open().then(() => "nothing was refused", (error: Error) => error.message);

describe("a VOC folder", () => {
  test("gives corners from 0, half-open, with missing fields at 0 and parts left out", async () => {
    const part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>";
    const set = await voc(withPicture(one([
      { name: "dog", corners: [1, 1, 40, 30] },
      { name: "cat", corners: [4.5, 3.25, 20.703125, "15.0"], extra: "<difficult>1</difficult><truncated>1</truncated>" },
      { name: "dog", corners: [10, 11, 12, 13], extra: `<pose>Left</pose><difficult>0</difficult>${part}` },
    ]))).open();
    const sample = await set.sample(0);
    expect(set.classes).toEqual(["cat", "dog"]);
    expect(sample!.name).toBe("a.jpg");
    expect(sample!.boxes).toEqual([
      { class: 1, x1: 0, y1: 0, x2: 40, y2: 30, difficult: false },
      { class: 0, x1: 3.5, y1: 2.25, x2: 20.703125, y2: 15, difficult: true },
      { class: 1, x1: 9, y1: 10, x2: 12, y2: 13, difficult: false },
    ]);
    expect(set.problems).toEqual([]);
    expect(await set.sample(0), "read again").toEqual(sample);
  });

  test("drops boxes without area or outside, clips those that stick out, and says which", async () => {
    const set = await voc(withPicture(one([
      { name: "dog", corners: [5, 5, 5, 9] },
      { name: "dog", corners: [0, -3, 41, 10] },
      { name: "dog", corners: [50, 5, 60, 9] },
      { name: "dog", corners: [5, 5, "many", 9] },
      { name: "dog", corners: [12, 9, 11, 20] },
    ]))).open();
    expect((await set.sample(0))!.boxes).toEqual([{ class: 0, x1: 0, y1: 0, x2: 40, y2: 10, difficult: false }]);
    expect(set.problems).toEqual([
      'voc: object 1 ("dog") of Annotations/a.xml has corners 5, 5 and 5, 9, which is no area; it is dropped',
      'voc: object 2 ("dog") of Annotations/a.xml has corners 0, -3 and 41, 10, partly outside its picture of 40 x 30; it is clipped',
      'voc: object 3 ("dog") of Annotations/a.xml has corners 50, 5 and 60, 9, all outside its picture of 40 x 30; it is dropped',
      'voc: object 4 ("dog") of Annotations/a.xml has corners 5, 5 and NaN, 9, which are not all numbers; it is dropped',
      'voc: object 5 ("dog") of Annotations/a.xml has corners 12, 9 and 11, 20, which is no area; it is dropped',
    ]);
  });

  test("goes by the picture where the annotated size is wrong, and says so", async () => {
    const set = await voc(withPicture(one([{ name: "dog", corners: [1, 1, 60, 20] }], 80, 60))).open();
    expect((await set.sample(0))!.boxes[0]).toMatchObject({ x1: 0, x2: 40 });
    expect(set.problems[0]).toBe("voc: Annotations/a.xml says 80 x 60 pixels, the picture has 40 x 30; its boxes are clipped to the picture");
  });

  test("may be named by its VOCdevkit, if that holds one year only", async () => {
    const root = withPicture(one([{ name: "dog", corners: [1, 1, 4, 3] }])), kit = join(home, "kit", "VOCdevkit");
    mkdirSync(join(kit, "VOC2007"), { recursive: true });
    cpSync(root, join(kit, "VOC2007"), { recursive: true });
    expect((await voc(join(home, "kit")).open()).size).toBe(1);
    expect((await voc(kit).open()).size).toBe(1);
    cpSync(root, join(kit, "VOC2012"), { recursive: true });
    expect(await refusal(kit)).toBe(`voc: "${kit}" holds several data sets (VOC2007, VOC2012); give the path of one of them`);
  });

  test("opens trainval unless told otherwise, train where there is no trainval, and numbers classes alike in every split", async () => {
    const files = { a: xml([{ name: "dog", corners: [1, 1, 9, 9] }]), b: xml([{ name: "cat", corners: [1, 1, 9, 9] }]), train: ["a"], val: ["b"], trainval: ["a", "b"], dog_train: ["a 1"] };
    const root = withPicture(files);
    expect((await voc(root).open()).size).toBe(2);
    expect((await voc(root, { split: "val" }).open()).classes).toEqual(["cat", "dog"]);
    const { trainval: _, val: __, ...rest } = files;
    expect(await voc(withPicture(rest)).open()).toMatchObject({ size: 1, classes: ["dog"] });
  });

  test("keeps the order of a class list that is given", async () => {
    const set = await voc(withPicture(one([{ name: "dog", corners: [1, 1, 9, 9] }])), { classes: ["sheep", "dog"] }).open();
    expect((await set.sample(0))!.boxes[0].class).toBe(1);
  });

  test("loops over batches without being opened first", async () => {
    const shapes: number[][] = [];
    for await (const { images, boxes } of voc(withPicture(one([{ name: "dog", corners: [1, 1, 20, 15] }]))).batches({ batch: 8, imgsz: 32 })) {
      shapes.push([...images.shape], [...boxes.xywh]);
    }
    expect(shapes).toEqual([[1, 32, 32, 3], [0.25, 0.3125, 0.5, 0.375]]);               // 40 x 30 at scale .8 on 32 x 32, 4 rows above
  });
});

describe("what makes no set", () => {
  test("is refused in one sentence that says what there is", async () => {
    const absent = join(home, "absent"), bare = join(home, "bare");
    mkdirSync(join(bare, "images"), { recursive: true });
    expect(await refusal(absent)).toBe(`voc: "${absent}" is not a folder; expected one with Annotations/, JPEGImages/ and ImageSets/Main/`);
    expect(await refusal(bare)).toBe(`voc: "${bare}" has no Annotations/; expected Annotations/, JPEGImages/ and ImageSets/Main/, got images`);
    const unlisted = folder({ a: xml([]) });
    expect(await refusal(unlisted)).toBe(`voc: "${unlisted}" has no lists in ImageSets/Main; expected train.txt, val.txt or the like, one picture name per line`);
    const root = withPicture({ ...one([{ name: "dog", corners: [1, 1, 9, 9] }]), val: [], dog_val: ["a -1"] });
    expect(await refusal(root, { split: "test" })).toBe(`voc: split "test" has no list ImageSets/Main/test.txt in "${root}"; the splits there are train, val`);
    expect(await refusal(root, { split: "val" })).toBe(`voc: split "val" is empty: ImageSets/Main/val.txt in "${root}" names no picture`);
    expect(await refusal(root, { classes: ["cat", "cow"] })).toBe('voc: object 1 of Annotations/a.xml is of class "dog", which is not in the class list [cat, cow]; add it to classes, or remove the object');
    expect(await refusal(root, { classes: ["dog", "cat", "dog"] })).toBe('voc: class "dog" is twice in the class list [dog, cat, dog]; name each class once');
  });

  test("reaches the loop over batches as the same sentence", async () => {
    const loop = async () => { for await (const _ of voc(join(home, "absent")).batches(2)) throw new Error("a batch came"); };
    await expect(loop()).rejects.toThrow("is not a folder");
  });
});

describe("broken files", () => {
  const good = xml([{ name: "dog", corners: [1, 1, 9, 9] }]);
  const root = folder({
    good, cut: good, absent: good, unclosed: "<annotation><object><name>dog</name></annotation>", other: "<html></html>", nameless: "<annotation><object><pose>Left</pose></object></annotation>",
    train: ["cut", "good", "absent", "unclosed", "nowhere", "other", "nameless", "good", "../good"],
  });
  mkdirSync(join(root, "JPEGImages"));
  for (const name of ["good", "unclosed", "nowhere", "other", "nameless"]) writeFileSync(join(root, "JPEGImages", `${name}.jpg`), PICTURE);
  writeFileSync(join(root, "JPEGImages", "cut.jpg"), PICTURE.subarray(0, 300));

  for (const decoder of ["sharp", "wasm"] as const) {
    test(`are skipped by name and counted, and the others are read (${decoder})`, async () => {
      const set = await voc(root, { decoder }).open();
      expect(set.size).toBe(7);
      expect(set.skipped, "before any picture was read").toBe(5);
      const names: (string | undefined)[] = [];
      for (let round = 0; round < 2; round++) for (let i = 0; i < set.size; i++) names.push((await set.sample(i))?.name);
      expect(names.slice(0, 7)).toEqual([undefined, "good.jpg", undefined, undefined, undefined, undefined, undefined]);
      expect(names.slice(7)).toEqual(names.slice(0, 7));
      expect(set.skipped).toBe(6);
      expect(set.problems).toEqual([
        'voc: ImageSets/Main/train.txt lists "good" more than once; it counts once',
        'voc: ImageSets/Main/train.txt lists "../good", expected a name without a path; it is left out',
        expect.stringMatching(/^voc: Annotations\/unclosed\.xml cannot be used \(line 1: .+\); its picture is skipped$/),
        "voc: Annotations/nowhere.xml cannot be used (Annotations/nowhere.xml is missing); its picture is skipped",
        "voc: Annotations/other.xml cannot be used (no <annotation> in it); its picture is skipped",
        "voc: Annotations/nameless.xml cannot be used (object 1 has no name); its picture is skipped",
        `voc: picture absent of split "train" has no file JPEGImages/absent.jpg in "${root}"; it is skipped`,
        "voc: image JPEGImages/cut.jpg: the JPEG has no end-of-image marker within its 300 bytes (truncated); replace the file; the picture is skipped",
      ]);
    });
  }

  test("leave room in a batch that the next picture takes", async () => {
    const names: string[][] = [];
    for await (const { origins } of voc(root).batches({ batch: 1, imgsz: 32 })) names.push(origins.map(({ name }) => name));
    expect(names).toEqual([["good.jpg"]]);
  });

  test("stop the loop, with the first reason, when nothing else is there", async () => {
    const hopeless = withPicture(one([{ name: "dog", corners: [1, 1, 9, 9] }]), PICTURE.subarray(0, 200));
    const loop = async () => { for await (const _ of voc(hopeless).batches({ batch: 1, imgsz: 32 })) throw new Error("a batch came"); };
    await expect(loop()).rejects.toThrow(`batches: none of the 1 pictures of voc ${hopeless} train can be read (first problem: voc: image JPEGImages/a.jpg: the JPEG has no end-of-image marker within its 200 bytes (truncated); replace the file; the picture is skipped)`);
  });
});

describe("a stranger's folder", () => {
  const good = xml([{ name: "dog", corners: [1, 1, 9, 9] }]), ESC = "\u001b", CSI = "\u009b";

  test("has splits, by name", async () => {
    expect(await voc(withPicture({ ...one([]), val: ["a"], dog_train: ["a 1"] })).splits()).toEqual(["train", "val"]);
    await expect(voc(join(home, "absent")).splits()).rejects.toThrow("is not a folder");
  });

  test.skipIf(process.platform === "win32")("with folders and pipes in the place of files goes on without them", async () => {
    const root = withPicture({ good, train: ["good", "pipe", "box", "annotation", "fifo"], pipe: good, box: good });
    for (const name of ["pipe", "box"]) rmSync(join(root, `JPEGImages/${name}.jpg`));
    execFileSync("mkfifo", [join(root, "JPEGImages/pipe.jpg"), join(root, "Annotations/fifo.xml")]);
    mkdirSync(join(root, "JPEGImages/box.jpg"));
    mkdirSync(join(root, "Annotations/annotation.xml"));
    for (const name of ["annotation", "fifo"]) writeFileSync(join(root, `JPEGImages/${name}.jpg`), PICTURE);
    const set = await voc(root).open(), names: unknown[] = [];
    for (let i = 0; i < set.size; i++) names.push((await set.sample(i))?.name);
    expect(names).toEqual(["good.jpg", undefined, undefined, undefined, undefined]);
    expect(set.skipped).toBe(4);
    expect(set.problems).toEqual([
      "voc: Annotations/annotation.xml cannot be used (Annotations/annotation.xml is a folder, expected a file); its picture is skipped",
      "voc: Annotations/fifo.xml cannot be used (Annotations/fifo.xml is a pipe or a device, expected a file); its picture is skipped",
      "voc: JPEGImages/pipe.jpg is a pipe or a device, expected a file; the picture is skipped",
      "voc: JPEGImages/box.jpg is a folder, expected a file; the picture is skipped",
    ]);
  });

  test.skipIf(process.platform === "win32" || process.getuid?.() === 0)("with a locked picture goes on without it", async () => {
    const root = withPicture({ good, locked: good, train: ["good", "locked"] });
    chmodSync(join(root, "JPEGImages/locked.jpg"), 0);
    const set = await voc(root).open();
    expect(await set.sample(1)).toBeUndefined();
    expect(set.problems).toEqual(["voc: JPEGImages/locked.jpg cannot be read (EACCES); the picture is skipped"]);
  });

  test("cannot drive the terminal with the names in it", async () => {
    const name = `${ESC}]0;owned\u0007${CSI}2J\u202e`, root = withPicture({ good: xml([{ name, corners: [5, 5, 5, 9] }]), [`bad${CSI}2J`]: `<a></${CSI}b>`, train: ["good", `bad${CSI}2J`, `gone${ESC}[2J`, `../${ESC}[2J`] });
    const set = await voc(root).open(), driving = /[\u0000-\u001f\u007f-\u009f\u202e]/;
    const sentences = [...set.problems, await refusal(root, { classes: ["cat", name, name] }), await refusal(root, { classes: ["cat"] })];
    expect(sentences.length).toBeGreaterThanOrEqual(6);
    for (const sentence of sentences) expect(sentence).not.toMatch(driving);
    expect(sentences.at(-1)).toContain('is of class "\\u001b]0;owned\\u0007\\u009b2J\\u202e"');
    const bare = join(home, "driving");
    mkdirSync(join(bare, `${ESC}[2J`), { recursive: true });
    expect(await refusal(bare)).toMatch(/got \\u001b\[2J$/);
  });
});

describe("real folders", () => {
  const bccd = beside("data/bccd"), reference = beside("data/bccd-reference/labels.json");
  test.skipIf(!bccd || !reference)("BCCD's labels are those that the reference trained on, to the byte", async () => {
    const labels = JSON.parse(readFileSync(reference!, "utf8"));
    for (const [split, key] of [["trainval", "train"], ["test", "val"]]) {
      const set = await voc(bccd!, { split, classes: ["RBC", "WBC", "Platelets"] }).open();
      expect(set.size).toBe(labels[key].images);
      expect(set.problems.map((problem) => problem.match(/BloodImage_\d+/)![0])).toEqual(labels[key].skipped?.map(([name]: [string]) => name) ?? []);
      const hash = createHash("sha256"), texts: [string, string][] = [];
      for (let i = 0; i < set.size; i++) {
        const { name, boxes } = (await set.sample(i))!;
        const lines = boxes.map((b) => `${b.class} ${[(b.x1 + b.x2) / 2 / 640, (b.y1 + b.y2) / 2 / 480, (b.x2 - b.x1) / 640, (b.y2 - b.y1) / 480].map(sixDecimals).join(" ")}\n`);
        texts.push([name.replace(".jpg", ".txt"), lines.join("")]);
      }
      for (const [name, text] of texts.sort(([a], [b]) => (a < b ? -1 : 1))) hash.update(`${name}\n${text}`);
      expect(hash.digest("hex")).toBe(labels[key].sha256);
    }
  }, 60_000);

  const mini = beside("oracle/datasets/voc-mini");
  test.skipIf(!mini)("the miniature of VOC's variations is read as expected", async () => {
    const { classes, images } = JSON.parse(readFileSync(join(mini!, "expected.json"), "utf8"));
    for (const split of ["trainval", "test"]) {
      const set = await voc(mini!, { split, classes }).open();
      for (let i = 0; i < set.size; i++) {
        const { name, boxes } = (await set.sample(i))!;
        const want = images.find(({ file }: { file: string }) => file === name).objects;
        expect(boxes, name).toEqual(want.map(({ class_id, difficult, bbox: [x1, y1, x2, y2] }: any) => ({ class: class_id, x1: x1 - 1, y1: y1 - 1, x2, y2, difficult: difficult === 1 })));
      }
      const inks = Array.from({ length: set.size }, (_, i) => set.files!.file(i)!.name).includes("000073.jpg");
      expect(set.problems).toEqual(inks ? ["voc: image JPEGImages/000073.jpg: the JPEG is CMYK and was converted without its colour profile, so its colours may be off; save it as RGB"] : []);
    }
  });
});

test("pictures may be WebP, in small or capital letters", async () => {
  const { default: sharp } = await import("sharp"), { pixels } = pattern(40, 30), webp = new Uint8Array(await sharp(pixels, { raw: { width: 40, height: 30, channels: 3 } }).webp({ lossless: true }).toBuffer());
  const ball = xml([{ name: "ball", corners: [1, 1, 20, 20] }]), root = folder({ a: ball, b: ball, train: ["a", "b"] });
  mkdirSync(join(root, "JPEGImages"));
  writeFileSync(join(root, "JPEGImages", "a.webp"), webp);
  writeFileSync(join(root, "JPEGImages", "b.WEBP"), webp);
  const set = await voc(root, { split: "train" }).open();
  expect((await Promise.all([0, 1].map((i) => set.sample(i)))).map((sample) => [sample?.name, sample?.picture.pixels])).toEqual([["a.webp", pixels], ["b.WEBP", pixels]]);
  expect(set.problems).toEqual([]);
});
