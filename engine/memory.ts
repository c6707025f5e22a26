/**
 * Where numbers live: two arenas in one linear memory.
 *
 *   persistent   parameters, optimiser state, running statistics, tables      until the process ends
 *   scope        everything that an op makes                                  until the innermost scope ends, or nobody can read it any more
 *                and what it needs while it runs (packed weights, halos)      until that op returns
 *
 * An arena is a list of segments, filled by moving a pointer. What is given back before its scope ends leaves a hole, and new blocks go into the
 * smallest hole that takes them. Ending a scope moves the pointer back and forgets its holes, so a step that ran once finds all its memory again.
 *
 *     | constants | persistent … | scope … | persistent … | scope … |      segments, in the order they were needed
 *     0           HEAP_BASE
 */
import { HEAP_BASE } from "../kernels/load.ts";

const ALIGNMENT = 64;
/** Kernels may read this far past the end of a tensor. */
const SLACK = 64;
const PAGE = 65536;
const SEGMENT = 4 << 20;

/** How long values stand where they are. Those of a scope share one; a block that may go before its scope has its own. */
export class Life {
  private over = false;
  constructor(readonly scope?: Life) {}
  get ended(): boolean { return this.over || this.scope?.ended === true; }
  end(): void { this.over = true; }
}
export const FOREVER = new Life();

/** Memory of a scope that goes back before the scope ends, once nobody can read it any more (lean.ts). */
export class Block extends Life {
  /** It was handed to the caller, and stays until the scope ends. */
  given = false;
  /** Where its values stand as sixteen-bit floats, once they do: then it has ended itself. */
  half: Block | undefined;
  constructor(scope: Life, readonly pointer: number, readonly bytes: number) { super(scope); }
}

/** Why values of a life that has ended cannot be read, and what to do. */
export const endOf = (life: Life, whose: "its" | "their"): string => {
  const one = whose === "its", it = one ? "it" : "them";
  return life.scope && !life.scope.ended ? `nobody needed ${it} any more (lean, backward); read ${it} earlier, or return ${it} from there`
    : `${whose} scope has ended; ${one ? "return it from the scope, or read it inside" : "read them inside"}`;
};

/** Memory without a shape. */
export interface Room { readonly ptr: number; readonly life: Life }

export class OutOfMemoryError extends Error {
  constructor(readonly requested: number, readonly used: number, readonly limit: number) {
    const megabytes = (bytes: number) => `${(bytes / 1048576).toFixed(1)} MB`;
    super(`memory: ${megabytes(requested)} more do not fit, ${megabytes(used)} of ${megabytes(limit)} are in use; take a smaller batch or image`);
    this.name = "OutOfMemoryError";
  }
}

interface Segment { start: number; end: number }
interface Mark { segment: number; top: number }

class Arena {
  private readonly segments: Segment[] = [];
  private current = -1;
  private top = 0;
  constructor(private readonly grow: (bytes: number) => Segment) {}

  allocate(bytes: number, rest: (start: number, end: number) => void): number {
    while (this.current < 0 || this.top + bytes > this.segments[this.current].end) this.next(bytes, rest);
    const pointer = this.top;
    this.top += bytes;
    return pointer;
  }

  mark(): Mark { return { segment: this.current, top: this.top }; }

  rewind({ segment, top }: Mark): void {
    this.current = segment;
    this.top = top;
  }

  /** Takes back what was given out last, down to where the hole that reaches to the top begins. */
  lower(holes: Holes): void {
    if (this.current >= 0) this.top = holes.cut(this.top, this.segments[this.current].start);
  }

  private next(bytes: number, rest: (start: number, end: number) => void): void {
    const last = this.segments[this.current];
    if (this.current + 1 === this.segments.length) {
      const fresh = this.grow(Math.max(bytes, SEGMENT));
      if (last && last.end === fresh.start) { last.end = fresh.end; return; }
      this.segments.push(fresh);
    }
    if (last && last.end > this.top) rest(this.top, last.end);
    this.top = this.segments[++this.current].start;
  }
}

