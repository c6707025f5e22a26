/**
 * Zip archives whose files lie in them as they are, without compression, as PyTorch writes them.
 *
 *   | local header, name, padding, data, sizes once more | … | directory: an entry per file | (64-bit end) | end |
 *
 * The directory alone says what there is. Every size and place is checked before it is used; no two files may share a byte.
 */
import { FormatError } from "./safetensors.ts";

export interface StoredFile {
  readonly name: string;
  /** Of its first byte in the archive. */
  readonly offset: number;
  readonly size: number;
  /** Its bytes, a view of the archive's; the checksum is verified at the first call. */
  bytes(): Uint8Array;
}

/** A few times what any checkpoint holds. */
export const zipLimits = { files: 100_000, nameBytes: 1024 } as const;

const END = 0x06054b50, END64 = 0x06064b50, LOCATOR64 = 0x07064b50, ENTRY = 0x02014b50, LOCAL = 0x04034b50;
const END_BYTES = 22, END64_BYTES = 76, ENTRY_BYTES = 46, LOCAL_BYTES = 30;

/** The files of an archive by name. Throws FormatError for anything that PyTorch would not have written. */
export function storedFiles(archive: Uint8Array): Map<string, StoredFile> {
  const view = new DataView(archive.buffer, archive.byteOffset, archive.length);
  const u16 = (at: number): number => view.getUint16(at, true), u32 = (at: number): number => view.getUint32(at, true);
  const end = archive.length - END_BYTES;
  if (end < 0 || u32(end) !== END) fail("does not end like a zip archive; it was cut, or is something else", Math.max(end, 0));
  const { count, start, until } = directoryOf(view, end);

  const files = new Map<string, StoredFile>(), extents: { name: string; from: number; to: number; entry: number }[] = [];
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  let at = start;
  for (let i = 0; i < count; i++) {
    const entry = at;
    if (entry + ENTRY_BYTES > until || u32(entry) !== ENTRY) fail(`entry ${i + 1} of ${count} of the directory is broken`, entry);
    const flags = u16(entry + 8), method = u16(entry + 10), crc = u32(entry + 16), packed = u32(entry + 20), size = u32(entry + 24), nameBytes = u16(entry + 28), header = u32(entry + 42);
    at = entry + ENTRY_BYTES + nameBytes + u16(entry + 30) + u16(entry + 32);
    if (at > until) fail(`entry ${i + 1} of ${count} is longer than the directory`, entry);
    if (nameBytes > zipLimits.nameBytes) fail(`a name has ${nameBytes} bytes, more than the limit of ${zipLimits.nameBytes}`, entry);
    const inDirectory = archive.subarray(entry + ENTRY_BYTES, entry + ENTRY_BYTES + nameBytes), name = nameOf(utf8, inDirectory, entry);
    if (files.has(name)) fail(`holds ${JSON.stringify(name)} twice`, entry);
    if (flags & 1) fail(`${JSON.stringify(name)} is encrypted`, entry);
    if (method !== 0) fail(`${JSON.stringify(name)} is compressed (method ${method}), which torch.save never does; save it again with PyTorch`, entry);
    if (packed !== size) fail(`${JSON.stringify(name)} is stored, but its sizes ${packed} and ${size} differ`, entry);
    if (header + LOCAL_BYTES > start || u32(header) !== LOCAL || u16(header + 8) !== method) fail(`${JSON.stringify(name)} has no header at byte ${header}, where the directory says it is`, entry);
    const sameName = u16(header + 26) === nameBytes && inDirectory.every((byte, k) => archive[header + LOCAL_BYTES + k] === byte);
    if (!sameName) fail(`${JSON.stringify(name)} has another name in its own header`, header);
    const offset = header + LOCAL_BYTES + nameBytes + u16(header + 28);
    if (offset + size > start) fail(`${JSON.stringify(name)} claims ${size} bytes from byte ${offset} on, past the ${start} bytes of data`, entry);
    extents.push({ name, from: header, to: offset + size, entry });
    files.set(name, new Stored(name, offset, size, archive, crc));
  }
  if (at !== until) fail("the directory holds more than its entries", at);
  extents.sort((a, b) => a.from - b.from);
  for (let i = 1; i < extents.length; i++) {
    if (extents[i].from < extents[i - 1].to) fail(`${JSON.stringify(extents[i].name)} lies inside ${JSON.stringify(extents[i - 1].name)}`, extents[i].entry);
  }
  return files;
}

/** Where the directory is and how many entries it has; PyTorch writes the end in 64 bits too. */
function directoryOf(view: DataView, end: number): { count: number; start: number; until: number } {
  const [disk, count, size, start, comment] = [view.getUint16(end + 4, true), view.getUint16(end + 10, true), view.getUint32(end + 12, true), view.getUint32(end + 16, true), view.getUint16(end + 20, true)];
  if (disk !== 0 || view.getUint16(end + 8, true) !== count || comment !== 0) fail("is one part of several, or has a comment, which torch.save writes neither of", end);
  const has64 = end >= END64_BYTES && view.getUint32(end - 20, true) === LOCATOR64 && view.getUint32(end - END64_BYTES, true) === END64;
  const until = has64 ? end - END64_BYTES : end;
  if (has64) {
    const wide = [24, 32, 40, 48].map((field) => view.getBigUint64(until + field, true));
    const same = wide[0] === BigInt(count) && wide[1] === BigInt(count) && wide[2] === BigInt(size) && wide[3] === BigInt(start);
    if (!same) fail("the two ends of the directory say different things (65535 files or more, or 4 GB, are not read)", until);
  }
  if (count > zipLimits.files || start + size !== until) fail(`the directory should end at byte ${until}, it ends at ${start + size}`, end);
  return { count, start, until };
}

/** A name that stays inside the folder of the archive. */
function nameOf(utf8: TextDecoder, bytes: Uint8Array, offset: number): string {
  let name: string;
  try { name = utf8.decode(bytes); } catch { return fail("a name is not UTF-8", offset); }
  if (name === "" || /^\/|^[A-Za-z]:|[\\\u0000-\u001f\u007f]|(^|\/)\.\.(\/|$)/.test(name)) fail(`holds a file called ${JSON.stringify(name)}, a name that leads out of the archive`, offset);
  return name;
}

class Stored implements StoredFile {
  private verified = false;
  constructor(readonly name: string, readonly offset: number, readonly size: number, private readonly archive: Uint8Array, private readonly crc: number) {}
  bytes(): Uint8Array {
    const bytes = this.archive.subarray(this.offset, this.offset + this.size);
    if (!this.verified && crc32(bytes) !== this.crc) fail(`${JSON.stringify(this.name)} has a wrong checksum; the file is damaged`, this.offset);
    this.verified = true;
    return bytes;
  }
}

function fail(problem: string, offset: number): never { throw new FormatError(`zip: ${problem} (byte ${offset})`, offset); }

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

export function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}
