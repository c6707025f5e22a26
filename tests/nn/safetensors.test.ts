import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Random } from "../../engine/random.ts";
import { FormatError, readSafetensors, safetensorsLimits, writeSafetensors, type TensorData } from "../../nn/safetensors.ts";

const utf8 = new TextEncoder();

/** A file with this header text and so many bytes of data. */
function file(header: string | Uint8Array, dataBytes: number): Uint8Array {
  const text = typeof header === "string" ? utf8.encode(header) : header;
  const out = new Uint8Array(8 + text.length + dataBytes);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  for (let i = 0; i < dataBytes; i++) out[8 + text.length + i] = i;
  return out;
}

const headerOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes.subarray(8, 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))));

function refusal(bytes: Uint8Array, limits = safetensorsLimits): FormatError {
  try {
    readSafetensors(bytes, limits);
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    return error as FormatError;
  }
  throw new Error("the file was accepted");
}

const everyType = (): Map<string, TensorData> => new Map<string, TensorData>([
  ["flags", { dtype: "BOOL", shape: [3], data: Uint8Array.of(1, 0, 1) }],
  ["bytes", { dtype: "U8", shape: [5], data: Uint8Array.of(0, 1, 127, 128, 255) }],
  ["signed bytes", { dtype: "I8", shape: [2], data: Int8Array.of(-128, 127) }],
  ["shorts", { dtype: "I16", shape: [3], data: Int16Array.of(-32768, 0, 32767) }],
  ["unsigned shorts", { dtype: "U16", shape: [1], data: Uint16Array.of(65535) }],
  ["ints", { dtype: "I32", shape: [1, 2], data: Int32Array.of(-(2 ** 31), 2 ** 31 - 1) }],
  ["unsigned ints", { dtype: "U32", shape: [1], data: Uint32Array.of(2 ** 32 - 1) }],
  ["longs", { dtype: "I64", shape: [], data: BigInt64Array.of(-(2n ** 63n)) }],
  ["unsigned longs", { dtype: "U64", shape: [1], data: BigUint64Array.of(2n ** 64n - 1n) }],
  ["weight", { dtype: "F32", shape: [2, 3], data: Float32Array.of(1, -0, NaN, Infinity, 1e-45, 3.4e38) }],
  ["exact", { dtype: "F64", shape: [2], data: Float64Array.of(Math.PI, 5e-324) }],
  ["nothing", { dtype: "F32", shape: [0, 7], data: new Float32Array(0) }],
]);

