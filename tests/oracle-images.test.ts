/** Recorded pictures, letterboxes, colours and mosaics, where the recordings lie beside the repository. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { beside } from "./datasets/pictures.ts";
import { imagePlayers } from "./oracle/datasets-images.ts";
import { OracleFolder, oracleHosts, replayCase, type Hosts } from "./oracle/play.ts";

let hosts: Hosts;
beforeAll(async () => { hosts = await oracleHosts(); });

for (const [folder, count] of [["oracle/datasets", 2], ["oracle/snn-yolov3", 3]] as const) {
  const path = beside(join(folder, "manifest.json"));
  describe.skipIf(!path)(`recorded pictures of ${folder}`, () => {
    const cases = path ? new OracleFolder(join(path, "..")).cases.filter(({ record: { op } }) => imagePlayers.has(op)) : [];
    test("are all there", () => expect(cases.length).toBe(count));
    for (const c of cases) test(c.record.id, { timeout: 60_000 }, async () => {
      const { verdict, details, line } = await replayCase(c, imagePlayers, hosts);
      expect(details, line).toEqual([]);
      expect(verdict).toBe("passed");
    });
  });
}
