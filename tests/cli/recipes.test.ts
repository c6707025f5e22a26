import { describe, expect, test } from "vitest";
import { parseOptions } from "../../cli/options.ts";
import { augmentOf, settingsOf } from "../../cli/recipes.ts";
import { augmentations } from "../../datasets/index.ts";

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
