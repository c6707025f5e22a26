import { describe, expect, test } from "vitest";
import { commands, help, nearest, parseOptions } from "../../cli/options.ts";
import { presets, recipeOf, settingsOf } from "../../cli/recipes.ts";
import { UserError } from "../../cli/user-error.ts";

/** The sentence that a command line is refused with. */
function refusal(...[command, ...args]: [keyof typeof commands, ...string[]]): string {
  try { parseOptions(command, args); } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as Error).message;
  }
  return "accepted";
}

describe("options", () => {
  test("are key=value, split at the first equals sign", () => {
    expect(parseOptions("train", ["data=a=b/voc", "epochs=3", "imgsz=96", "lr0=2e-3", "model=n"])).toEqual({ data: "a=b/voc", epochs: 3, imgsz: 96, lr0: 0.002, model: "n" });
    expect(parseOptions("predict", ["weights=runs/train", "source=a.jpg", "conf=.5"])).toEqual({ weights: "runs/train", source: "a.jpg", conf: 0.5 });
    expect(parseOptions("val", [])).toEqual({});
  });

  test("an unknown one is refused with the one that was meant", () => {
    expect(refusal("train", "epoch=3")).toBe('train: unknown option "epoch"; did you mean "epochs"?');
    expect(refusal("train", "imgzs=96")).toBe('train: unknown option "imgzs"; did you mean "imgsz"?');
    expect(refusal("train", "--epochs=3")).toBe('train: unknown option "--epochs"; write epochs=...');
    expect(refusal("train", "conf=0.5")).toBe('train: unknown option "conf", which belongs to predict');
    expect(refusal("val", "colour=red")).toBe('val: unknown option "colour"; the options are weights, data, split, metric, energy, imgsz, batch, threads, fold, T, D, neuron, arithmetic, out');
  });

  test("names of other things are not options", () => {
    for (const key of ["__proto__", "constructor", "toString", "hasOwnProperty"]) expect(refusal("train", `${key}=1`)).toContain(`unknown option "${key}"`);
  });

  test("a word without an equals sign is refused", () => {
    expect(refusal("train", "voc")).toBe('train: expected key=value, got "voc"');
    expect(refusal("train", "epoch")).toBe('train: expected key=value, got "epoch"; did you mean epochs=...?');
    expect(refusal("train", "=3")).toBe('train: expected key=value, got "=3"');
  });

  test("a value of another type is refused with what would be right", () => {
    expect(refusal("train", "epochs=ten")).toBe("train: epochs is ten, expected a whole number from 1 to 100000");
    expect(refusal("train", "epochs=")).toBe("train: epochs is empty, expected a whole number from 1 to 100000");
    expect(refusal("train", "epochs=2.5")).toBe("train: epochs is 2.5, expected a whole number from 1 to 100000");
    expect(refusal("train", "batch=0x10")).toBe("train: batch is 0x10, expected a whole number from 1 to 4096");
    expect(refusal("train", "seed=-1")).toBe("train: seed is -1, expected a whole number from 0 to 4294967295");
    expect(refusal("train", "lr0=Infinity")).toBe("train: lr0 is Infinity, expected a number from 0.000001 to 10".replace("0.000001", String(1e-6)));
    expect(refusal("train", "model=xl")).toBe("train: model is xl, expected one of n, s, m, l, small, tiny, snn-yolov3, snn-yolov3-released, snn-yolov3-small, snn-yolov3-tiny");
    expect(refusal("train", "T=0")).toBe("train: T is 0, expected a whole number from 1 to 16");
    expect(refusal("train", "D=16")).toBe("train: D is 16, expected a whole number from 1 to 15");
    expect(refusal("predict", "conf=1.5")).toBe("predict: conf is 1.5, expected a number from 0 to 1");
    expect(refusal("val", "split=trainval")).toBe("val: split is trainval, expected one of train, val, test");
    expect(refusal("train", "name=a/b")).toBe("train: name is a/b, expected a name without slashes");
    expect(refusal("train", "name=..")).toBe("train: name is .., expected a name without slashes");
    expect(refusal("train", "data=a\0b")).toContain("expected a path");
  });

  test("imgsz is a multiple of 32", () => {
    expect(refusal("train", "imgsz=100")).toBe("train: imgsz is 100, expected a multiple of 32 from 32 to 2048");
    expect(refusal("predict", "imgsz=0")).toBe("predict: imgsz is 0, expected a multiple of 32 from 32 to 2048");
    expect(parseOptions("train", ["imgsz=2048"])).toEqual({ imgsz: 2048 });
  });

  test("one that is given twice is refused, even with the same value", () => {
    expect(refusal("train", "seed=1", "seed=1")).toBe("train: seed is given twice; keep one");
  });

  test("help names every option of every command within 100 columns", () => {
    const text = help();
    for (const [command, { options }] of Object.entries(commands)) {
      expect(text).toContain(`\n${command}`);
      for (const key of Object.keys(options)) expect(text).toContain(`  ${key}=`);
    }
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(100);
  });

  test("help of one command has its options and no others, and says what else there is", () => {
    expect(help("val")).toContain("  split=");
    expect(help("val")).not.toContain("epochs=");
    expect(help("train")).toContain("  epochs=       how often each picture is seen (8, with data= 50)");
    expect(help("train")).toContain("other commands: val, profile, predict, export, scenes, check; spiketrain help shows them\nnpm start -- key=value ...  is  spiketrain train key=value ...");
  });

  test("nearest forgives one letter in three, and no more", () => {
    expect(nearest("tarin", ["train", "val"])).toBe("train");
    expect(nearest("weihgt", ["weights", "source"])).toBe("weights");
    expect(nearest("detect", ["train", "val", "predict"])).toBeUndefined();
  });
});

describe("recipes", () => {
  test("defaults of the embedded pictures and of a folder differ; what is given wins", () => {
    expect(settingsOf({})).toEqual({ ...presets.embedded.settings, lr0: presets.embedded.recipe.lr0 });
    const folder = settingsOf({ data: "voc", epochs: 3 });
    expect(folder).toMatchObject({ data: "voc", imgsz: presets.small.settings.imgsz, epochs: 3 });
    expect(folder.train).toBeUndefined();
    expect(recipeOf(folder).nbs).toBe(64);
    expect(recipeOf(settingsOf({ batch: 4, epochs: 2, lr0: 0.5 }))).toMatchObject({ batch: 4, epochs: 2, lr0: 0.5, nbs: presets.embedded.recipe.nbs });
  });

  test("arithmetic is fast unless strict is asked for, also in runs that were saved before there was a choice", () => {
    expect(settingsOf({}).arithmetic).toBe("fast");
    expect(settingsOf(parseOptions("train", ["arithmetic=strict", "seed=3"])).arithmetic).toBe("strict");
    expect(() => parseOptions("predict", ["arithmetic=exact"])).toThrow("predict: arithmetic is exact, expected one of fast, strict");
  });

  test("options that come out of a checkpoint go in again as they were", () => {
    const settings = settingsOf({ model: "s", lr0: 0.0125, data: "a folder = with signs", T: 2 });
    expect(parseOptions("train", Object.entries(settings).map(([key, value]) => `${key}=${value}`))).toEqual(settings);
  });
});