describe("writing and reading", () => {
  test("what was written is read back, every type, scalars and empty tensors included", () => {
    const metadata = new Map([["format", "pt"], ["Ünïcode \"quoted\"\n", "☃ 🐍"]]);
    const { tensors, metadata: back } = readSafetensors(writeSafetensors(everyType(), metadata));
    expect(new Map([...tensors].map(([name, { dtype, shape, read }]) => [name, { dtype, shape, data: read() }]))).toEqual(everyType());
    expect(back).toEqual(metadata);
  });
  test("the order of writing does not change a byte", () => {
    const metadata: [string, string][] = [["a", "1"], ["b", "2"]];
    const reversed = writeSafetensors(new Map([...everyType()].reverse()), new Map([...metadata].reverse()));
    expect(reversed).toEqual(writeSafetensors(everyType(), new Map(metadata)));
  });
  test("a small file looks as the format says, byte for byte", () => {
    const bytes = writeSafetensors(new Map([["w", { dtype: "I16", shape: [2], data: Int16Array.of(1, -2) }]]), new Map([["k", "v"]]));
    expect(headerOf(bytes)).toBe('{"__metadata__":{"k":"v"},"w":{"dtype":"I16","shape":[2],"data_offsets":[0,4]}}'.padEnd(80, " "));
    expect([...bytes.subarray(0, 8)]).toEqual([80, 0, 0, 0, 0, 0, 0, 0]);
    expect([...bytes.subarray(88)]).toEqual([1, 0, 254, 255]);
  });
  test("every tensor starts at a multiple of its element size", () => {
    const bytes = writeSafetensors(everyType());
    const start = 8 + headerOf(bytes).length;
    expect(start % 8).toBe(0);
    for (const [name, { data_offsets: [begin] }] of Object.entries(JSON.parse(headerOf(bytes)) as Record<string, { data_offsets: number[] }>)) {
      expect((start + begin) % everyType().get(name)!.data.BYTES_PER_ELEMENT).toBe(0);
    }
  });
  test("an empty file is a header of two characters, and padding", () => {
    const bytes = writeSafetensors(new Map());
    expect(headerOf(bytes)).toBe("{}      ");
    expect(readSafetensors(bytes).tensors.size).toBe(0);
  });
  test("views into larger arrays are written alone", () => {
    const data = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
    const { tensors } = readSafetensors(writeSafetensors(new Map([["w", { dtype: "F32", shape: [2], data }]])));
    expect(tensors.get("w")!.read()).toEqual(Float32Array.of(1, 2));
  });
  test("a file may lie anywhere in a larger array, and a Node Buffer is not shared with what was read", () => {
    const bytes = writeSafetensors(everyType());
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    expect(readSafetensors(shifted.subarray(3)).tensors.get("weight")!.read()).toEqual(everyType().get("weight")!.data);

    const path = join(tmpdir(), `spiketrain-${process.pid}.safetensors`);
    writeFileSync(path, bytes);
    const buffer = readFileSync(path);
    rmSync(path);
    const weight = readSafetensors(buffer).tensors.get("weight")!;
    const values = weight.read();
    values.fill(0 as never);
    expect(weight.read()).toEqual(everyType().get("weight")!.data);
    buffer.fill(0);
    expect(weight.read()).toEqual(new Float32Array(6)); // read late: the file's bytes are the caller's to keep
  });
  test("names that mean something to JavaScript are names like others", () => {
    const one = (x: number): TensorData => ({ dtype: "F32", shape: [1], data: Float32Array.of(x) });
    const { tensors } = readSafetensors(writeSafetensors(new Map([["__proto__", one(1)], ["constructor", one(2)], ["", one(3)]])));
    expect([...tensors.keys()].sort()).toEqual(["", "__proto__", "constructor"]);
    expect(tensors.get("__proto__")!.read()).toEqual(Float32Array.of(1));
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
  });
  test("tensors that contradict themselves are not written", () => {
    const write = (dtype: string, shape: number[], data: unknown, name = "w"): (() => Uint8Array) => () => writeSafetensors(new Map([[name, { dtype, shape, data } as TensorData]]));
    expect(write("F32", [2, 2], new Float32Array(3))).toThrow('safetensors: tensor "w" of shape [2, 2] got 3 values');
    expect(write("F32", [-1, -3], new Float32Array(3))).toThrow("of shape [-1, -3]");
    expect(write("F64", [3], new Float32Array(3))).toThrow('safetensors: tensor "w" of F64 got a Float32Array');
    expect(write("F16", [3], new Float32Array(3))).toThrow("of F16 got a Float32Array");
    expect(write("F32", [1], new Float32Array(1), "__metadata__")).toThrow("safetensors: a tensor cannot be called __metadata__");
    expect(write("F32", [1], new Float32Array(1), "\ud800")).toThrow("half a surrogate pair");
  });
});

describe("narrow floats", () => {
  const widened = (dtype: string, halves: Uint16Array): Float32Array => {
    const bytes = file(`{"h":{"dtype":"${dtype}","shape":[${halves.length}],"data_offsets":[0,${2 * halves.length}]}}`, 2 * halves.length);
    bytes.set(new Uint8Array(halves.buffer), bytes.length - 2 * halves.length);
    return readSafetensors(bytes).tensors.get("h")!.read() as Float32Array;
  };
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);

  test("all 65536 halves have the value that IEEE 754 gives them", () => {
    for (const [bits, got] of widened("F16", all).entries()) {
      const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
      const want = exponent === 31 ? (fraction ? NaN : sign * Infinity) : exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
      if (!Object.is(got, want)) throw new Error(`half ${bits.toString(16)}: expected ${want}, got ${got}`);
    }
  });
  test("all 65536 bfloat16 are the upper halves of float32", () => {
    const upper = new DataView(new ArrayBuffer(4));
    for (const [bits, got] of widened("BF16", all).entries()) {
      upper.setUint32(0, bits << 16);
      if (!Object.is(got, upper.getFloat32(0))) throw new Error(`bfloat16 ${bits.toString(16)}: expected ${upper.getFloat32(0)}, got ${got}`);
    }
  });
});

