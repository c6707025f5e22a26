/**
 * NumPy's archives: a zip of npy files, stored or deflated.
 *
 *   | local header, name, data | … | directory: an entry per file | end: where the directory is |
 *
 * The directory is read and checked as a whole; an array is unpacked when it is asked for, no further than the directory says and the
 * limit allows, and must have the promised length and checksum.
 */
import { Inflate } from "fflate";
import { BrokenFile, staysInside } from "./file.ts";
import { quoted } from "./json-stream.ts";
import { readNpy, type NpyArray } from "./npy.ts";

export interface Npz {
  /** Names of the arrays, without ".npy". */
  readonly names: readonly string[];
  read(name: string): NpyArray;
}

interface Member { readonly name: string; readonly method: number; readonly crc: number; readonly packed: number; readonly size: number; readonly header: number; readonly entry: number }

const END = 0x06054b50, ENTRY = 0x02014b50, LOCAL = 0x04034b50, MAX_MEMBERS = 65_535;
const STORED = 0, DEFLATED = 8;

/** `limit`: bytes that one array may unpack to. A few bytes may claim gigabytes, so by default 64 MB and four times the archive. */
export function readNpz(bytes: Uint8Array, name = "arrays.npz", { limit = (64 << 20) + 4 * bytes.length }: { limit?: number } = {}): Npz {
  const members = directory(bytes, name, limit);
  return {
    names: [...members.keys()],
    read(array) {
      const member = members.get(array);
      if (!member) throw new Error(`npz: ${name} has no array ${quoted(array)}; it has ${[...members.keys()].slice(0, 20).join(", ") || "none"}`);
      return readNpy(unpack(bytes, name, member), `${name}/${member.name}`);
    },
  };
}

function directory(bytes: Uint8Array, name: string, limit: number): Map<string, Member> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const fail = (problem: string, offset: number): never => { throw new BrokenFile(name, problem, { offset }); };
  let end = bytes.length - 22;
  for (const least = Math.max(0, end - 65_535); end >= least && view.getUint32(end, true) !== END; end--);
  if (end < 0 || view.getUint32(end, true) !== END) fail("is no zip archive (it has no end of directory)", 0);
  const count = view.getUint16(end + 10, true), size = view.getUint32(end + 12, true), start = view.getUint32(end + 16, true);
  if (count >= MAX_MEMBERS || start === 0xffffffff) fail("is a zip archive of more than 65534 files or 4 GB, which is not read", end);
  if (view.getUint16(end + 4, true) !== 0 || view.getUint16(end + 8, true) !== count) fail("is one part of several", end);
  if (start + size !== end) fail(`its directory should end at byte ${end}, it ends at ${start + size}`, end);

  const members = new Map<string, Member>(), ranges: Member[] = [];
  let at = start;
  for (let i = 0; i < count; i++) {
    if (at + 46 > end || view.getUint32(at, true) !== ENTRY) fail(`entry ${i + 1} of the directory is broken`, at);
    const flags = view.getUint16(at + 8, true), method = view.getUint16(at + 10, true), length = view.getUint16(at + 28, true), extra = view.getUint16(at + 30, true);
    const next = at + 46 + length + extra + view.getUint16(at + 32, true);
    if (next > end) fail(`entry ${i + 1} of the directory is longer than the directory`, at);
    const file = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + length));
    const member: Member = { name: file, method, crc: view.getUint32(at + 16, true), packed: view.getUint32(at + 20, true), size: view.getUint32(at + 24, true), header: view.getUint32(at + 42, true), entry: at };
    if (flags & 1) fail(`${quoted(file)} is encrypted`, at);
    if (method !== STORED && method !== DEFLATED) fail(`${quoted(file)} is packed by method ${method}, expected stored or deflated`, at);
    if (!staysInside(file) || !file.endsWith(".npy")) fail(`holds ${quoted(file)}, expected names such as array.npy without a path out of the archive`, at);
    const array = file.slice(0, -4);
    if (members.has(array)) fail(`holds ${quoted(file)} twice`, at);
    if (member.size > limit) fail(`${quoted(file)} unpacks to ${member.size} bytes, more than the limit of ${limit}`, at);
    if (method === STORED && member.size !== member.packed) fail(`${quoted(file)} is stored, but its sizes ${member.packed} and ${member.size} differ`, at);
    if (member.header + 30 + member.packed > start) fail(`${quoted(file)} lies outside of the archive`, at);
    members.set(array, member);
    ranges.push(member);
    at = next;
  }
  if (at !== end) fail("its directory holds more than its entries", at);
  ranges.sort((a, b) => a.header - b.header);
  for (let i = 1; i < ranges.length; i++) if (ranges[i].header < ranges[i - 1].header + 30 + ranges[i - 1].packed) fail(`${quoted(ranges[i].name)} lies inside ${quoted(ranges[i - 1].name)}`, ranges[i].entry);
  return members;
}

/** Packed bytes that are unpacked at a time: deflate makes at most 1032 of one. */
const STEP = 1 << 14;

function unpack(bytes: Uint8Array, archive: string, { name, method, crc, packed, size, header }: Member): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), fail = (problem: string, offset: number): never => { throw new BrokenFile(archive, `${quoted(name)} ${problem}`, { offset }); };
  if (view.getUint32(header, true) !== LOCAL || view.getUint16(header + 8, true) !== method) fail("has no header where the directory says", header);
  const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
  if (start + packed > bytes.length) fail("is longer than the archive", header);
  const data = bytes.subarray(start, start + packed);
  let out = data;
  if (method === DEFLATED) {
    out = new Uint8Array(size);
    let filled = 0;
    const inflate = new Inflate((chunk) => {
      if (filled + chunk.length > size) fail(`unpacks to more than the ${size} bytes that the directory says`, start);
      out.set(chunk, filled);
      filled += chunk.length;
    });
    try {
      for (let at = 0; at < data.length; at += STEP) inflate.push(data.subarray(at, at + STEP), at + STEP >= data.length);
    } catch (error) {
      if (error instanceof BrokenFile) throw error;
      fail(`cannot be unpacked (${(error as Error).message})`, start);
    }
    if (filled !== size) fail(`unpacks to ${filled} bytes, the directory says ${size}`, start);
  }
  if (crc32(out) !== crc) fail("has a wrong checksum", start);
  return out;
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}
