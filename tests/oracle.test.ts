/** The recorded cases, and the player that replays them: what it compares, and that it notices when something is wrong. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tensor, valuesOf, fire } from "../engine/index.ts";
import { ilif } from "../nn/neurons.ts";
import { writeSafetensors, type TensorData } from "../nn/safetensors.ts";
import { channelsFirst, channelsLast, Check, OracleFolder, oracleHosts, playCase, replayCase, type CaseRecord, type Hosts, type Player } from "./oracle/play.ts";
import { players } from "./oracle/players.ts";

let hosts: Hosts;
beforeAll(async () => { hosts = await oracleHosts(); });

const root = fileURLToPath(new URL("..", import.meta.url));

/** One test per case; a case is skipped only if nobody plays its op. */
function replay(folder: string): void {
  for (const c of new OracleFolder(folder).cases) {
    const { id, op } = c.record;
    it.skipIf(!players.has(op))(`${id} (${op})`, { timeout: 300_000 }, async () => {
      const { verdict, line, details } = await replayCase(c, players, hosts);
      expect(details, line).toEqual([]);
      expect(verdict).toBe("passed");
    });
  }
}

describe("recorded SpikeYOLO cases, a few", () => {
  const folder = join(root, "tests/fixtures/spikeyolo");
  replay(folder);

  it("are all of ops that somebody plays", () => {
    expect(new OracleFolder(folder).cases.map(({ record: { op } }) => op).filter((op) => !players.has(op))).toEqual([]);
  });
});

const everything = join(root, "../shared/oracle/spikeyolo");
if (existsSync(join(everything, "manifest.json"))) describe("recorded SpikeYOLO cases, all", () => replay(everything));

