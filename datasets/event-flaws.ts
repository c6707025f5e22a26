/** What is wrong in a file of events, in whatever parts it was read, and by however many threads: flaws are remembered by their place, so that reading one twice counts once. */

export interface EventFlaws {
  readonly width: number;
  readonly height: number;
  /** Whole events of the file, and bytes of a torn one behind them. */
  readonly whole: number;
  readonly torn: number;
  /** Bytes at which events are off the sensor, and at which time goes back: the first thousand that were met. */
  readonly off: Set<number>;
  readonly backward: Set<number>;
}

const MOST = 1000;

export function remember(places: Set<number>, byte: number): void { if (places.size < MOST) places.add(byte); }

/** What two readers of one file found. */
function joined(a: EventFlaws, b: EventFlaws): EventFlaws {
  const both = { ...b, off: new Set(a.off), backward: new Set(a.backward) };
  for (const byte of b.off) remember(both.off, byte);
  for (const byte of b.backward) remember(both.backward, byte);
  return both;
}

/** The flaws of many files. */
export class FlawsOfFiles {
  private readonly found = new Map<string, { name: string; flaws: EventFlaws }>();

  add({ path, name }: { readonly path: string; readonly name: string }, flaws: EventFlaws): void {
    const known = this.found.get(path);
    this.found.set(path, { name, flaws: known ? joined(known.flaws, flaws) : flaws });
  }

  get sentences(): string[] { return [...this.found.values()].flatMap(({ name, flaws }) => flawsSaid(name, flaws)); }
}

/** One sentence for each kind. */
export function flawsSaid(name: string, { width, height, whole, torn, off, backward }: EventFlaws): string[] {
  const many = (places: Set<number>) => (places.size >= MOST ? `${MOST} or more` : `${places.size}`), first = (places: Set<number>) => [...places].reduce((a, b) => Math.min(a, b));
  return [
    ...(torn > 0 ? [`gen1: ${name} ends with ${torn} ${torn === 1 ? "byte" : "bytes"} of a torn event after ${whole} whole ones; they are left out`] : []),
    ...(off.size > 0 ? [`gen1: ${name} has ${many(off)} of its events off the sensor of ${width} x ${height}, the first at byte ${first(off)}; they are left out`] : []),
    ...(backward.size > 0 ? [`gen1: ${name} goes back in time at ${many(backward)} of its events, the first at byte ${first(backward)}; windows of time may miss events, sort the file`] : []),
  ];
}
