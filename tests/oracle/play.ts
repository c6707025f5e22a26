/**
 * Replays recorded cases. A folder has a manifest that lists cases; a case names an `op`, tensors in roles (given, expected) and a
 * tolerance; a player of that op runs the project's own code on what is given and compares with what is expected.
 *
 * This file knows no op. Layouts and meanings are the players' business.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadKernels, scope, sizeOf, withHost, type Host } from "../../engine/index.ts";
import type { Build } from "../../kernels/load.ts";
import { readSafetensors, type Safetensors } from "../../nn/safetensors.ts";

/** A tensor of a case, row-major, in the layout of whoever recorded it. */
export interface Recorded {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
  /** Stored as integers: must be met exactly. */
  readonly integer: boolean;
}

export type Role = "inputs" | "weights" | "outputs" | "upstream" | "grads" | "aux";

/** What a manifest says of a case. Fields beyond these are the players' business. */
export interface CaseRecord {
  readonly id: string;
  readonly op: string;
  readonly file?: string;
  readonly params?: Readonly<Record<string, any>>;
  readonly rtol?: number;
  readonly atol?: number;
  readonly [field: string]: any;
}

/** One folder: its manifest, and its tensor files, each read when a case first asks for it. */
export class OracleFolder {
  readonly cases: readonly OracleCase[];
  private readonly files = new Map<string, Safetensors>();
  constructor(readonly path: string, manifest = "manifest.json") {
    const { cases } = JSON.parse(readFileSync(join(path, manifest), "utf8")) as { cases: CaseRecord[] };
    this.cases = cases.map((record) => new OracleCase(this, record));
  }
  tensors(file: string): Safetensors["tensors"] {
    let known = this.files.get(file);
    if (!known) this.files.set(file, (known = readSafetensors(readFileSync(join(this.path, file)))));
    return known.tensors;
  }
}

interface Reference { readonly file: string; readonly key: string }

export class OracleCase {
  private readonly roles = new Map<Role, ReadonlyMap<string, Reference>>();
  constructor(readonly folder: OracleFolder, readonly record: CaseRecord) {}

  get params(): Readonly<Record<string, any>> { return this.record.params ?? {}; }
  names(role: Role): string[] { return [...this.references(role).keys()]; }
  has(role: Role, name: string): boolean { return this.references(role).has(name); }

  get(role: Role, name: string): Recorded {
    const found = this.references(role).get(name);
    if (!found) throw new Error(`${this.record.id}: ${role} holds no ${name}`);
    const stored = this.folder.tensors(found.file).get(found.key);
    if (!stored) throw new Error(`${this.record.id}: ${found.file} holds no ${found.key}`);
    const read = stored.read(), data = read instanceof BigInt64Array || read instanceof BigUint64Array ? Float64Array.from(read, Number) : read;
    return { shape: stored.shape, data, integer: !stored.dtype.includes("F") };
  }

  all(role: Role): Map<string, Recorded> { return new Map(this.names(role).map((name) => [name, this.get(role, name)])); }

  /** Every tensor that this case reads or expects, as the manifest calls it. */
  everyReference(): Reference[] {
    const roles: readonly Role[] = ["inputs", "weights", "outputs", "upstream", "grads", "aux"];
    return roles.flatMap((role) => [...this.references(role).values()]);
  }

  /** A role is a map of names, or a list of key prefixes whose rest is the name (the later prefix wins). */
  private references(role: Role): ReadonlyMap<string, Reference> {
    const known = this.roles.get(role);
    if (known) return known;
    const found = new Map<string, Reference>();
    const prefixes = (this.record[`${role}_prefix`] ?? []) as readonly string[];
    for (const { file, key: prefix } of prefixes.map((text) => this.parse(text))) {
      for (const key of this.folder.tensors(file).keys()) if (key.startsWith(prefix)) found.set(key.slice(prefix.length), { file, key });
    }
    for (const [name, text] of Object.entries((this.record[role] ?? {}) as Record<string, string>)) found.set(name, this.parse(text));
    this.roles.set(role, found);
    return found;
  }

  /** "key" of the case's own file, or "other.safetensors:key". */
  private parse(text: string): Reference {
    const split = text.indexOf(".safetensors:");
    if (split >= 0) return { file: text.slice(0, split + 12), key: text.slice(split + 13) };
    if (!this.record.file) throw new Error(`${this.record.id}: ${text} needs a file`);
    return { file: this.record.file, key: text };
  }
}

export interface Tolerance { readonly rtol: number; readonly atol: number }

interface Comparison { readonly what: string; readonly error: number; readonly allowed: number }

/** Gathers comparisons. A result is right when |got - want| <= atol + rtol * max|want| over the tensor. */
export class Check {
  readonly failures: string[] = [];
  readonly notes: string[] = [];
  comparisons = 0;
  worst: Comparison | undefined;
  constructor(private readonly tolerance: Tolerance) {}

  close(what: string, got: ArrayLike<number>, want: Recorded, { rtol, atol }: Tolerance = this.tolerance): void {
    if (want.integer) { this.equal(what, got, want.data); return; }
    let largest = 0;
    for (let i = 0; i < want.data.length; i++) largest = Math.max(largest, Math.abs(want.data[i]));
    this.within(what, got, want.data, atol + rtol * largest);
  }

  equal(what: string, got: ArrayLike<number>, want: ArrayLike<number>): void { this.within(what, got, want, 0); }

  /** One number that must not be above another, such as an error measure. */
  atMost(what: string, error: number, allowed: number): void {
    this.comparisons++;
    if (!(error <= allowed)) this.failures.push(`${what}: ${short(error)} is above ${short(allowed)}`);
    this.remember({ what, error, allowed });
  }

