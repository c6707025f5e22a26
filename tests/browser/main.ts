/**
 * `npm run test:browser`: the kernel tests and twenty training steps in Chromium, off a server of ours. One line per file; ends with
 * "N passed, N failed"; exit 1 on a failure. CHROMIUM names the browser, if it is in none of the usual places.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Page } from "playwright-core";
import { createServer as createVite, type ViteDevServer } from "vite";
import type { Result } from "./run.ts";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"];
const FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
/** For one file. */
const LONGEST_MS = 60_000;

/** With these a page is isolated and may share memory among its workers. */
const ISOLATION = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Resource-Policy": "same-origin" };

/** Kernel tests that need nothing of Node. */
const kernelTests = (root: string): string[] => readdirSync(join(root, "tests/kernels")).sort().map((name) => `tests/kernels/${name}`)
  .filter((name) => name.endsWith(".test.ts") && !/from "node:/.test(readFileSync(join(root, name), "utf8")));

/** A file full of failures, and their names: a runner that passes one over is no runner. */
const PLANTED = {
  file: "tests/browser/cases/planted.ts",
  failures: ["a wrong number", "an error", "a promise that is broken later", "a promise that is kept and should not be", "a row of a table, 1", "a row of a table, 2", "a setup that fails", "an end that fails"],
};
function judgePlanted(results: readonly Result[]): Result[] {
  const missed = PLANTED.failures.filter((planted) => !results.some(({ name, failure }) => name === planted && failure !== undefined));
  return [{ name: "finds every planted failure", failure: missed.length > 0 ? `passed over: ${missed.join("; ")}` : undefined }];
}

const PLAN = (root: string) => [
  { where: "worker", isolated: true, files: [...kernelTests(root), "tests/strict/twenty-steps.test.ts", "tests/browser/cases/torch.ts"] },
  { where: "page", isolated: true, files: ["tests/browser/cases/page.ts", "tests/browser/cases/images.ts"] },
  { where: "worker", isolated: false, files: ["tests/browser/cases/alone.ts", PLANTED.file] },
] as const;

function findBrowser(): string {
  const given = process.env["CHROMIUM"], found = given ? [given] : PLACES, path = found.find((place) => existsSync(place));
  if (path) return path;
  throw new Error(given ? `test:browser: CHROMIUM is ${given}, where there is no file` : "test:browser: no Chromium here; install it (Debian: apt-get install chromium) or say with CHROMIUM=PATH where it is");
}

/** The sources as the browser wants them, compiled file by file on request. */
const compiler = (root: string): Promise<ViteDevServer> => createVite({
  root, configFile: false, appType: "custom", logLevel: "error",
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  resolve: { alias: { vitest: join(root, "tests/browser/vitest.ts") } },
  optimizeDeps: { noDiscovery: true, include: ["@vitest/expect", "@vitest/runner"] },
});

async function serve(vite: ViteDevServer, headers: Readonly<Record<string, string>>): Promise<Server> {
  const server = createServer((request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (request.url === "/") response.setHeader("Content-Type", "text/html").end("<!doctype html><title>tests</title>");
    else vite.middlewares(request, response, () => { response.writeHead(404).end(); });
  });
  await new Promise<void>((ready) => { server.listen(0, "127.0.0.1", ready); });
  return server;
}

/** Runs in the page; the page's own scripts are all addresses on the server. */
const IN_PAGE = (file: string): string => `import("/tests/browser/run.ts").then(({ runFile }) => runFile("/${file}"))`;
const IN_WORKER = (file: string): string => `new Promise((resolve, reject) => {
  const worker = new Worker("/tests/browser/worker.ts", { type: "module" });
  worker.onerror = (event) => reject(new Error(event.message ?? "the worker did not start"));
  worker.onmessage = ({ data }) => (data === "ready" ? worker.postMessage("/${file}") : (worker.terminate(), resolve(data)));
})`;

async function run(page: Page, where: "worker" | "page", file: string): Promise<Result[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => { timer = setTimeout(() => reject(new Error(`not done after ${LONGEST_MS / 1000} s`)), LONGEST_MS); });
  try {
    return await Promise.race([page.evaluate<Result[]>(where === "page" ? IN_PAGE(file) : IN_WORKER(file)), late]);
  } catch (error) {
    return [{ name: file, failure: (error as Error).message }];
  } finally {
    clearTimeout(timer);
  }
}

async function main(root: string): Promise<boolean> {
  const executablePath = findBrowser(), opened: (() => Promise<unknown>)[] = [];
  let passed = 0, failed = 0;
  try {
    const vite = await compiler(root);
    opened.push(() => vite.close());
    const [isolating, plain] = [await serve(vite, ISOLATION), await serve(vite, {})];
    for (const server of [isolating, plain]) opened.push(() => new Promise((closed) => server.close(closed)));
    const browser = await chromium.launch({ executablePath, args: FLAGS }).catch((error: Error) => {
      throw new Error(`test:browser: ${executablePath} does not start: ${error.message.split("\n")[0]}`);
    });
    opened.push(() => browser.close());
    console.log(`Chromium ${browser.version()}`);
    for (const { where, isolated, files } of PLAN(root)) {
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${((isolated ? isolating : plain).address() as AddressInfo).port}/`);
      for (const file of files) {
        const start = performance.now(), told = await run(page, where, file), results = file === PLANTED.file ? judgePlanted(told) : told, failures = results.filter(({ failure }) => failure !== undefined);
        passed += results.length - failures.length;
        failed += failures.length;
        console.log(`${failures.length ? "FAILED" : "passed"} ${file}: ${results.length - failures.length} of ${results.length} in ${isolated ? "an isolated" : "a plain"} ${where === "page" ? "page" : "page's worker"} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
        for (const { name, failure } of failures) console.log(`  ${name}: ${failure}`);
      }
      await page.close();
    }
  } finally {
    await Promise.all(opened.map((close) => close()));
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0;
}

// the built program lies in dist/tests/browser
try {
  process.exitCode = (await main(fileURLToPath(new URL("../../..", import.meta.url)))) ? 0 : 1;
} catch (error) {
  console.error((error as Error).message);
  console.log("0 passed, 1 failed");
  process.exitCode = 1;
}
