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

/** The rows, and the lines that were printed. */
async function rowsOf(...args: string[]): Promise<{ rows: any[]; lines: string[] }> {
  const said = vi.spyOn(console, "log").mockImplementation(() => {});
  try {
    const { rows } = (await run([...args, "epochs=1", "train=8", "val=2", "imgsz=32"])) as { rows: any[] };
    return { rows, lines: said.mock.calls.map(([line]) => String(line)) };
  } finally {
    said.mockRestore();
  }
}

test("figures are means over seeds, and the same again", async () => {
  const { rows: [spiking, silu], lines } = await rowsOf("only=spikeyolo,silu", "seeds=2"), [again] = (await rowsOf("only=spikeyolo", "seeds=1")).rows;
  expect([spiking.D, silu.D]).toEqual([4, null]);
  expect(silu.parameters).toBe(spiking.parameters);
  expect(silu.rate.mean).toBe(0);
  expect(silu.millijoules.mean).toBeGreaterThan(2 * spiking.millijoules.mean);
  const [a, b] = spiking.millijoules.all;
  expect(a).not.toBe(b);
  expect(again.millijoules.all).toEqual([a]);
  expect(spiking.millijoules.mean).toBe((a + b) / 2);
  expect(spiking.millijoules.spread).toBeCloseTo(Math.abs(a - b) / Math.SQRT2, 12);
  expect(lines.some((line) => /^silu +1 x - +1,57\d,\d{3} /.test(line))).toBe(true);
});

test("event scenes have slices, and classes of their own", async () => {
  const { rows: [anchors] } = await rowsOf("events", "only=anchor-head", "seeds=1");
  expect(anchors).toMatchObject({ name: "anchor-head", T: 1, parameters: 1_233_071 });
  expect(Number.isFinite(anchors.map.mean)).toBe(true);
});