describe("the player", () => {
  const folder = mkdtempSync(join(tmpdir(), "oracle-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  const reals = (shape: number[], ...values: number[]): TensorData => ({ dtype: "F64", shape, data: Float64Array.from(values) });

  /** Plays one made-up case that records y = [1, 2, 3]. */
  function verdictOn(player: Player, { rtol = 0, atol = 0, ...fields }: Partial<CaseRecord> = {}, tensors: Record<string, TensorData> = {}) {
    const record = { id: "made-up", op: "made-up", file: "a.safetensors", inputs: { x: "x" }, outputs: { y: "y" }, rtol, atol, ...fields };
    writeFileSync(join(folder, "a.safetensors"), writeSafetensors(new Map(Object.entries({ x: reals([3], 1, 2, 3), y: reals([3], 1, 2, 3), ...tensors }))));
    writeFileSync(join(folder, "manifest.json"), JSON.stringify({ cases: [record] }));
    return playCase(new OracleFolder(folder).cases[0], new Map([["made-up", player]]), hosts);
  }
  const giving = (...y: number[]): Player => ({ places: [], play: (c, check) => check.close("y", y, c.get("outputs", "y")) });

  it("passes what is right, and says how near to its allowance the worst value came", () => {
    const { verdict, line } = verdictOn(giving(1, 2, 3.01), { atol: 0.1 });
    expect(verdict).toBe("passed");
    expect(line).toBe("passed  made-up (made-up): no kernels 1.0e-2 of 1.0e-1 (y)");
  });

  it("allows atol + rtol times the largest expected value, and no more", () => {
    expect(verdictOn(giving(1, 2, 3.03), { rtol: 0.01, atol: 0.0001 }).verdict).toBe("passed");
    expect(verdictOn(giving(1.03, 2, 3), { rtol: 0.01, atol: 0.0001 }).verdict).toBe("passed");
    expect(verdictOn(giving(1, 2, 3.031), { rtol: 0.01, atol: 0.0001 }).verdict).toBe("failed");
  });

  it.each<[string, number[]]>([["a wrong value", [1, 2, 4]], ["NaN", [1, NaN, 3]], ["an infinity", [Infinity, 2, 3]], ["too few values", [1, 2]], ["too many values", [1, 2, 3, 4]]])("fails %s", (_, y) => {
    expect(verdictOn(giving(...y), { rtol: 1e-3 }).verdict).toBe("failed");
  });

  it("names the wrong element, what it is and what it should be", () => {
    expect(verdictOn(giving(1, 7, 3)).details).toEqual(["no kernels: y[1]: got 7, expected 2; off by 5.0e+0, allowed 0"]);
  });

  it("wants integer tensors exactly, whatever the tolerance", () => {
    const y: TensorData = { dtype: "I64", shape: [3], data: BigInt64Array.from([1n, 2n, 3n]) };
    expect(verdictOn(giving(1, 2, 3), { atol: 0.5 }, { y }).verdict).toBe("passed");
    expect(verdictOn(giving(1, 2, 3.0001), { atol: 0.5 }, { y }).verdict).toBe("failed");
  });

  it("fails a case in which nothing was compared", () => {
    expect(verdictOn({ places: [], play: () => {} }).details.join()).toMatch(/nothing was compared/);
  });

  it("fails a case that throws, and goes on", () => {
    expect(verdictOn({ places: [], play: () => { throw new Error("no such thing"); } }).details.join()).toMatch(/no such thing/);
  });

  it("gives a player what it had to wait for, and fails a case whose files cannot be read", async () => {
    const play = (read: () => Promise<number[]>) => {
      const player: Player = { places: [], read, play: (c, check, y: number[]) => check.close("y", y, c.get("outputs", "y")) };
      verdictOn(player);
      return replayCase(new OracleFolder(folder).cases[0], new Map([["made-up", player]]), hosts);
    };
    expect((await play(async () => [1, 2, 3])).details).toEqual([]);
    expect((await play(async () => [1, 2, 4])).verdict).toBe("failed");
    expect((await play(async () => { throw new Error("no such file"); })).details.join()).toMatch(/no such file/);
  });

  it("fails a case that asks for a tensor that is not there", () => {
    expect(verdictOn(giving(1, 2, 3), { outputs: { y: "z" } }).details.join()).toMatch(/a\.safetensors holds no z/);
    expect(verdictOn({ places: [], play: (c, check) => check.close("w", [1], c.get("weights", "w")) }).details.join()).toMatch(/weights holds no w/);
  });

  it("skips an op that nobody plays, and says so", () => {
    const record = verdictOn(giving(1, 2, 3));
    expect(record.verdict).toBe("passed");
    const { verdict, line } = playCase(new OracleFolder(folder).cases[0], new Map(), hosts);
    expect(verdict).toBe("skipped");
    expect(line).toMatch(/no code implements this op yet/);
  });

  it("runs a case on each of its places and fails it if one of them is wrong", () => {
    const ran: string[] = [];
    const inHost: Player = { places: ["reference64", "reference"], play: (c, check) => {
      const x = tensor(c.get("inputs", "x").data);
      ran.push(x.home.build);
      check.close("y", x.data.map((value) => (x.home.build === "reference" ? value + 1 : value)), c.get("outputs", "y"));
    } };
    const { verdict, details } = verdictOn(inHost);
    expect(ran).toEqual(["reference64", "reference"]);
    expect(verdict).toBe("failed");
    expect(details).toHaveLength(1);
    expect(details[0]).toMatch(/^reference: /);
  });

  it("reads roles from key prefixes, where the later prefix wins, and keys of other files", () => {
    writeFileSync(join(folder, "b.safetensors"), writeSafetensors(new Map([["far/w", reals([1], 5)]])));
    const player: Player = { places: [], play: (c, check) => {
      expect(c.names("weights").sort()).toEqual(["v", "w"]);
      check.close("v", [1], c.get("weights", "v"));
      check.close("w", [5], c.get("weights", "w"));
    } };
    const tensors = { "near/v": reals([1], 1), "near/w": reals([1], 2) };
    expect(verdictOn(player, { weights_prefix: ["near/", "b.safetensors:far/"] }, tensors).details).toEqual([]);
  });

  it("notices a neuron whose leak is one percent off", () => {
    const c = new OracleFolder(join(root, "tests/fixtures/spikeyolo")).cases.find(({ record }) => record.id === "ilif_T4_D4")!;
    const wrong: Player = { places: ["reference64"], play: (one, check) => {
      const { shape, data } = channelsLast(one.get("inputs", "x")), y = valuesOf(fire(tensor(data, shape), ilif(4, 0.2525)));
      check.close("y", channelsFirst(y.shape, y.data), one.get("outputs", "y"));
    } };
    expect(playCase(c, players, hosts).verdict).toBe("passed");
    expect(playCase(c, new Map([["ilif", wrong]]), hosts).verdict).toBe("failed");
  });

  it("turns [N, C, H, W] into [N, H, W, C] and back", () => {
    const recorded = { shape: [1, 2, 1, 3], data: [1, 2, 3, 10, 20, 30], integer: false };
    const last = channelsLast(recorded);
    expect(last.shape).toEqual([1, 1, 3, 2]);
    expect([...(last.data as Float64Array)]).toEqual([1, 10, 2, 20, 3, 30]);
    expect([...(channelsFirst(last.shape, last.data) as Float64Array)]).toEqual(recorded.data);
  });

  it("counts the distance of an error measure that is NaN as a failure", () => {
    const check = new Check({ rtol: 0, atol: 0 });
    check.atMost("distance", NaN, 1);
    expect(check.failures).toHaveLength(1);
  });
});
