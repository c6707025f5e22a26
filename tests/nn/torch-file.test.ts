/** Files of torch.save: what they hold, and what is refused. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { zipSync } from "fflate";
import { PickledObject, readPickle, Tuple, type PickleRules } from "../../nn/pickle.ts";
import { FormatError } from "../../nn/safetensors.ts";
import { isTorchModule, readTorch, tensorsIn } from "../../nn/torch-file.ts";
import { crc32, storedFiles } from "../../nn/zip.ts";
import { archive, call, code, dict, f32, int, list, module_, name, object, ordered, parameter, pickle, storage, tensor, text, tuple } from "./pickles.ts";

const nothing: PickleRules = { global: () => undefined, persistent: (_, fail) => fail("has no storages") };
const value = (...body: (Uint8Array | string)[]): unknown => readPickle(pickle(...body), nothing);
const refusal = (run: () => unknown): string => { try { run(); } catch (error) { expect(error).toBeInstanceOf(FormatError); return (error as Error).message; } throw new Error("was read"); };

describe("a pickle", () => {
  test("holds numbers, texts, lists, tuples and dicts", () => {
    expect(value("N")).toBe(null);
    expect(value("\x88")).toBe(true);
    expect(value("K\xff")).toBe(255);
    expect(value("M\x01\x02")).toBe(513);
    expect(value(int(-7))).toBe(-7);
    expect(value("G?\xf8\0\0\0\0\0\0")).toBe(1.5);
    expect(value("\x8a\x02\x00\xff")).toBe(-256);
    expect(value("\x8a\0")).toBe(0);
    expect(value("\x8a\x09\0\0\0\0\0\0\0\0\x01")).toBe(2n ** 64n);
    expect(value(text("é\u{1f600}"))).toBe("é\u{1f600}");
    expect(value("\x8c\x02ab")).toBe("ab");
    expect(value(list(int(1), list(int(2))))).toEqual([1, [2]]);
    expect((value(tuple(int(1), "K\x02\x85")) as Tuple).items).toEqual([1, new Tuple([2])]);
    expect(value(dict([text("a"), int(1)], [int(2), "]"]))).toEqual(new Map<unknown, unknown>([["a", 1], [2, []]]));
  });

  test("takes from its memory what it was told to remember, the very same", () => {
    const [a, b] = value("](]q\x05h\x05e") as unknown[];
    expect(a).toBe(b);
    expect((value("(]\x94h\x00t") as Tuple).items).toEqual([[], []]);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ["ends too early", code("\x80\x02]"), /^pickle: ends within the program.* \(byte 3\)$/],
    ["is of protocol 1", code("\x80\x01N."), /protocol 1/],
    ["leaves values", pickle("NN"), /left over/],
    ["goes on after its end", pickle("N.N"), /ends at byte 4/],
    ["takes what is not there", pickle("a"), /more values than there are/],
    ["takes a mark for a value", pickle("(\x85"), /mark/],
    ["ends a list that never began", pickle("Nt"), /does not begin/],
    ["appends to a dict", pickle("}Na"), /no list/],
    ["sets a key of a list", pickle("]NNs"), /no dict/],
    ["has an odd dict", pickle("}(Nu"), /without a value/],
    ["has a key twice", pickle(dict([text("a"), int(1)], [text("a"), int(2)])), /the key "a" twice/],
    ["has a list as a key", pickle("}]Ns"), /no text and no number/],
    ["recalls what it never remembered", pickle("h\x07"), /value 7 from its memory/],
    ["claims a text of 4 GB", pickle("X\xff\xff\xff\xff"), /claims 4294967295 bytes/],
    ["claims a text of 2^63 bytes", pickle("\x8d\xff\xff\xff\xff\xff\xff\xff\x7f"), /claims 9223372036854775807 bytes/],
    ["holds bytes that are no text", pickle("\x8c\x01\xff"), /UTF-8/],
    ["uses an opcode of old", pickle("I1\n"), /opcode INT/],
    ["holds what is no opcode", pickle("\xfe"), /unknown opcode 0xfe/],
  ])("that %s is refused", (_, bytes, why) => { expect(refusal(() => readPickle(bytes, nothing))).toMatch(why); });
});

describe("a file of torch.save", () => {
  const stored = f32(0, 1, 2, 3, 4, 5), one = storage("0", 6);

  test("holds tensors: views of storages, also shared, strided and empty ones", () => {
    const root = readTorch(archive(pickle(ordered(
      [text("whole"), tensor(one, [2, 3], [3, 1])], [text("turned"), parameter(tensor(one, [3, 2], [1, 3]))], [text("column"), tensor(one, [2], [3], 2)],
      [text("scalar"), tensor(one, [], [], 5)], [text("empty"), tensor(one, [0, 4], [4, 1], 6)], [text("other"), int(3)],
    )), { 0: stored }));
    const tensors = tensorsIn(root), values = Object.fromEntries([...tensors].map(([key, { shape, read }]) => [key, [shape, [...tensors.get(key)!.read()]]]));
    expect(values).toEqual({ whole: [[2, 3], [0, 1, 2, 3, 4, 5]], turned: [[3, 2], [0, 3, 1, 4, 2, 5]], column: [[2], [2, 5]], scalar: [[], [5]], empty: [[0, 4], []] });
  });

  test.each<[string, string, Uint8Array, number[] | bigint[]]>([
    ["half precision", "HalfStorage", code("\x00\x3c\x01\x00"), [1, 2 ** -24]], ["bfloat16", "BFloat16Storage", code("\x80\x3f\x00\xc0"), [1, -2]],
    ["float64", "DoubleStorage", new Uint8Array(Float64Array.of(0.1, -3).buffer), [0.1, -3]], ["int64", "LongStorage", new Uint8Array(BigInt64Array.of(-1n, 2n ** 62n).buffer), [-1n, 2n ** 62n]],
  ])("holds %s", (_, type, bytes, want) => {
    expect([...tensorsIn(readTorch(archive(pickle(dict([text("x"), tensor(storage("0", 2, type), [2], [1])])), { 0: bytes }))).get("x")!.read()]).toEqual(want);
  });

  test("holds trees of modules, whose tensors are called as state_dict() calls them", () => {
    const inner = module_("conv.Conv2d", { parameters: [[text("weight"), parameter(tensor(one, [6], [1]))], [text("bias"), "N"]], buffers: [[text("mean"), tensor(one, [1], [1])]] });
    const root = readTorch(archive(pickle(module_("container.Sequential", { modules: [[text("0"), inner], [text("act"), module_("activation.SiLU", {})], [text("none"), "N"]] })), { 0: stored }));
    expect(isTorchModule(root)).toBe(true);
    expect([...tensorsIn(root).keys()]).toEqual(["0.weight", "0.mean"]);
  });

  test("keeps numbers of numpy, paths and options as records of what they were made of", () => {
    const scalar = call(name("numpy.core.multiarray", "scalar"), code(call(name("numpy", "dtype"), text("f8"), "\x89", "\x88"), tuple(int(3), text("<"), "N"), "b"), call(name("_codecs", "encode"), text("abc"), text("latin1")));
    const root = readTorch(archive(pickle(dict([text("best"), scalar], [text("dir"), call(name("pathlib", "PosixPath"), text("runs"))])))) as Map<string, PickledObject>;
    expect([root.get("best")!.type, root.get("dir")!.args]).toEqual(["numpy.core.multiarray.scalar", ["runs"]]);
  });

  const holding = (of: Uint8Array) => archive(pickle(dict([text("x"), of])), { 0: stored });
  test.each<[string, Uint8Array, RegExp]>([
    ["a view past its storage", holding(tensor(one, [2, 3], [3, 1], 1)), /looks at value 6 of a storage of 6/],
    ["a negative stride", holding(tensor(one, [2], [-1], 5)), /stride/],
    ["a shape of 2^93", holding(tensor(one, [2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1], [0, 0, 0])), /storage of 6/],
    ["one value shown a million times", holding(tensor(one, [1_000_000], [0])), /shows 1000000 values of a storage of 6/],
    ["more strides than axes", holding(tensor(one, [2], [1, 1])), /1 axes and 2 strides/],
    ["33 axes", holding(tensor(one, Array(33).fill(1), Array(33).fill(1))), /at most 32/],
    ["a storage that claims more than its file", holding(tensor(storage("0", 7), [7], [1])), /7 values of F32, its file has 24 bytes/],
    ["a storage that is not there", holding(tensor(storage("1", 6), [6], [1])), /"1" that is not in the archive/],
    ["a storage under two types", archive(pickle(list(tensor(one, [6], [1]), tensor(storage("0", 12, "HalfStorage"), [12], [1]))), { 0: stored }), /F16 \[12\], and F32 \[6\]/],
    ["a storage by a path", holding(tensor(storage("../version", 2, "ByteStorage"), [2], [1])), /not in the archive/],
    ["a parameter of a number", holding(parameter(int(1))), /no tensor/],
    ["nothing", zipSync({ "a/version": code("3") }, { level: 0 }), /0 files NAME\/data\.pkl/],
    ["two programs", zipSync({ "a/data.pkl": pickle("N"), "b/data.pkl": pickle("N") }, { level: 0 }), /2 files NAME\/data\.pkl/],
    ["files beside its folder", archive(pickle("N"), {}, { "b/c": code("x") }), /outside of "a\/"/],
    ["big-endian numbers", archive(pickle("N"), {}, { "a/byteorder": code("big") }), /big-endian/],
    ["a program of TorchScript", archive(pickle("N"), {}, { "a/constants.pkl": code("x") }), /TorchScript/],
  ])("that holds %s is refused", (_, bytes, why) => { expect(refusal(() => readTorch(bytes))).toMatch(why); });

  test("of before PyTorch 1.6, and anything else, is refused with what to do", () => {
    for (const bytes of [code("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."), new Uint8Array(0), code("PK"), text("no")]) expect(refusal(() => readTorch(bytes))).toMatch(/no zip archive; expected a file of torch\.save/);
  });

  test("whose modules contain themselves, or share ever deeper, is refused when it is walked", () => {
    const head = code(name("torch.nn.modules", "M"), ")\x81q\x01}(", text("_modules"));
    const cycle = readTorch(archive(pickle(head, "}(", text("a"), "h\x01uub")));
    expect(refusal(() => tensorsIn(cycle))).toMatch(/contains itself/);
    let shared = module_("M", {}); // each twice in the one above: 2^40 paths
    for (let i = 0; i < 40; i++) shared = object("torch.nn.modules", "M", dict([text("_modules"), code("}(", text("a"), shared, "q\x01", text("b"), "h\x01u")]));
    expect(refusal(() => tensorsIn(readTorch(archive(pickle(shared)))))).toMatch(/more than 100000 modules/);
    let deep = module_("M", {});
    for (let i = 0; i < 70; i++) deep = module_("M", { modules: [[text("a"), deep]] });
    expect(refusal(() => tensorsIn(readTorch(archive(pickle(deep)))))).toMatch(/more than 64 deep/);
  });
});

describe("an archive", () => {
  const sound = archive(pickle("N"), { 0: new Uint8Array(64) }), directory = new DataView(sound.buffer).getUint32(sound.length - 6, true);
  const second = (() => { const v = new DataView(sound.buffer); return directory + 46 + v.getUint16(directory + 28, true) + v.getUint16(directory + 30, true); })();
  /** The same with another number at a byte. */
  const changed = (at: number, value: number, bytes: 2 | 4 = 4): Uint8Array => { const copy = sound.slice(), view = new DataView(copy.buffer); bytes === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true); return copy; };

  test("is read as it is", () => { expect([...storedFiles(sound).keys()]).toEqual(["a/data.pkl", "a/data/0", "a/version"]); });

  test.each<[string, Uint8Array, RegExp]>([
    ["is cut", sound.slice(0, -1), /does not end like a zip archive/],
    ["has bytes after its end", code(sound, "x"), /does not end like/],
    ["is compressed", zipSync({ "a/data.pkl": new Uint8Array(1 << 20) }), /compressed \(method 8\)/],
    ["is encrypted", changed(directory + 8, 1, 2), /encrypted/],
    ["unpacks to more than is packed", changed(second + 24, 1e9), /sizes 64 and 1000000000 differ/],
    ["claims a file past its end", (() => { const copy = changed(second + 24, 1e9); new DataView(copy.buffer).setUint32(second + 20, 1e9, true); return copy; })(), /claims 1000000000 bytes/],
    ["has a file inside another", (() => { const copy = changed(directory + 24, 100); new DataView(copy.buffer).setUint32(directory + 20, 100, true); return copy; })(), /lies inside/],
    ["has two files at one place", changed(second + 42, 0), /another name|lies inside/],
    ["has more entries than it has", changed(sound.length - 14, 0x00040004), /entry 4 of 4/],
    ["has its directory elsewhere", changed(sound.length - 6, directory - 1), /directory should end/],
    ["leads out of itself", zipSync({ "../a/data.pkl": pickle("N") }, { level: 0 }), /leads out of the archive/],
    ["has an absolute path", zipSync({ "/etc/passwd": pickle("N") }, { level: 0 }), /leads out of the archive/],
    ["has backslashes", zipSync({ "a\\data.pkl": pickle("N") }, { level: 0 }), /leads out of the archive/],
    ["has a comment", (() => { const copy = code(sound, "hi"); new DataView(copy.buffer).setUint16(sound.length - 2, 2, true); return copy; })(), /does not end like/],
  ])("that %s is refused", (_, bytes, why) => { expect(refusal(() => storedFiles(bytes))).toMatch(why); });

  test("with a flipped bit in a file is refused when that file is read", () => {
    const files = storedFiles(sound), at = files.get("a/data/0")!.offset, copy = sound.slice();
    copy[at + 5] ^= 1;
    expect(refusal(() => storedFiles(copy).get("a/data/0")!.bytes())).toMatch(/"a\/data\/0" has a wrong checksum/);
  });

  test("has the checksums of zip", () => { expect(crc32(code("123456789"))).toBe(0xcbf43926); });
});

test("a file that PyTorch wrote is read whole", () => {
  const root = readTorch(gunzipSync(readFileSync(new URL("../fixtures/torch/checkpoint_tiny_stripped.pt.gzip", import.meta.url)))) as Map<string, unknown>, tensors = tensorsIn(root.get("model"));
  expect([root.get("epoch"), root.get("ema"), root.get("version"), tensors.size]).toEqual([-1, null, "8.0.197", 599]);
  expect([...tensors.keys()].slice(0, 4)).toEqual(["model.1.encode_conv.weight", "model.1.encode_conv.bias", "model.1.encode_bn.weight", "model.1.encode_bn.bias"]);
  const first = tensors.get("model.1.encode_conv.weight")!, counter = tensors.get("model.1.encode_bn.num_batches_tracked")!;
  expect([first.dtype, first.shape, counter.dtype, [...counter.read()]]).toEqual(["F16", [2, 3, 7, 7], "I64", [0n]]);
  let sum = 0;
  for (const x of first.read() as Float32Array) sum += Math.abs(x);
  expect(sum).toBeCloseTo(18.699716567993164, 12); // of the tensor that was recorded beside the file
});