  fail(what: string): void { this.failures.push(what); }
  note(text: string): void { if (!this.notes.includes(text)) this.notes.push(text); }

  private within(what: string, got: ArrayLike<number>, want: ArrayLike<number>, allowed: number): void {
    this.comparisons++;
    if (got.length !== want.length) { this.failures.push(`${what}: ${got.length} values, expected ${want.length}`); return; }
    let error = 0, at = 0;
    for (let i = 0; i < want.length; i++) {
      const distance = got[i] === want[i] ? 0 : Math.abs(got[i] - want[i]);
      if (!(distance <= error)) { error = Number.isNaN(distance) ? Infinity : distance; at = i; }
      if (error === Infinity) break;
    }
    if (error > allowed) this.failures.push(`${what}[${at}]: got ${got[at]}, expected ${want[at]}; off by ${short(error)}, allowed ${short(allowed)}`);
    this.remember({ what, error, allowed });
  }

  private remember(found: Comparison): void {
    if (!this.worst || share(found) > share(this.worst)) this.worst = found;
  }
}

/** How much of its allowance an error takes. */
const share = ({ error, allowed }: Comparison): number => (error === 0 ? 0 : error / allowed);

export const short = (value: number): string => (value === 0 ? "0" : value.toExponential(1));

/** Where a case can run; "best" is the fastest float32 build of this machine. */
export type Place = Build | "best";

export interface Player {
  /** Every place that the case must pass on. None: it computes without kernels. */
  readonly places: readonly Place[];
  /** What has to be waited for, such as files; `play` is given it. */
  read?(c: OracleCase): Promise<unknown>;
  play(c: OracleCase, check: Check, read?: any): void;
}

export type Hosts = ReadonlyMap<Place, Host>;

export async function oracleHosts(): Promise<Hosts> {
  const hosts = new Map<Place, Host>();
  for (const build of ["reference64", "reference"] as const) hosts.set(build, await loadKernels({ build }));
  const best = await loadKernels();
  return hosts.set("best", best.build === "reference" ? hosts.get("reference")! : best);
}

export interface Outcome {
  readonly verdict: "passed" | "failed" | "skipped";
  /** One line: verdict, id, op, and for each host the worst error against its allowance. */
  readonly line: string;
  /** What was wrong, first things first. */
  readonly details: readonly string[];
}

/** `playCase`, after what its player has to wait for. */
export async function replayCase(c: OracleCase, players: ReadonlyMap<string, Player>, hosts: Hosts): Promise<Outcome> {
  const [settled] = await Promise.allSettled([players.get(c.record.op)?.read?.(c)]);
  return playCase(c, players, hosts, () => {
    if (settled.status === "rejected") throw settled.reason;
    return settled.value;
  });
}

/** Runs one case everywhere it must pass. A case is skipped only if nobody plays its op. */
export function playCase(c: OracleCase, players: ReadonlyMap<string, Player>, hosts: Hosts, read: () => unknown = () => undefined): Outcome {
  const { id, op, rtol = 0, atol = 0 } = c.record, player = players.get(op);
  if (!player) return { verdict: "skipped", line: `skipped ${id} (${op}): no code implements this op yet`, details: [] };

  const details: string[] = [], summaries: string[] = [], notes: string[] = [];
  const run = (label: string, play: (check: Check) => void): void => {
    const check = new Check({ rtol, atol });
    try {
      play(check);
      if (check.comparisons === 0) check.fail("nothing was compared");
    } catch (error) {
      check.fail(error instanceof Error ? error.stack ?? error.message : String(error));
    }
    details.push(...check.failures.map((failure) => `${label}: ${failure}`));
    const { worst } = check;
    summaries.push(worst ? `${label} ${short(worst.error)} of ${short(worst.allowed)} (${worst.what})` : `${label} nothing compared`);
    for (const note of check.notes) if (!notes.includes(note)) notes.push(note);
  };
  for (const host of new Set(player.places.map((place) => hosts.get(place)!))) {
    run(host.build, (check) => withHost(host, () => scope(() => player.play(c, check, read()))));
  }
  if (player.places.length === 0) run("no kernels", (check) => player.play(c, check, read()));

  const verdict = details.length ? "failed" : "passed";
  const line = `${verdict.padEnd(7)} ${id} (${op}): ${[...summaries, ...notes].join("; ")}`;
  return { verdict, line, details };
}

// ---- layouts: the recorded ones are channels-first ----

/** [..., C, spatial] -> [..., spatial, C], with `spatial` axes after the channels. Tensors of fewer axes stay as they are. */
export function channelsLast({ shape, data, integer }: Recorded, spatial = 2): Recorded {
  const at = shape.length - 1 - spatial;
  if (at < 0) return { shape, data, integer };
  const [before, C, after] = [shape.slice(0, at), shape[at], shape.slice(at + 1)];
  return { shape: [...before, ...after, C], data: transposed(data, sizeOf(before), C, sizeOf(after)), integer };
}

/** The values of [..., spatial, C] in the order of [..., C, spatial]. */
export function channelsFirst(shape: readonly number[], values: ArrayLike<number>, spatial = 2): ArrayLike<number> {
  const at = shape.length - 1 - spatial;
  if (at < 0) return values;
  return transposed(values, sizeOf(shape.slice(0, at)), sizeOf(shape.slice(at, -1)), shape[shape.length - 1]);
}

/** [n, rows, columns] -> [n, columns, rows] */
function transposed(values: ArrayLike<number>, n: number, rows: number, columns: number): Float64Array {
  const out = new Float64Array(values.length);
  let i = 0;
  for (let k = 0; k < n; k++) for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
    out[(k * columns + column) * rows + row] = values[i++];
  }
  return out;
}
