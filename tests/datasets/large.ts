/**
 * Large files, read in a process of their own whose memory is watched. Prints JSON: bytes of the file, what was read, and by how much the
 * most memory of the process grew while it read.
 *
 *   large.ts blocks|events|instances FILE
 */
import { statSync } from "node:fs";
import { readInstances } from "../../datasets/coco.ts";
import { openEvents } from "../../datasets/gen1.ts";

const [what, path] = process.argv.slice(2);

async function read(): Promise<number> {
  if (what === "instances") {
    const { annotations, images } = await readInstances(path);
    return annotations.count + images.length;
  }
  const file = await openEvents(path);
  if (what === "events") {
    const { t } = await file.events();
    return t[t.length - 1];
  }
  let sum = 0;
  for await (const { t } of file.blocks()) sum += t.length;
  return sum;
}

const before = process.memoryUsage().rss;
const result = await read();
console.log(JSON.stringify({ bytes: statSync(path).size, result, grown: process.resourceUsage().maxRSS * 1024 - before }));
