/** Seeded randomness: the same seed gives the same numbers in every host. */

import { cos, log } from "../kernels/elementary.ts";

/** A stream of random numbers that can be saved and resumed. */
export class Random {
  private state: Uint32Array;

  /** Streams of different seeds, or of different `stream` numbers under one seed, are independent. */
  constructor(seed: number, ...stream: number[]) {
    this.state = new Uint32Array(4);
    let hash = 0x9e3779b9;
    for (const part of [seed, ...stream]) hash = mix(hash ^ mix((part >>> 0) ^ mix(Math.floor(part / 4294967296) >>> 0)));
    for (let i = 0; i < 4; i++) this.state[i] = hash = mix((hash + 0x9e3779b9) >>> 0);
  }

  /** 32 random bits (xoshiro128**, Blackman and Vigna 2018). */
  bits(): number {
    const s = this.state;
    const result = Math.imul(rotate(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11);
    return result;
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * ((this.bits() >>> 5) * 67108864 + (this.bits() >>> 6)) / 9007199254740992;
  }

  /** Integer in [low, high). */
  integer(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low));
  }

  /** Standard normal (Box-Muller). */
  normal(): number {
    const radius = Math.sqrt(-2 * log(1 - this.uniform()));
    return radius * cos(2 * Math.PI * this.uniform());
  }

  /** The indices 0..n-1 in random order (Fisher-Yates). */
  permutation(n: number): number[] {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(0, i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  /** Four words that restore the stream exactly. */
  save(): number[] { return [...this.state]; }

  static restore(words: readonly number[]): Random {
    const random = new Random(0);
    random.state = Uint32Array.from(words);
    return random;
  }
}

const rotate = (x: number, k: number): number => ((x << k) | (x >>> (32 - k))) >>> 0;

/** A bijection on 32 bits in which every input bit moves every output bit (lowbias32, Wellons). */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}
