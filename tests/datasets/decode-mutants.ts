/** A program: mutates pictures of a format and decodes them, one line of JSON at the end. In a process of its own, time and memory are the decoder's. */
import { BrokenImage, decodeImage, type Decoder } from "../../datasets/image.ts";
import { Random } from "../../engine/random.ts";
import { mutated, originals, type ImageFormat } from "./image-mutants.ts";
import { apart } from "./pictures.ts";

const [decoder, format, count] = process.argv.slice(2) as [Decoder, ImageFormat, string];
const files = (await originals())[format], random = new Random(7, format.length, decoder.length), collect = globalThis.gc;
if (!collect) throw new Error("decode-mutants: start it with node --expose-gc");
const want = await Promise.all(files.map((bytes) => decodeImage(bytes, "whole", { decoder })));
for (let k = 0; k < 30; k++) await decodeImage(files[k % files.length], "whole", { decoder });
collect();

const before = process.resourceUsage().maxRSS;
let read = 0, broken = 0, longest = 0, slowest = -1, threw: string | undefined;
for (let i = 0; i < Number(count) && threw === undefined; i++) {
  const bytes = mutated(files[i % files.length], random), name = `mutant-${i}`, start = process.cpuUsage();
  try {
    const { width, height, pixels } = await decodeImage(bytes, name, { decoder });
    if (pixels.length !== 3 * width * height) threw = `${name}: ${width} x ${height} pixels in ${pixels.length} bytes`;
    read++;
  } catch (error) {
    if (!(error instanceof BrokenImage) || !error.message.startsWith(`image ${name}: `)) threw = String((error as Error).stack ?? error);
    broken++;
  }
  const { user, system } = process.cpuUsage(start), ms = (user + system) / 1000;
  if (ms > longest) [longest, slowest] = [ms, i];
  if (i % 16 === 0) collect();                                                            // what is left over is not what a decode takes
}
const grown = 1024 * (process.resourceUsage().maxRSS - before);
const still = await Promise.all(files.map(async (bytes, k) => apart(await decodeImage(bytes, "whole", { decoder }), want[k])));
console.log(JSON.stringify({ read, broken, longest, slowest, grown, threw, largest: Math.max(...files.map(({ length }) => length)), still: Math.max(...still) }));
