/**
 * Files that were made to hurt, each given to its reader in a process with little memory. Prints a line of JSON per bomb: its name, what the
 * reader said, how much time of the processor it took, and the most memory that the process has had so far.
 */
import { zipSync } from "fflate";
import { BrokenFile } from "../../datasets/file.ts";
import { readInstances, readResults } from "../../datasets/coco.ts";
import { openEvents, readBoxes } from "../../datasets/gen1.ts";
import { readNpy } from "../../datasets/npy.ts";
import { readNpz } from "../../datasets/npz.ts";
import { ProblemList } from "../../datasets/problems.ts";
import { parseAnnotation } from "../../datasets/voc.ts";
import { parseDataYaml, parseLabels } from "../../datasets/yolo-txt.ts";
import { npyOf } from "./npy-of.ts";

const text = (content: string): Uint8Array => new TextEncoder().encode(content);
const npy = (descr: string, shape: string, data: Uint8Array | number[] = []): Uint8Array => npyOf(`{'descr': ${descr}, 'fortran_order': False, 'shape': (${shape}), }`, data);
const npz = (bytes: Uint8Array) => () => { const archive = readNpz(bytes, "a.npz"); return archive.names.map((name) => archive.read(name)); };
const instances = (content: string) => () => readInstances(text(content));
const xml = (content: string) => () => parseAnnotation(content, "a.xml");
const yaml = (content: string) => () => parseDataYaml(text(content), "data.yaml");
/** Changes 32-bit numbers of a zip, at offsets from a signature. */
function patched(bytes: Uint8Array, signature: number, changes: Record<number, number>): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset), at = Array.from({ length: bytes.length - 4 }, (_, i) => i).find((i) => view.getUint32(i, true) === signature)!;
  for (const [offset, value] of Object.entries(changes)) view.setUint32(at + Number(offset), value, true);
  return bytes;
}
const ENTRY = 0x02014b50, small = npy("'|u1'", "3,", [1, 2, 3]);
const image = '{"id": 1, "file_name": "a.jpg", "width": 9, "height": 8}';

