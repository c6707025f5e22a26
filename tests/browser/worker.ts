/** Runs one test file after the other in a worker, where an engine belongs: it may wait, and the page stays alive. */
import { runFile } from "./run.ts";

addEventListener("message", async ({ data }: MessageEvent<string>) => postMessage(await runFile(data)));
postMessage("ready");
