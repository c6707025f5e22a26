/** Every way that we know to make a reader of .pt files run something, fill the memory or never end; a line of JSON for each says what became of it. */
import { zipSync } from "fflate";
import { readForeign } from "../../detection/foreign.ts";
import { FormatError } from "../../nn/safetensors.ts";
import { archive, call, code, dict, f32, int, list, module_, name, object, ordered, pickle, storage, tensor, text, tuple } from "./pickles.ts";

const marker = process.argv[2];
const shell = text(`touch ${marker}`);
const repeat = (of: Uint8Array | string, times: number): Uint8Array => { const one = code(of), out = new Uint8Array(one.length * times); for (let i = 0; i < times; i++) out.set(one, i * one.length); return out; };
const program = (...body: (Uint8Array | string)[]) => () => archive(pickle(...body), { 0: f32(1, 2, 3, 4) });
const stackName = (module: string, of: string) => code(text(module), text(of), "\x93");
const manyFiles = (n: number) => () => zipSync(Object.fromEntries([["a/data.pkl", pickle("N")], ...Array.from({ length: n }, (_, i) => [`a/data/${i}`, new Uint8Array(0)])]), { level: 0 });

const bombs: Record<string, () => Uint8Array> = {
  // ---- running something ----
  "os.system by GLOBAL and REDUCE": program(call(name("os", "system"), shell)),
  "posix.system": program(call(name("posix", "system"), shell)),
  "os.system by STACK_GLOBAL": program(call(stackName("os", "system"), shell)),
  "os.system with a memoised name": program(text("os"), "q\0", text("system"), "q\x01\x93", tuple(shell), "R"),
  "os.system by INST": program("(", shell, "ios\nsystem\n"),
  "os.system by OBJ": program("(", name("os", "system"), shell, "o"),
  "OBJ of a class that is known": program("(", name("collections", "OrderedDict"), shell, "o"),
  "subprocess.Popen by NEWOBJ": program(name("subprocess", "Popen"), tuple(shell), "\x81"),
  "subprocess.Popen by NEWOBJ_EX": program(name("torch.nn.modules", "M"), ")}\x92"),
  "builtins.eval": program(call(name("builtins", "eval"), shell)),
  "__builtin__.exec": program(call(name("__builtin__", "exec"), shell)),
  "builtins.getattr": program(call(name("builtins", "getattr"), name("collections", "OrderedDict"), text("__init__"))),
  "builtins.__import__": program(call(name("builtins", "__import__"), text("os"))),
  "a state that sets __setstate__ of os.system": program(object("torch.nn.modules", "M", dict([text("__setstate__"), name("os", "system")])), shell, "b"),
  "a state for a function": program(name("torch._utils", "_rebuild_tensor_v2"), dict([text("a"), int(1)]), "b"),
  "a state for a class": program(name("torch.nn.modules", "M"), dict([text("a"), int(1)]), "b"),
  "a class of ultralytics that is called": program(call(name("ultralytics.nn.tasks", "DetectionModel"), shell)),
  "a name of dots": program(name("torch.nn.modules.os", "..system")),
  "a name with a line break in it": program(stackName("torch.nn.modules\nos", "system")),
  "torch.load": program(call(name("torch", "load"), text(marker))),
  "torch.hub.load": program(call(name("torch.hub", "load"), text(marker))),
  "runpy": program(call(name("runpy", "_run_code"), shell)),
  "a hook of a tensor": program(call(name("torch._utils", "_rebuild_tensor_v2"), storage("0", 4), int(0), tuple(int(4)), tuple(int(1)), "\x89", ordered([text("hook"), name("os", "system")]))),
  "functools.partial": program(call(name("functools", "partial"), name("os", "system"))),
  "operator.attrgetter": program(call(name("operator", "attrgetter"), text("system"))),
  "constructor and __proto__ as names": program(name("constructor", "constructor")),
  "an extension": program("\x82\x01"),
  "a persistent id as text": program("Pos.system\n"),
  "a persistent id of a class": program(code(tuple(text("storage"), name("os", "system"), text("0"), text("cpu"), int(4)), "Q")),
  "a call of a list": program("]", tuple(shell), "R"),
  "a bare pickle": () => pickle(call(name("os", "system"), shell)),

  // ---- lying sizes ----
  "a text of 4 GB": program("X\xff\xff\xff\xff"),
  "a text of 2^64 bytes": program("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"),
  "bytes of 2^63": program("\x8e\0\0\0\0\0\0\0\x80"),
  "a frame of 2^60 bytes": program("\x95\0\0\0\0\0\0\0\x10"),
  "a text of two megabytes": program(text("a".repeat(2 << 20))),
  "a number of 2^31 digits": program("\x8b\xff\xff\xff\x7f"),
  "a storage of 2^31 values": program(list(tensor(storage("0", 2 ** 31 - 1), [4], [1]))),
  "a storage of -1 values": program(list(tensor(storage("0", -1), [4], [1]))),
  "a tensor of 2^31 values": program(list(tensor(storage("0", 4), [2 ** 31 - 1], [0]))),
  "a tensor whose size overflows": program(list(tensor(storage("0", 4), Array(32).fill(2 ** 31 - 1), Array(32).fill(0)))),
  "a tensor before its storage": program(list(tensor(storage("0", 4), [4], [1], -4))),
  "a memo index of 2^32": program("Nr\xff\xff\xff\xffj\xfe\xff\xff\xff"),

  // ---- growing and nesting ----
  "fifteen million dicts": program(repeat("}", 15_000_000)),
  "fifteen million marks": program(repeat("(", 15_000_000)),
  "fifteen million nothings": program("(", repeat("N", 15_000_000), "t"),
  "six hundred thousand memories": program(repeat("N", 1), ...Array.from({ length: 600 }, (_, i) => code(...Array.from({ length: 1000 }, (_, j) => code("r", new Uint8Array(Uint32Array.of(1000 * i + j).buffer)))))),
  "a program of seventeen megabytes": program(repeat("N", 17 << 20)),
  "lists two hundred thousand deep": program(repeat("]", 200_000), repeat("a", 199_999)),
  "tuples a million deep": program("N", repeat("\x85", 1_000_000)),
  "a list in itself": program("]q\0h\0a"),
  "a dict in itself": program("}q\0", text("model"), "h\0s"),
  "a billion laughs": program("(]q\0", ...Array.from({ length: 40 }, () => code("](h\0h\0h\0h\0h\0h\0h\0h\0h\0h\0eq\0")), "t"),
  "modules that share ever deeper": program((() => { let m = module_("M", {}); for (let i = 0; i < 40; i++) m = object("torch.nn.modules", "M", dict([text("_modules"), code("}(", text("a"), m, "q\x01", text("b"), "h\x01u")])); return m; })()),
  "a module in itself": program(name("torch.nn.modules", "M"), ")\x81q\x01}(", text("_modules"), "}(", text("a"), "h\x01uub"),
  "modules of names of a megabyte": program((() => { const long = text("n".repeat(1 << 19)); let m = module_("M", {}); for (let i = 0; i < 16; i++) m = module_("M", { modules: [[long, m]] }); return m; })()),
  "a key twice": program(dict([text("model"), "N"], [text("model"), "N"])),

  // ---- archives ----
  "sixty-four megabytes, compressed": () => zipSync({ "a/data.pkl": new Uint8Array(64 << 20) }, { level: 9 }),
  "a path out of the archive": () => zipSync({ "../../etc/cron.d/a": pickle("N") }, { level: 0 }),
  "forty thousand files": manyFiles(40_000),
  "a hundred entries at one place": () => { const zip = archive(pickle("N"), Object.fromEntries(Array.from({ length: 100 }, (_, i) => [String(i), f32(1)]))), view = new DataView(zip.buffer); let at = view.getUint32(zip.length - 6, true); const first = view.getUint32(at + 42, true); for (; view.getUint32(at, true) === 0x02014b50; at += 46 + view.getUint16(at + 28, true)) view.setUint32(at + 42, first, true); return zip; },
  "nothing but zeros": () => { const zeros = new Uint8Array(1 << 20); zeros.set([0x50, 0x4b]); return zeros; },
};

console.log(JSON.stringify({ name: "before", most: process.resourceUsage().maxRSS * 1024, ms: 0 }));
for (const [bomb, make] of Object.entries(bombs)) {
  const bytes = make(), before = process.memoryUsage(), start = process.cpuUsage();
  let said: object;
  try {
    readForeign(bytes);
    said = { read: true };
  } catch (error) {
    said = error instanceof FormatError ? { refused: error.message, offset: error.offset } : { threw: String((error as Error).stack ?? error) };
  }
  const { user, system } = process.cpuUsage(start), after = process.memoryUsage();
  console.log(JSON.stringify({ name: bomb, bytes: bytes.length, ...said, ms: Math.round((user + system) / 1000), grown: after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers }));
}
