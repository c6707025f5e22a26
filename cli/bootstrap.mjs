/**
 * What a fresh clone runs: installs what is missing, builds what is out of date, then runs the target in this same process, so that
 * signals and exit codes are the program's own. Plain JavaScript without dependencies, because nothing else is there yet.
 *
 *   node cli/bootstrap.mjs start|test|test:browser|oracle|bench|build [arguments]
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const at = (...path) => join(root, ...path);

/** A step that went wrong; its message holds all that there is to know. */
class Failure extends Error {}

/** Which file runs, with which arguments before the user's. */
const TARGETS = {
  start: ["dist/cli/main.js", "train"],
  test: ["node_modules/vitest/vitest.mjs", "run", "--dir", "tests", "--testTimeout=60000", "--hookTimeout=120000"],
  "test:browser": ["dist/tests/browser/main.js"],
  oracle: ["dist/tests/oracle/main.js"],
  bench: ["dist/bench/main.js"],
  build: [],
};

const [target, ...args] = process.argv.slice(2);
if (await ready()) {
  const [file, ...before] = TARGETS[target];
  if (file) {
    process.argv.splice(1, Infinity, at(file), ...before, ...args);
    await import(pathToFileURL(at(file)).href);
  }
} else process.exitCode = 1;

/** Installs and builds what the target needs; says why not where it cannot. */
async function ready() {
  try {
    if (!Object.hasOwn(TARGETS, target ?? "")) throw new Failure(`expected one of ${Object.keys(TARGETS).join(", ")}, got "${target ?? ""}"`);
    if (!installed()) await install();
    await build();
    return true;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    say(error.message);
    return false;
  }
}

// ---- install ----

/** Whether node_modules holds what the lock file names. Optional packages are for some machines only. */
function installed() {
  const hidden = at("node_modules/.package-lock.json");
  if (!existsSync(hidden) || !existsSync(at("package-lock.json"))) return existsSync(hidden);
  const have = packagesOf(hidden);
  return Object.entries(packagesOf(at("package-lock.json"))).every(([path, { optional, integrity }]) => path === "" || optional || have[path]?.integrity === integrity);
}

function packagesOf(lock) { return JSON.parse(readFileSync(lock, "utf8")).packages; }

async function install() {
  say("installing packages with npm (once) ...");
  const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ["npm"];
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
  if (existsSync(at("package-lock.json")) && (await run([...npm, "ci", ...quiet])).code === 0) return;
  const { code, output } = await run([...npm, "install", ...quiet]); // the lock file is missing or out of step
  if (code !== 0) throw new Failure(`npm cannot install the packages:\n${output.trim()}`);
}

// ---- build ----

async function build() {
  const kernels = digest(["asconfig.json", "node_modules/assemblyscript/package.json", ...filesIn("kernels/assembly"), ...filesIn("kernels/generate")].filter((file) => !file.includes("/generated/")));
  const floors = ["kernels", "engine", "nn", "detection", "datasets", "cli", "tests", "bench"].flatMap(filesIn);
  const program = digest(["tsconfig.json", "cli/tsconfig.build.json", "node_modules/typescript/package.json",
    ...floors.filter((file) => /\.m?ts$|^kernels\/\w+\.mjs$/.test(file) && !file.endsWith(".test.ts") && !file.startsWith("kernels/assembly/"))]);
  const wasm = Object.values(JSON.parse(readFileSync(at("asconfig.json"), "utf8")).targets).map(({ outFile }) => outFile);

  const stale = [
    ...(wasm.every((file) => existsSync(at(file))) && stampOf("kernels/build") === kernels ? [] : [buildKernels]),
    ...(stampOf("dist") === program ? [] : [buildProgram]),
  ];
  if (stale.length === 0) return;
  const start = performance.now();
  say(`building ${stale.map((step) => (step === buildKernels ? "the kernels" : "the program")).join(" and ")} ...`);
  await Promise.all(stale.map((step) => step(step === buildKernels ? kernels : program)));
  say(`built in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

/** The unrolled micro-kernels, then every target of asconfig.json, side by side. */
async function buildKernels(stamp) {
  await expect([process.execPath, at("kernels/generate/microkernels.mjs")]);
  const targets = Object.keys(JSON.parse(readFileSync(at("asconfig.json"), "utf8")).targets);
  const entryOf = (name) => `kernels/assembly/index${name.endsWith("-threads") ? ".threads" : ""}.ts`;
  await Promise.all(targets.map((name) => expect([process.execPath, at("node_modules/assemblyscript/bin/asc.js"), entryOf(name), "--target", name])));
  writeFileSync(at("kernels/build/.stamp"), stamp);
}

/** TypeScript -> dist/, from nothing, so that nothing stays of files that are gone. */
async function buildProgram(stamp) {
  rmSync(at("dist"), { recursive: true, force: true });
  await expect([process.execPath, at("node_modules/typescript/bin/tsc"), "-p", "cli/tsconfig.build.json"]);
  mkdirSync(at("dist"), { recursive: true });
  chmodSync(at("dist/cli/main.js"), 0o755); // npx runs it as a program, and makes it one only when it first sees the package
  writeFileSync(at("dist/.stamp"), stamp);
}

function stampOf(folder) { return existsSync(at(folder, ".stamp")) ? readFileSync(at(folder, ".stamp"), "utf8") : undefined; }

function digest(files) {
  const hash = createHash("sha256");
  for (const file of files.sort()) hash.update(file).update("\0").update(readFileSync(at(file))).update("\0");
  return hash.digest("hex");
}

/** Every file below a folder, as paths from the root with forward slashes, packages left out. */
function filesIn(folder) {
  if (!existsSync(at(folder))) return [];
  return readdirSync(at(folder), { withFileTypes: true })
    .filter(({ name }) => name !== "node_modules")
    .flatMap((entry) => (entry.isDirectory() ? filesIn(`${folder}/${entry.name}`) : [`${folder}/${entry.name}`]));
}

// ---- processes ----

async function expect(command) {
  const { code, output } = await run(command);
  if (code !== 0) throw new Failure(`${command.slice(1).join(" ")} failed:\n${output.trim()}`);
}

function run([command, ...args]) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"], shell: process.platform === "win32" && command === "npm" });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => { output += data; });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}

function say(line) { process.stderr.write(`${line}\n`); }
