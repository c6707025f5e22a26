/** How the recorded data sets are read with this project's readers: labels, events and boxes. Pixels and frames are others' business. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readInstances } from "../../datasets/coco.ts";
import { openEvents, readBoxes, type EventBox, type Events } from "../../datasets/gen1.ts";
import { voc } from "../../datasets/voc.ts";
import type { ObjectBox } from "../../datasets/sample.ts";
import type { OracleCase, Player } from "./play.ts";

const at = (c: OracleCase, file: string): string => join(c.folder.path, file);
const expected = (c: OracleCase, folder: string): any => JSON.parse(readFileSync(at(c, `${folder}/expected.json`), "utf8"));

// ---- VOC ----

interface VocRead { readonly sets: { split: string; ids: string[]; names: string[]; boxes: (readonly ObjectBox[])[]; sizes: [number, number][]; problems: readonly string[] }[] }

const readVoc: Player = {
  places: [],
  async read(c): Promise<VocRead> {
    const sets = [];
    for (const split of ["trainval", "test"]) {
      const set = await voc(at(c, "voc-mini"), { split, classes: c.params.classes }).open();
      const samples = await Promise.all(Array.from({ length: set.size }, (_, i) => set.sample(i)));
      sets.push({ split, ids: samples.map((sample) => sample!.name.slice(0, -4)), names: samples.map((sample) => sample!.name), boxes: samples.map((sample) => sample!.boxes), sizes: samples.map((sample): [number, number] => [sample!.picture.width, sample!.picture.height]), problems: set.problems });
    }
    return { sets };
  },
  play(c, check, { sets }: VocRead) {
    const { images } = expected(c, "voc-mini"), seen: string[] = [];
    for (const { names, boxes, sizes, problems } of sets) {
      const cmyk = names.filter((name) => images.find(({ file }: { file: string }) => file === name)?.mode === "CMYK");
      for (const problem of problems) if (!cmyk.some((name) => problem.includes(`${name}: the JPEG is CMYK`))) check.fail(problem);
      if (problems.length !== cmyk.length) check.fail(`${cmyk.length} pictures are CMYK, and ${problems.length} were named`);
      names.forEach((name, i) => {
        seen.push(name);
        const { objects, width, height } = images.find(({ file }: { file: string }) => file === name);
        check.equal(`${name} size`, sizes[i], [width, height]);
        check.equal(`${name} classes`, boxes[i].map((box) => box.class), objects.map((object: any) => object.class_id));
        check.equal(`${name} difficult`, boxes[i].map(({ difficult }) => (difficult ? 1 : 0)), objects.map((object: any) => object.difficult));
        // The recorded labels take the corners as written; ours are half-open, so that x1 + 1 and y1 + 1 are what is written.
        const written = boxes[i].flatMap(({ x1, y1, x2, y2 }) => [x1 + 1, y1 + 1, x2, y2]);
        check.within(`${name} corners`, written, objects.flatMap((object: any) => object.bbox), 1e-6);
        const shares = boxes[i].flatMap(({ x1, y1, x2, y2 }) => [(x1 + 1 + x2) / 2 / width, (y1 + 1 + y2) / 2 / height, (x2 - x1 - 1) / width, (y2 - y1 - 1) / height]);
        check.within(`${name} labels`, shares, objects.flatMap((object: any) => object.yolo), 1e-6);
      });
    }
    if (seen.sort().join() !== images.map(({ file }: { file: string }) => file).sort().join()) check.fail(`read ${seen.join()}`);
  },
};

// ---- COCO ----

const readCoco: Player = {
  places: [],
  read: (c) => readInstances(at(c, "coco-mini/annotations/instances_val2017.json")),
  play(c, check, { images, categories, annotations, problems }: Awaited<ReturnType<typeof readInstances>>) {
    const want = expected(c, "coco-mini"), classOf = new Map(categories.map(({ id }, i) => [id, i]));
    for (const problem of problems) check.fail(problem);
    check.equal("images", images.map(({ id }) => id).sort((a, b) => a - b), want.images.map(({ id }: { id: number }) => id).sort((a: number, b: number) => a - b));
    for (const { id, file, width, height, labels, labels_spikeyolo_coco2yolo: every } of want.images) {
      const image = images.find((one) => one.id === id)!;
      if (image.file !== file) check.fail(`image ${id} is ${image.file}, expected ${file}`);
      check.equal(`${id} size`, [image.width, image.height], [width, height]);
      const all = Array.from({ length: annotations.count }, (_, n) => n).filter((n) => annotations.image[n] === id)
        .sort((a, b) => annotations.id[a] - annotations.id[b]);                           // as recorded
      const row = (n: number) => [classOf.get(annotations.category[n])!, ...annotations.bbox.subarray(4 * n, 4 * n + 4)];
      const share = ([k, x, y, w, h]: number[]) => [k, (x + w / 2) / width, (y + h / 2) / height, w / width, h / height];
      const kept = all.filter((n) => !annotations.crowd[n] && annotations.bbox[4 * n + 2] > 0 && annotations.bbox[4 * n + 3] > 0);
      check.equal(`${id} boxes`, kept.flatMap(row), labels.flatMap((label: any) => [label.class_id, ...label.bbox]));
      check.equal(`${id} categories`, kept.map((n) => annotations.category[n]), labels.map((label: any) => label.category_id));
      check.within(`${id} labels`, kept.map(row).flatMap(share), labels.flatMap((label: any) => [label.class_id, ...label.yolo]), 1e-6);
      check.within(`${id} labels of every annotation`, all.map(row).flatMap(share), every.flat(), 1e-6);
    }
  },
};

// ---- Gen1 ----

interface Gen1Read { readonly whole: Events; readonly blocks: Events; readonly variants: [name: string, events: Events][]; readonly boxes: [name: string, boxes: EventBox[]][]; readonly sizes: number[]; readonly problems: string[] }

const readGen1: Player = {
  places: [],
  async read(c): Promise<Gen1Read> {
    const open = (name: string) => openEvents(at(c, `gen1-mini/${name}`));
    const file = await open("mini_td.dat"), parts: Events[] = [];
    for await (const part of file.blocks(0, Infinity, 777)) parts.push(part);
    const join = (key: keyof Events) => parts.flatMap((part) => [...part[key]]);
    const blocks = { t: Float64Array.from(join("t")), x: Uint16Array.from(join("x")), y: Uint16Array.from(join("y")), p: Uint8Array.from(join("p")) };
    const others = await Promise.all(["variants_noheader_td.dat", "variants_otherheader_td.dat"].map(async (name) => [name, await open(name)] as const));
    const boxes = ["mini_bbox.npy", "variants_aligned_bbox.npy", "variants_newnames_bbox.npy"].map((name) => [name, readBoxes(readFileSync(at(c, `gen1-mini/${name}`)), name)] as const);
    return {
      whole: await file.events(), blocks,
      variants: await Promise.all(others.map(async ([name, other]): Promise<[string, Events]> => [name, await other.events()])),
      boxes: boxes.map(([name, read]) => [name, read.boxes]),
      sizes: [file, ...others.map(([, other]) => other)].flatMap(({ width, height }) => [width, height]),
      problems: [...file.problems, ...others.flatMap(([, other]) => other.problems), ...boxes.flatMap(([, read]) => read.problems)],
    };
  },
  play(c, check, { whole, blocks, variants, boxes, sizes, problems }: Gen1Read) {
    for (const problem of problems) check.fail(problem);
    const columns = (file: string) => (key: string) => { const read = c.folder.tensors(file).get(key)!.read(); return read instanceof BigInt64Array || read instanceof BigUint64Array ? Float64Array.from(read, Number) : read; };
    const wanted = columns("gen1-mini/events.safetensors");
    check.equal("sensor", sizes, [304, 240, 304, 240, 304, 240]);
    compare("mini_td.dat", whole, wanted("t").length);
    compare("mini_td.dat in blocks", blocks, wanted("t").length);
    for (const [name, events] of variants) {
      if (events.t.length < 400) check.fail(`${name} has ${events.t.length} events`);
      compare(name, events, events.t.length);
    }
    function compare(name: string, events: Events, n: number): void {
      for (const key of ["t", "x", "y", "p"] as const) check.equal(`${name} ${key}`, events[key], wanted(key).subarray(0, n));
    }

    const box = columns("gen1-mini/boxes.safetensors");
    for (const [name, read] of boxes) {
      check.equal(`${name} xywh`, read.flatMap(({ x, y, w, h }) => [x, y, w, h]), box("xywh"));
      check.equal(`${name} t`, read.map(({ t }) => t), box("t"));
      check.equal(`${name} class`, read.map((one) => one.class), box("class_id"));
      check.equal(`${name} track`, read.map(({ track }) => track), box("track_id"));
      check.equal(`${name} confidence`, read.map(({ confidence }) => confidence), box("confidence"));
    }
  },
};

export const readerPlayers: ReadonlyMap<string, Player> = new Map([["read_voc", readVoc], ["read_coco", readCoco], ["read_gen1", readGen1]]);
