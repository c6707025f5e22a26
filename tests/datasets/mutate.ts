/** Small real files of every format, and what a careless or hostile hand may do to them. */
import { readFileSync } from "node:fs";
import { zipSync } from "fflate";
import { Random } from "../../engine/random.ts";
import { npyOf } from "./npy-of.ts";

const real = (name: string): Uint8Array => new Uint8Array(readFileSync(new URL(`../fixtures/readers/${name}`, import.meta.url)));
const text = (content: string): Uint8Array => new TextEncoder().encode(content);

const half = npyOf("{'descr': '<f2', 'fortran_order': False, 'shape': (3,), }", [0, 0x3c, 0, 0xc0, 1, 0]);
const fortran = npyOf("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }", [0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6], 2);
const truths = npyOf("{'descr': '|b1', 'fortran_order': False, 'shape': (), }", [1]);

export const seeds = {
  npy: [half, fortran, truths],
  boxes: [real("packed_bbox.npy"), real("aligned_bbox.npy"), real("later_bbox.npy")],
  npz: [zipSync({ "a.npy": half, "b/c.npy": [fortran, { level: 0 }] }), zipSync({ "zeros.npy": npyOf("{'descr': '|u1', 'fortran_order': False, 'shape': (2000,), }", new Uint8Array(2000)) })],
  events: [real("header_td.dat"), real("bare_td.dat"), real("other_td.dat")],
  instances: [real("instances.json"), text('{"images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 8}], "categories": [{"id": 7, "name": "c"}], "annotations": [{"id": 3, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3.5, 4e0], "iscrowd": 0, "segmentation": [[1, 2]]}]}')],
  results: [text('[{"image_id": 42, "category_id": 18, "bbox": [258.15, 41.29, 348.26, 243.78], "score": 0.236}, {"image_id": 73, "category_id": 11, "bbox": [61, 22.75, 504, 609.67], "score": 0.318, "segmentation": {"size": [4, 4], "counts": "b\\u00e9"}}]')],
  annotation: [real("fractional.xml"), real("parts.xml"), real("bccd.xml")],
  labels: [text("0 0.4791 0.52 0.3125 0.6133\n1 0.5 0.5 0.1 0.1\n2 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4\n")],
  yaml: [text("path: coco8 # where\ntrain: images/train\nval:\n  - images/val\n  - more/val.txt\nnames:\n  0: person\n  1: 'traffic light'\n"), text("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['RBC', \"WBC\"]\nroboflow: {workspace: &w a, again: *w}\n")],
} as const;

export type Format = keyof typeof seeds;

/** What readers have stumbled over before. */
const TOKENS = ["{", "}", "[", "]", "[[[[", "{\"a\":", "(", ")", ",", ":", "\"", "'", "\\", "\n", "\0", "<", ">", "</", "<!DOCTYPE a [<!ENTITY b \"c\">]>", "&b;", "<![CDATA[", "<!--", "&a", "*a", "<<: ", "- ", "? ", "|\n", "!!binary ",
  "__proto__", "constructor", "../", "null", "true", "NaN", "Infinity", "-0", "-1", "0", "1e999", "1e-999", "4294967295", "9007199254740993", "18446744073709551616", "0x10", "%", "% ", "<f8", "|O", "|V0", "\ud83d\ude00", "\u202e"].map(text);

const BYTES = [0, 1, 0x7f, 0x80, 0xff, 0x20, 0x22, 0x5c, 0x0a];

/** One to four mutations of one of the seeds; the same for the same number. */
export function mutant(format: Format, number: number): Uint8Array {
  const random = new Random(number, 77), own = seeds[format], below = (n: number) => Math.min(n - 1, Math.floor(random.uniform() * n));
  let bytes: Uint8Array = own[below(own.length)];
  for (let times = 1 + below(4); times > 0; times--) {
    const at = below(bytes.length + 1), to = Math.min(bytes.length, at + 1 + below(random.uniform() < 0.8 ? 8 : bytes.length + 1));
    const replaced = (by: Uint8Array, from = at, until = to) => {
      const out = new Uint8Array(bytes.length - (until - from) + by.length);
      out.set(bytes.subarray(0, from));
      out.set(by, from);
      out.set(bytes.subarray(until), from + by.length);
      return out;
    };
    const choice = below(9);
    if (choice === 0 && at < bytes.length) bytes = replaced(Uint8Array.of(bytes[at] ^ 1 << below(8)), at, at + 1);
    else if (choice === 1 && at < bytes.length) bytes = replaced(Uint8Array.of(BYTES[below(BYTES.length)]), at, at + 1);
    else if (choice === 2) bytes = replaced(new Uint8Array(0));
    else if (choice === 3) bytes = replaced(bytes.slice(at, to), at, at);                 // twice
    else if (choice === 4) bytes = bytes.slice(0, at);
    else if (choice === 5) bytes = replaced(TOKENS[below(TOKENS.length)], at, at);
    else if (choice === 6) bytes = replaced(TOKENS[below(TOKENS.length)]);
    else if (choice === 7) bytes = number_(bytes, below, replaced);
    else bytes = replaced(own[below(own.length)].slice(at, to), at, at);                  // from a sibling
  }
  return bytes;
}

/** A run of digits becomes another number. */
function number_(bytes: Uint8Array, below: (n: number) => number, replaced: (by: Uint8Array, from: number, until: number) => Uint8Array): Uint8Array {
  const digit = (i: number) => bytes[i] >= 0x30 && bytes[i] <= 0x39;
  let at = below(bytes.length);
  while (at < bytes.length && !digit(at)) at++;
  let end = at;
  while (end < bytes.length && digit(end)) end++;
  return end === at ? bytes : replaced(text(["0", "-1", "00", "1e9", "65536", "2147483648", "9007199254740992", "123456789012345678901234567890"][below(8)]), at, end);
}
