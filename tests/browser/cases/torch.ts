/** A file that PyTorch wrote (packed as .gzip, since servers unpack .gz on their own), in the browser: the same weights, the same detections as in Node, and nothing that a hostile one asks for. */
import { expect, test } from "vitest";
import { readForeign } from "../../../detection/foreign.ts";
import { detections, FOUND } from "../found.ts";

test("a .pt of PyTorch finds what it finds in Node, to the bit", async () => {
  const packed = await fetch("/tests/fixtures/torch/checkpoint_tiny_stripped.pt.gzip");
  expect(packed.ok).toBe(true);
  const file = new Uint8Array(await new Response(packed.body!.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
  expect(FOUND.length).toBeGreaterThan(0);
  expect(await detections(file)).toEqual(FOUND);
});

test("a .pt that asks for os.system is refused by name", () => {
  // {"model": os.system("touch x")} in a zip, as Python writes it
  const file = Uint8Array.from(atob("UEsDBBQAAAAAAAAAIQAu3PwWNwAAADcAAAAKAAAAYS9kYXRhLnBrbIACfXEAWAUAAABtb2RlbHEBY3Bvc2l4CnN5c3RlbQpxAlgHAAAAdG91Y2ggeHEDhXEEUnEFcy5QSwECFAMUAAAAAAAAACEALtz8FjcAAAA3AAAACgAAAAAAAAAAAAAAgAEAAAAAYS9kYXRhLnBrbFBLBQYAAAAAAQABADgAAABfAAAAAAA="), (letter) => letter.charCodeAt(0));
  expect(() => readForeign(file)).toThrow(/^pickle: asks for "posix\.system", which no checkpoint needs and which is not run here \(byte \d+\)$/);
});
