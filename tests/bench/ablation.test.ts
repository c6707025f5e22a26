/** The runner of ablations: what it may be asked, and that its figures are those of networks that were trained. */
import { expect, test, vi } from "vitest";
import { ablationOptions, run } from "../../bench/ablation.ts";
import { ablations } from "../../detection/index.ts";

vi.setConfig({ testTimeout: 180_000 });

test("every ablation is a row, and T x D any two numbers", () => {
  expect(ablationOptions([]).rows.map(({ name }) => name)).toEqual([...Object.keys(ablations), "spiking-yolov8", "1x1", "4x1"]);
  expect(ablationOptions(["only=silu,2x8"]).rows).toMatchObject([{ name: "silu", fires: false }, { name: "2x8", T: 2, D: 8, fires: true }]);
  expect(ablationOptions(["quick", "seeds=7"])).toMatchObject({ seeds: 7, epochs: 4, events: false });
});

test.each([
  ["epochs=0", "ablation: epochs is 0, expected a whole number from 1 up"],
  ["imgsz=50", "ablation: imgsz is 50, expected a multiple of 32 from 32 up"],
  ["quick=1", 'ablation: expected quick, events, or one of seeds=..., epochs=..., train=..., val=..., imgsz=..., model=..., only=..., got "quick=1"'],
  ["only=silu,17x1", 'ablation: only= names "17x1", expected some of spikeyolo, no-reparam, rep-early, anchor-head, silu, relu, spiking-yolov8, 1x1, 4x1 or another TxD such as 2x4'],
  ["model=xl", "ablation: model is xl, expected one of n, s, m, l, small, tiny"],
])("%s is refused in one sentence", (word, sentence) => {
  expect(() => ablationOptions([word])).toThrow(sentence);
  expect(() => ablationOptions(["seeds=1", "seeds=2"])).toThrow("ablation: seeds is given twice; keep one");
});

test.each([[], ["events"]])("figures are means over seeds, the same again: %s", async (...words) => {
  const said = vi.spyOn(console, "log").mockImplementation(() => {});
  const args = [...words, "only=spikeyolo,silu,anchor-head", "seeds=2", "epochs=1", "train=8", "val=2", "imgsz=32"];
  const bare = async (): Promise<any[]> => ((await run(args)) as { rows: { seconds: number }[] }).rows.map(({ seconds: _, ...row }) => row);
  const rows = await bare(), again = await bare();
  const table = said.mock.calls.map(([line]) => String(line));
  said.mockRestore();
  expect(again).toEqual(rows);
  expect(rows.map(({ name, D }) => [name, D])).toEqual([["spikeyolo", 4], ["silu", null], ["anchor-head", 4]]);
  const [spiking, silu, anchors] = rows;
  expect(silu.parameters).toBe(spiking.parameters);
  expect(anchors.parameters).toBeLessThan(spiking.parameters);
  expect(silu.rate.mean).toBe(0);
  expect(silu.millijoules.mean).toBeGreaterThan(2 * spiking.millijoules.mean);
  expect(spiking.millijoules.all[0]).not.toBe(spiking.millijoules.all[1]); // seeds differ
  const [a, b] = spiking.millijoules.all, mean = (a + b) / 2;
  expect(spiking.millijoules.mean).toBe(mean);
  expect(spiking.millijoules.spread).toBeCloseTo(Math.abs(a - b) / Math.SQRT2, 12);
  expect(table.some((line) => /^silu +1 x - +1,57\d,\d{3} /.test(line))).toBe(true);
});