/** Every one must be refused, but for those called "harmless: …", which must be read. */
const bombs: Record<string, () => unknown> = {
  "npy of 2^53 numbers": () => readNpy(npy("'<f8'", "9007199254740992,")),
  "npy whose sizes multiply to infinity": () => readNpy(npy("'<f8'", Array(32).fill("9007199254740991").join(", "))),
  "npy of a terabyte in ten bytes": () => readNpy(npy("'<f4'", "262144, 1048576", [1, 2, 3])),
  "npy whose elements have no bytes": () => readNpy(npy("'|V0'", "1000000000000,")),
  "npy whose header is 4 GB long": () => readNpy(Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 2, 0, 255, 255, 255, 255, 0x7b)),
  "npy of Python objects": () => readNpy(npy("'|O'", "1,", [...text("cos\nsystem\n")])),
  "npy with a hundred thousand brackets": () => readNpy(npyOf("(".repeat(60_000), [])),
  "npy with a key twice": () => readNpy(npyOf("{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (0,), }", [])),
  "npy with the key __proto__": () => readNpy(npyOf("{'descr': '<f4', '__proto__': '<f8', 'fortran_order': False, 'shape': (0,), }", [])),
  "boxes with a field twice": () => readBoxes(npy("[('ts', '<u8'), ('ts', '<u8')]", "0,")),
  "boxes with a field of a petabyte": () => readBoxes(npy("[('ts', '<u8', (1125899906842624,))]", "1,")),
  "boxes of records in records": () => readBoxes(npy(`[('a', ${"[('a', ".repeat(1000)}'<u8'${")]".repeat(1000)})]`, "1,")),
  "boxes that lack a field": () => readBoxes(npy("[('ts', '<u8'), ('__proto__', '<u8')]", "1,", Array(16).fill(0))),
  "npz that unpacks to a gigabyte": npz(patched(zipSync({ "a.npy": [new Uint8Array(20 << 20), { level: 9 }] }), ENTRY, { 24: 1 << 30 })),
  "npz that unpacks to more than it says": npz(patched(zipSync({ "a.npy": [new Uint8Array(20 << 20), { level: 9 }] }), ENTRY, { 24: 1000 })),
  "npz whose file begins outside": npz(patched(zipSync({ "a.npy": small }), ENTRY, { 42: 0xfffffff0 })),
  "npz with ../ in a name": npz(zipSync({ "../../a.npy": small })),
  "npz with a name from the root": npz(zipSync({ "/etc/a.npy": small })),
  "npz in an npz": npz(zipSync({ "a.npz": zipSync({ "a.npy": small }) })),
  "npz with two of one name": npz(zipSync({ "a.npy": small, "b.npy": small }).map((byte, i, all) => (byte === 0x62 && all[i + 1] === 0x2e && all[i + 2] === 0x6e ? 0x61 : byte))),
  "npz of files that overlap": npz(patched(zipSync({ "a.npy": [small, { level: 0 }], "b.npy": [small, { level: 0 }] }), ENTRY, { 20: small.length + 40, 24: small.length + 40 })),
  "npz that claims 65535 files": npz(zipSync({ "a.npy": small }).map((byte, i, { length }) => (i >= length - 14 && i < length - 10 ? 0xff : byte))),
  "events behind an endless header": () => openEvents(text("% ".padEnd(1 << 20, "x"))),
  "events behind a million header lines": () => openEvents(text("% a\n".repeat(1 << 20))),
  "events of 0 bytes each": () => openEvents(Uint8Array.of(0x25, 0x20, 0x0a, 0, 0, 1, 2, 3)),
  "events of a sensor of 2^31 pixels": () => openEvents(text("% Width 2147483648\n% Height 2147483648\n\0\b")),
  "events of two sensors": () => openEvents(text("% Width 304\n% Width 1280\n\0\b")),
  "JSON of a million brackets": instances(`{"images": ${"[".repeat(1e6)}`),
  "JSON of a million brackets that close": instances(`{"images": [], "x": ${"[".repeat(1e6)}${"]".repeat(1e6)}}`),
  "JSON of deep objects": instances(`{"x": ${'{"a":'.repeat(2e5)}1${"}".repeat(2e5)}}`),
  "JSON with the same list twice": instances(`{"images": [${image}], "images": []}`),
  "JSON with a key of a record twice": instances(`{"images": [{"id": 1, "id": 2, "file_name": "a.jpg", "width": 9, "height": 8}]}`),
  "JSON with __proto__ in the place of images": instances(`{"__proto__": {"images": [${image}]}}`),
  "JSON with one element of 20 MB": instances(`{"info": "${"a".repeat(20 << 20)}"}`),
  "JSON with a million keys": instances(`{${Array.from({ length: 1e6 }, (_, i) => `"k${i}":0`).join()}}`),
  "JSON with a million keys in a record": instances(`{"images": [{${Array.from({ length: 4e5 }, (_, i) => `"k${i}":0`).join()}}]}`),
  "JSON with a number of a million digits": instances(`{"images": [{"id": ${"9".repeat(1e6)}}]}`),
  "JSON with a picture of 2^40 pixels": instances('{"images": [{"id": 1, "file_name": "a.jpg", "width": 1099511627776, "height": 8}]}'),
  "JSON with a bbox of a million numbers": instances(`{"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [${Array(1e6).fill(1).join()}]}]}`),
  "JSON with a category twice": instances('{"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}'),
  "JSON with NaN": () => readResults(text('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, NaN], "score": 1}]')),
  "JSON that ends in a string": () => readResults(text(`[{"image_id": "${"\\\\".repeat(1e6)}`)),
  "XML with an entity bomb": xml(`<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">${Array.from({ length: 12 }, (_, i) => `<!ENTITY ${String.fromCharCode(98 + i)} "${`&${String.fromCharCode(97 + i)};`.repeat(10)}">`).join("")}]><annotation>&m;<object><name>&m;</name></object></annotation>`),
  "XML with an entity of a file": xml('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>'),
  "XML of a hundred thousand levels": xml(`<annotation>${"<a>".repeat(1e5)}${"</a>".repeat(1e5)}</annotation>`),
  "XML with __proto__ in the place of objects": xml("<annotation><__proto__><object><name>a</name></object></__proto__></annotation>"),
  "XML that is two megabytes": xml(`<annotation>${"<object/>".repeat(250_000)}</annotation>`),
  "XML with nameless objects": xml(`<annotation>${"<object/>".repeat(100_000)}</annotation>`),
  "YAML with an alias bomb": yaml(`a: &a [x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 9 }, (_, i) => `${String.fromCharCode(98 + i)}: &${String.fromCharCode(98 + i)} [${Array(9).fill(`*${String.fromCharCode(97 + i)}`).join()}]\n`).join("")}names: *j\n`),
  "YAML that holds itself": yaml("names: &a [*a]\ntrain: x\n"),
  "YAML of deep brackets": yaml(`train: ${"[".repeat(50_000)}`),
  "YAML of deep dashes": yaml(`train:\n  ${"- ".repeat(50_000)}x`),
  "YAML of deep indents": yaml(Array.from({ length: 400 }, (_, i) => `${" ".repeat(i)}a:\n`).join("")),
  "YAML of deep questions": yaml(`${"? ".repeat(50_000)}x`),
  "YAML with a key twice": yaml("train: a\ntrain: b\nnames: [a]\n"),
  "YAML with the names in __proto__": yaml("__proto__: {names: [a]}\ntrain: a\n"),
  "YAML of two megabytes": yaml(`names: [${"a,".repeat(1 << 20)}]`),
  "YAML of ten thousand names and one": yaml(`names: [${Array.from({ length: 10_001 }, (_, i) => `a${i}`).join()}]`),
  "YAML that lies about nc": yaml("nc: 1000000000000\ntrain: x\n"),
  "YAML with a class numbered 10^15": yaml("names: {1000000000000000: a}\n"),
  "labels of two megabytes": () => parseLabels(text("0 0.5 0.5 0.1 0.1\n".repeat(120_000)), "a.txt", 80, new ProblemList()),
  "harmless: labels that are all wrong": () => parseLabels(text(Array.from({ length: 90_000 }, (_, i) => `${i} x`).join("\n")), "a.txt", 80, new ProblemList()),
  "harmless: XML with 20000 objects": xml(`<annotation>${"<object><name>a</name></object>".repeat(20_000)}</annotation>`),
  "harmless: boxes that are all wrong": () => readBoxes(npy("[('t', '<u8'), ('x', '<f4'), ('y', '<f4'), ('w', '<f4'), ('h', '<f4'), ('class_id', '|u1')]", "100000,", new Uint8Array(2_500_000).fill(0xff))),
  "harmless: events that are all wrong": async () => { const file = await openEvents(new Uint8Array(4 << 20).fill(0xff)); await file.events(); return file.problems; },
  "harmless: JSON whose annotations belong to nothing": instances(`{"images": [${image}], "annotations": [${Array(50_000).fill('{"id": 1, "image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4]}').join()}]}`),
};

const only = process.argv[2];
console.log(JSON.stringify({ name: "before", read: true, ms: 0, most: process.resourceUsage().maxRSS * 1024 }));
for (const [name, bomb] of Object.entries(bombs)) {
  if (only && !name.includes(only)) continue;
  const start = process.cpuUsage();
  let said: { read: true } | { refused: string; offset: number } | { threw: string };
  try {
    await bomb();
    said = { read: true };
  } catch (error) {
    said = error instanceof BrokenFile ? { refused: error.message, offset: error.offset } : { threw: String((error as Error).stack ?? error) };
  }
  const { user, system } = process.cpuUsage(start);
  console.log(JSON.stringify({ name, ...said, ms: Math.round((user + system) / 1000), most: process.resourceUsage().maxRSS * 1024 }));
}
