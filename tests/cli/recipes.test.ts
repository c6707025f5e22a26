import { describe, expect, test } from "vitest";
import { parseOptions } from "../../cli/options.ts";
import { augmentOf, recipeOf, settingsOf } from "../../cli/recipes.ts";
import { augmentations } from "../../datasets/index.ts";
import { schedule } from "../../nn/index.ts";

const augment = (epoch: number, ...args: string[]) => augmentOf(settingsOf(parseOptions("train", args)), epoch);

describe("what varies", () => {
  test("is a flip on the embedded pictures, and all that the reference varies on a folder", () => {
    expect(augment(0)).toEqual(augmentations.flip);
    expect(augment(0, "data=x")).toEqual(augmentations.spikeyolo);
  });

  test("is set by the names that ultralytics gives it", () => {
    const given = ["mosaic=0.5", "degrees=10", "translate=0.2", "scale=0.3", "shear=2", "perspective=0.0005", "hsv_h=0.1", "hsv_s=0.2", "hsv_v=0.3", "fliplr=0.4", "flipud=0.6"];
    expect(augment(0, ...given)).toEqual({ mosaic: 0.5, degrees: 10, translate: 0.2, scale: 0.3, shear: 2, perspective: 0.0005, hue: 0.1, saturation: 0.2, value: 0.3, flip: 0.4, upsideDown: 0.6 });
  });

  test("has no mosaic in the last epochs, unless there are fewer than that", () => {
    const on = (...args: string[]) => Array.from({ length: settingsOf(parseOptions("train", args)).epochs }, (_, epoch) => augment(epoch, ...args).mosaic).join("");
    expect(on("data=x", "epochs=14")).toBe("11110000000000");
    expect(on("data=x", "epochs=5", "close_mosaic=2")).toBe("11100");
    expect(on("data=x", "epochs=5", "close_mosaic=0")).toBe("11111");
    expect(on("data=x", "epochs=5")).toBe("11111");
    expect(on("data=x", "epochs=5", "close_mosaic=5")).toBe("00000");
  });
});

describe("recipes by name", () => {
  const settings = (...args: string[]) => settingsOf(parseOptions("train", ["data=x", ...args]));
  const rates = (recipe: ReturnType<typeof recipeOf>, batches: number) => { const plan = schedule(recipe, batches); return (epoch: number, batch: number) => plan.at(epoch, batch).rates; };

  test("coco has the rates that the log of the published run prints after an epoch", () => {
    const given = settings("recipe=coco"), batches = Math.ceil(118_287 / 40), at = rates(recipeOf(given), batches);
    expect(given).toMatchObject({ model: "s", imgsz: 640, batch: 40, epochs: 300, T: 1, D: 4, lr0: 0.01 });
    // epoch 300 of the log: 1.064e-4, which is that of epoch 299 on the line from 0.01 to 0.00004
    expect(at(299, batches - 1).weight).toBeCloseTo(1.064e-4, 12);
    expect(at(298, 0).weight).toBeCloseTo(0.01 * ((1 - 297 / 300) * 0.996 + 0.004), 15);
    expect(at(0, 0)).toEqual({ bias: 0.1, weight: 0, norm: 0 });
    expect(schedule(recipeOf(given), batches).weightDecay).toBeCloseTo(6.25e-4, 15);
  });

  test("gen1 is for events, small is what a folder gets, finetune steps after each batch", () => {
    expect(settings("frames=last", "recipe=gen1")).toMatchObject({ model: "s", T: 4, D: 4, imgsz: 320, batch: 80, epochs: 80, lr0: 0.02, frames: "last", window: 250, order: "newest" });
    expect(settings("recipe=small")).toEqual({ ...settings(), recipe: "small" });
    expect(recipeOf(settings("recipe=small"))).toEqual(recipeOf(settings()));
    const tuned = settings("recipe=finetune"), plan = schedule(recipeOf(tuned), 37);
    expect(Array.from({ length: 37 }, (_, batch) => plan.at(3, batch).step)).not.toContain(false);
  });

  test("their numbers are set by the names that ultralytics gives them", () => {
    expect(recipeOf(settings("lrf=0.2", "momentum=0.8", "weight_decay=0.001", "warmup_epochs=2.5", "nbs=32"))).toMatchObject({ lrf: 0.2, momentum: 0.8, weightDecay: 0.001, warmupEpochs: 2.5, nbs: 32 });
  });

  test("what was trained at BCCD's rates is logged alike by the reference", () => {
    const at = rates(recipeOf(settings()), 37); // 292 pictures by 8; its log has lr at the end of epochs 1 and 2
    expect(at(0, 36).bias).toBeCloseTo(0.070811, 6);
    expect(at(0, 36).weight).toBeCloseTo(0.0032432, 7);
    expect(at(1, 36).weight).toBeCloseTo(0.0064464, 5);
  });
});
