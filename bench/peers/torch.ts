/** PyTorch in a process of its own, which answers one request per line: kernels (pytorch.py) or whole networks (network.py). Tensors travel as files. */
import { spawn, spawnSync, type ChildProcessByStdio } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { HOME } from "./packages.ts";
import type { Problem, Side } from "./problem.ts";

const CANDIDATES = [process.env.PYTHON, "python3", "python", "/usr/bin/python3", "/usr/local/bin/python3"];

/** What to ask a Python for: the version of PyTorch, and the instructions that its kernels use. */
const QUESTION = "import re, torch; found = re.search(r'CPU capability usage: (\\w+)', torch.__config__.show()); print(torch.__version__, found[1] if found else '')";

export interface Python { command: string; version: string }

/** The first Python that has PyTorch. */
export function findTorch(): Python | undefined {
  for (const command of CANDIDATES) {
    if (!command) continue;
    const { status, stdout } = spawnSync(command, ["-c", QUESTION], { encoding: "utf8" });
    if (status === 0) return { command, version: stdout.trim() };
  }
  return undefined;
}

export class Torch {
  private readonly folder = mkdtempSync(join(tmpdir(), "spiketrain-peers-"));
  private readonly child: ChildProcessByStdio<Writable, Readable, null>;
  private readonly answers: AsyncIterator<string>;

  constructor(command: string, threads: number, script = "pytorch.py") {
    this.child = spawn(command, [fileURLToPath(new URL(script, HOME)), String(threads)], { stdio: ["pipe", "pipe", "inherit"] });
    this.answers = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async sides({ pass, shape: { B, S, C, N, k }, groups, x, w, dy }: Problem): Promise<Side[]> {
    const file = (name: string, data: Float32Array, shape: readonly number[]) => {
      const path = this.path(name);
      writeFileSync(path, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      return { path, shape };
    };
    const { forms } = await this.ask<{ forms: string[] }>({
      do: "prepare", pass, groups, x: file("x", x, [B, S, S, C]), w: file("w", w, [N, k, k, C / groups]), dy: file("dy", dy, [B, S, S, N]),
    });
    return forms.map((form) => ({
      name: "PyTorch", form,
      time: async () => (await this.ask<{ ms: number }>({ do: "time", form })).ms,
      result: async () => {
        const path = this.path("result");
        rmSync(path, { force: true });
        await this.ask({ do: "save", form, path });
        return new Float32Array(new Uint8Array(readFileSync(path)).buffer);
      },
    }));
  }

  /** A file in the folder by which tensors travel. */
  path(name: string): string { return join(this.folder, name); }

  close(): void {
    this.child.stdin.end();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async ask<Answer>(request: object): Promise<Answer> {
    this.child.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.answers.next();
    if (done) throw new Error("bench: PyTorch ended before it answered; what it said stands above");
    return JSON.parse(value) as Answer;
  }
}