describe("a hostile file", () => {
  const w = '"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}';

  test("white space and escapes of JSON are fine", () => {
    const { tensors, metadata } = readSafetensors(file('{ "w\\u00e9" :\t{ "shape" : [ 2 , 2 ] ,\n"data_offsets":[0, 4],"dtype":"U8"}, "__metadata__":{ } } \r\n', 4));
    expect([...tensors.keys()]).toEqual(["wé"]);
    expect(tensors.get("wé")!.read()).toEqual(Uint8Array.of(0, 1, 2, 3));
    expect(metadata.size).toBe(0);
  });

  test("an empty tensor may lie at the border of any other, wherever the header names it", () => {
    const empty = (name: string, at: number): string => `"${name}":{"dtype":"U8","shape":[0],"data_offsets":[${at},${at}]}`;
    expect([...readSafetensors(file(`{${w},${empty("a", 0)},${empty("b", 4)},${empty("c", 0)}}`, 4)).tensors.keys()]).toEqual(["w", "a", "b", "c"]);
    expect(refusal(file(`{${w},${empty("a", 2)}}`, 4)).message).toMatch(/tensor "a" begins at 2, inside the one before it/);
  });

  test.each<[why: string, header: string, dataBytes: number, message: RegExp, offset: number]>([
    ["a list instead of an object", "[]", 0, /the header does not begin with \{/, 8],
    ["space before the object", ` {${w}}`, 4, /the header does not begin with \{/, 8],
    ["an empty header", "", 0, /the header does not begin with \{/, 8],
    ["an unfinished object", `{${w}`, 4, /expected }, got the end of the header/, 60],
    ["text after the object", `{${w}}x`, 4, /expected the end of the header, got x/, 61],
    ["a zero byte after the object", `{${w}}\0`, 4, /got byte 0x00/, 61],
    ["a missing colon", '{"w" 1}', 0, /expected :, got 1/, 13],
    ["a trailing comma", `{${w},}`, 4, /expected ", got }/, 61],
    ["the same tensor twice", `{${w},${w}}`, 4, /"w" appears twice/, 61],
    ["the same tensor twice, once escaped", `{${w},"\\u0077":{}}`, 4, /"w" appears twice/, 61],
    ["metadata twice", '{"__metadata__":{},"__metadata__":{}}', 0, /"__metadata__" appears twice/, 27],
    ["a metadata key twice", '{"__metadata__":{"a":"1","a":"2"}}', 0, /metadata "a" appears twice/, 33],
    ["metadata that is no text", '{"__metadata__":{"a":1}}', 0, /expected ", got 1/, 29],
    ["metadata that is no object", '{"__metadata__":"a"}', 0, /expected \{, got "/, 24],
    ["a field twice", '{"w":{"dtype":"U8","dtype":"U8"}}', 0, /tensor "w" has dtype twice/, 27],
    ["an empty field twice", '{"w":{"dtype":"","dtype":"U8"}}', 0, /tensor "w" has dtype twice/, 25],
    ["an empty shape twice", '{"w":{"shape":[],"shape":[]}}', 0, /tensor "w" has shape twice/, 25],
    ["an unknown field", '{"w":{"device":"cpu"}}', 0, /tensor "w" has an unknown field "device"/, 14],
    ["no dtype", '{"w":{"shape":[4],"data_offsets":[0,4]}}', 4, /tensor "w" lacks dtype/, 9],
    ["no shape", '{"w":{"dtype":"U8","data_offsets":[0,4]}}', 4, /tensor "w" lacks shape/, 9],
    ["no offsets", '{"w":{"dtype":"U8","shape":[4]}}', 4, /tensor "w" lacks data_offsets/, 9],
    ["an unknown dtype", '{"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}', 4, /tensor "w" has the unknown dtype "F8_E4M3"/, 9],
    ["a dtype of Object.prototype", '{"w":{"dtype":"constructor","shape":[4],"data_offsets":[0,4]}}', 4, /unknown dtype "constructor"/, 9],
    ["an endless dtype", `{"w":{"dtype":"${"F".repeat(17)}"}}`, 0, /a string is longer than 16 bytes/, 23],
    ["one offset", '{"w":{"dtype":"U8","shape":[0],"data_offsets":[0]}}', 0, /data_offsets \[0\]/, 9],
    ["three offsets", '{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}', 0, /expected at most 2 numbers/, 59],
    ["offsets that run backwards", '{"w":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}}', 4, /data_offsets \[4, 0\], expected a begin and an end/, 9],
    ["a negative dimension", '{"w":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}}', 4, /expected a number, got -/, 36],
    ["a fraction", '{"w":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}}', 4, /expected ], got \./, 37],
    ["an exponent", '{"w":{"dtype":"U8","shape":[4e0],"data_offsets":[0,4]}}', 4, /expected ], got e/, 37],
    ["a leading zero", '{"w":{"dtype":"U8","shape":[04],"data_offsets":[0,4]}}', 4, /a number begins with 0/, 36],
    ["2^53", '{"w":{"dtype":"U8","shape":[9007199254740992],"data_offsets":[0,4]}}', 4, /a number is too large/, 36],
    ["a product that overflows", '{"w":{"dtype":"U8","shape":[4294967296,4294967297],"data_offsets":[0,4]}}', 4, /tensor "w" of U8 \[4294967296, 4294967297\] is larger than any file/, 9],
    ["a product beyond any number", `{"w":{"dtype":"U8","shape":[${new Array(30).fill("9007199254740991").join(",")},0],"data_offsets":[0,0]}}`, 0, /is larger than any file/, 9],
    ["too few bytes for the shape", '{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}', 4, /tensor "w" of F32 \[3\] needs 12 bytes, its offsets give 4/, 9],
    ["data beyond the file", `{${w}}`, 3, /tensor "w" ends at 4 of 3 bytes of data/, 9],
    ["bytes after the last tensor", `{${w}}`, 5, /1 bytes after the last tensor belong to no tensor/, 65],
    ["bytes before the first tensor", '{"w":{"dtype":"U8","shape":[3],"data_offsets":[1,4]}}', 4, /1 bytes before tensor "w" belong to no tensor/, 9],
    ["a hole", `{${w},"v":{"dtype":"U8","shape":[3],"data_offsets":[5,8]}}`, 8, /1 bytes before tensor "v" belong to no tensor/, 61],
    ["an overlap", `{${w},"v":{"dtype":"U8","shape":[5],"data_offsets":[3,8]}}`, 8, /tensor "v" begins at 3, inside the one before it/, 61],
    ["two names for one place", `{${w},"v":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 4, /begins at 0, inside the one before it/, 61],
    ["an unfinished string", '{"w', 0, /a string does not end/, 10],
    ["an unfinished escape", '{"w\\', 0, /a string does not end/, 10],
    ["an unknown escape", '{"\\x":{}}', 0, /a string is not valid UTF-8 or JSON/, 10],
    ["a control character in a string", '{"a\nb":{}}', 0, /a control character in a string/, 11],
    ["half a surrogate pair", '{"\\ud800":{}}', 0, /half a surrogate pair/, 10],
    ["true", '{"w":true}', 0, /expected \{, got t/, 13],
    ["nested lists", `{"w":{"shape":${"[".repeat(100000)}`, 0, /expected a number, got \[/, 23],
    ["nested objects", '{"w":'.repeat(100000), 0, /tensor "w" has an unknown field "w"/, 14],
  ])("is refused: %s", (_, header, dataBytes, message, offset) => {
    const error = refusal(file(header, dataBytes));
    expect(error.message).toMatch(/^safetensors: /);
    expect(error.message).toMatch(message);
    expect(error.offset).toBe(offset);
  });

  test("bytes that are not UTF-8 are refused", () => {
    expect(refusal(file(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x7b, 0x7d, 0x7d), 0)).message).toMatch(/not valid UTF-8/);
  });
  test("a message quotes no more than the beginning of a name", () => {
    expect(refusal(file(`{"${"n".repeat(1000)}":{}}`, 0)).message.length).toBeLessThan(150);
  });
  test("a file too short for its own length, or for its header, is refused", () => {
    for (let length = 0; length < 8; length++) expect(refusal(new Uint8Array(length)).message).toBe(`safetensors: expected at least 8 bytes, got ${length}`);
    expect(refusal(file(`{${w}}`, 4).subarray(0, 40)).message).toBe("safetensors: the header claims 53 bytes, the file has 32 after its length");
  });
  test("a header of 2^63 bytes is refused before anything is allocated", () => {
    const bytes = new Uint8Array(64).fill(0xff, 0, 8);
    expect(refusal(bytes).message).toBe("safetensors: the header claims 18446744073709551615 bytes, the limit is 100000000");
  });
  test("limits hold, and can be moved", () => {
    const many = `{"a":{"dtype":"U8","shape":[1,1,1],"data_offsets":[0,1]},"bb":{"dtype":"U8","shape":[],"data_offsets":[1,2]},"__metadata__":{"x":"","y":""}}`;
    const bytes = file(many, 2);
    expect(readSafetensors(bytes).tensors.size).toBe(2);
    expect(refusal(bytes, { ...safetensorsLimits, headerBytes: many.length - 1 }).message).toMatch(/the limit is/);
    expect(refusal(bytes, { ...safetensorsLimits, entries: 1 }).message).toMatch(/more than 1 tensors/);
    expect(refusal(file('{"__metadata__":{"x":"","y":""}}', 0), { ...safetensorsLimits, entries: 1 }).message).toMatch(/more than 1 metadata keys/);
    expect(refusal(bytes, { ...safetensorsLimits, rank: 2 }).message).toMatch(/expected at most 2 numbers/);
    expect(refusal(bytes, { ...safetensorsLimits, nameBytes: 11 }).message).toMatch(/a string is longer than 11 bytes/);
  });
  test("a million tensors are refused at the limit, quickly", () => {
    const header = `{${Array.from({ length: 1_000_000 }, (_, i) => `"${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`).join(",")}}`;
    const bytes = file(header, 0), begin = performance.now();
    expect(refusal(bytes).message).toMatch(/more than 100000 tensors/);
    expect(performance.now() - begin).toBeLessThan(5000);
  });

  test("however a file is mutated, it reads or it is a FormatError", () => {
    const random = new Random(2024);
    const seeds = [writeSafetensors(everyType(), new Map([["é", "\\"]])), file(`{${w}}`, 4)];
    const pieces = ["{", "}", "[", "]", '"', ",", ":", "\\", "\\u", "0", "9", "99999999999999999999", "-1", "1e9", "null", "__proto__", "__metadata__", "dtype", "shape", "data_offsets", "F16", "\0", "\uffff", " "];
    let refused = 0, accepted = 0;
    for (let round = 0; round < 30_000; round++) {
      let bytes = seeds[round % seeds.length].slice();
      for (let edits = random.integer(1, 4); edits > 0; edits--) {
        const header = Number(new DataView(bytes.buffer).getBigUint64(0, true)), at = 8 + random.integer(0, Math.max(1, Math.min(header, bytes.length - 8)));
        const kind = random.integer(0, 6);
        if (kind === 0) bytes[random.integer(0, bytes.length)] = random.integer(0, 256);
        else if (kind === 1) bytes[at] ^= 1 << random.integer(0, 8);
        else if (kind === 2) bytes = bytes.slice(0, random.integer(8, bytes.length + 1));
        else {
          // Cut, insert or replace in the header, and correct its length so that the parser sees it.
          const cut = kind === 3 ? random.integer(1, 20) : kind === 4 ? 0 : random.integer(1, 6);
          const insert = utf8.encode(kind === 3 ? "" : pieces[random.integer(0, pieces.length)]);
          const rest = bytes.subarray(at + cut), joined = new Uint8Array(Math.max(8, at + insert.length + rest.length));
          joined.set(bytes.subarray(0, at));
          joined.set(insert, at);
          joined.set(rest, at + insert.length);
          bytes = joined;
          new DataView(bytes.buffer).setBigUint64(0, BigInt(Math.max(0, header + insert.length - cut)), true);
        }
      }
      try {
        const { tensors } = readSafetensors(bytes);
        for (const { shape, read } of tensors.values()) if (read().length !== shape.reduce((product, d) => product * d, 1)) throw new Error("a tensor of the wrong length");
        accepted++;
      } catch (error) {
        if (!(error instanceof FormatError) || !error.message.startsWith("safetensors: ") || !(error.offset >= 0 && error.offset <= Math.max(bytes.length, 8))) throw error;
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(15_000);
    expect(accepted).toBeGreaterThan(100);
  });
});