/** Ranges of addresses that are free, lowest first; those that touch are one. */
class Holes {
  private readonly starts: number[] = [];
  private readonly ends: number[] = [];

  give(start: number, end: number): void {
    const { starts, ends } = this;
    let low = 0, high = starts.length;
    while (low < high) { const middle = (low + high) >> 1; if (starts[middle] < start) low = middle + 1; else high = middle; }
    const before = low > 0 && ends[low - 1] === start, after = low < starts.length && starts[low] === end;
    if (before && after) { ends[low - 1] = ends[low]; starts.splice(low, 1); ends.splice(low, 1); }
    else if (before) ends[low - 1] = end;
    else if (after) starts[low] = start;
    else { starts.splice(low, 0, start); ends.splice(low, 0, end); }
  }

  /** The front of the smallest hole of at least so many bytes. */
  take(bytes: number): number | undefined {
    const { starts, ends } = this;
    let best = -1, room = Infinity;
    for (let i = 0; i < starts.length; i++) {
      const size = ends[i] - starts[i];
      if (size >= bytes && size < room) { best = i; room = size; }
    }
    if (best < 0) return undefined;
    const pointer = starts[best];
    if (room === bytes) { starts.splice(best, 1); ends.splice(best, 1); } else starts[best] += bytes;
    return pointer;
  }

  /** Removes the hole that ends at `top`, but nothing below `least`, and says where it began. */
  cut(top: number, least: number): number {
    const last = this.ends.length - 1, start = this.starts[last];
    if (this.ends[last] !== top || start === undefined || top <= least) return top;
    if (start < least) { this.ends[last] = least; return least; }
    this.starts.pop();
    this.ends.pop();
    return start;
  }
}

interface Scope { readonly life: Life; readonly mark: Mark; readonly heldBefore: number; readonly holes: Holes; watched: Map<number, Block> | undefined }
interface Work { readonly scope: Scope; readonly pointer: number; readonly bytes: number }

export class Memory {
  private end = HEAP_BASE;
  private readonly persistentArena = new Arena((bytes) => this.segment(bytes));
  private readonly scopeArena = new Arena((bytes) => this.segment(bytes));
  private readonly scopes: Scope[] = [];
  private readonly root: Scope;
  private readonly released = new Holes();
  private work: Work[] | undefined;
  private keeping = false;
  /** Bytes in persistent blocks, and in those of scopes. */
  private lasting = 0;
  private held = 0;
  private highest = 0;

  constructor(readonly wasm: WebAssembly.Memory, readonly limit = 65536 * PAGE) {
    this.root = this.scopeWith(FOREVER);
  }

  /** Bytes that hold something now. */
  get inUse(): number { return this.lasting + this.held; }
  /** Bytes of `inUse` that outlive every scope. */
  get persistentBytes(): number { return this.lasting; }
  /** Bytes taken from the host so far: the high-water mark of both arenas. */
  get reserved(): number { return this.end; }
  /** The largest `inUse` so far, or since `resetPeak`. */
  get peak(): number { return Math.max(this.highest, this.inUse); }
  resetPeak(): void { this.highest = this.inUse; }
  /** Lifetime of the innermost scope. */
  get life(): Life { return this.innermost.life; }

  private get innermost(): Scope { return this.scopes.at(-1) ?? this.root; }

  /** Memory that stays until `release`. */
  persistent(bytes: number): number {
    const size = rounded(bytes);
    const pointer = this.released.take(size) ?? this.persistentArena.allocate(size, (start, end) => this.released.give(start, end));
    this.lasting += size;
    return this.note(pointer);
  }

  /** Gives persistent memory back for later persistent allocations. */
  release(pointer: number, bytes: number): void {
    this.released.give(pointer, pointer + rounded(bytes));
    this.lasting -= rounded(bytes);
  }

  /** Memory of the innermost scope. */
  allocate(bytes: number): number {
    const scope = this.innermost, size = rounded(bytes), pointer = this.place(scope, size);
    scope.watched?.set(pointer, new Block(scope.life, pointer, size));
    return pointer;
  }

  /** The same with the life of what stands there. */
  room(bytes: number): Room {
    const ptr = this.allocate(bytes);
    return { ptr, life: this.innermost.watched?.get(ptr) ?? this.life };
  }

  /** Hands memory of the innermost scope back before the scope ends. */
  recycle(pointer: number, bytes: number): void { this.vacate(this.innermost, pointer, rounded(bytes)); }

  /** Ends a block. */
  free(block: Block): void {
    if (block.ended) return;
    block.end();
    const scope = [...this.scopes, this.root].find(({ life }) => life === block.scope);
    if (scope) this.vacate(scope, block.pointer, block.bytes);
  }

  /** From now on, what is allocated in the innermost scope is put into `blocks`, each with a life of its own. Gives back where it went before. */
  watch(blocks: Map<number, Block> | undefined): Map<number, Block> | undefined {
    const before = this.innermost.watched;
    this.innermost.watched = blocks;
    return before;
  }

  /** Memory of the op that runs now. */
  workspace(bytes: number): number {
    const scope = this.innermost, size = rounded(bytes), pointer = this.place(scope, size);
    this.work?.push({ scope, pointer, bytes: size });
    return pointer;
  }

  /** Runs an op; what it took as workspace is free again afterwards. */
  withWorkspace<R>(run: () => R): R {
    const before = this.work, mine: Work[] = [];
    this.work = mine;
    try {
      return run();
    } finally {
      this.work = before;
      if (this.keeping) before!.push(...mine); else this.vacateAll(mine);
    }
  }

  /** Runs an op; what it took as workspace is free again once the caller says so. */
  withLastingWorkspace<R>(run: () => R): { result: R; free: () => void } {
    const before = this.work, mine: Work[] = [];
    this.work = mine;
    try {
      return { result: run(), free: () => this.vacateAll(mine) };
    } catch (error) {
      this.vacateAll(mine);
      throw error;
    } finally {
      this.work = before;
    }
  }

  /** Runs a part of an op; what it takes as workspace, and what its own parts take, is that of the op. */
  keepingWorkspace(run: () => void): void {
    const before = this.keeping;
    this.keeping = true;
    try { run(); } finally { this.keeping = before; }
  }

  enter(): void { this.scopes.push(this.scopeWith(new Life())); }

  leave(): void {
    const scope = this.scopes.pop();
    if (!scope) throw new Error("memory: leave() without enter()");
    scope.life.end();
    this.held = scope.heldBefore;
    this.scopeArena.rewind(scope.mark);
  }

  private scopeWith(life: Life): Scope { return { life, mark: this.scopeArena.mark(), heldBefore: this.held, holes: new Holes(), watched: undefined }; }

  private place(scope: Scope, size: number): number {
    const pointer = scope.holes.take(size) ?? this.scopeArena.allocate(size, (start, end) => scope.holes.give(start, end));
    this.held += size;
    return this.note(pointer);
  }

  private vacateAll(works: Work[]): void {
    for (let work = works.pop(); work; work = works.pop()) if (!work.scope.life.ended) this.vacate(work.scope, work.pointer, work.bytes);
  }

  private vacate(scope: Scope, pointer: number, size: number): void {
    scope.holes.give(pointer, pointer + size);
    if (scope === this.innermost) this.scopeArena.lower(scope.holes);
    this.held -= size;
  }

  private note(pointer: number): number {
    const used = this.inUse;
    if (used > this.highest) this.highest = used;
    return pointer;
  }

  private segment(bytes: number): Segment {
    const start = this.end, size = Math.ceil(bytes / PAGE) * PAGE;
    const missing = start + size - this.wasm.buffer.byteLength;
    if (missing > 0) {
      if (start + size > this.limit) throw new OutOfMemoryError(size, this.inUse, this.limit);
      try { this.wasm.grow(Math.ceil(missing / PAGE)); } catch { throw new OutOfMemoryError(size, this.inUse, this.limit); }
    }
    this.end = start + size;
    return { start, end: this.end };
  }
}

const rounded = (bytes: number): number => Math.ceil((bytes + SLACK) / ALIGNMENT) * ALIGNMENT;
