/** Spikes: bytes (value | windowOpen << 4), event lists by pixel, and the convolution that adds only where something fired. */
import { nearest, type Machine } from "./machine.ts";

const BLOCK = 32; // output channels of one item of spike_conv_pack
export const RUN = 64; // pixels that are listed back to back

/** Lists the events of pixels [first, last) back to back from entry first*C on. */
export function listRun({ u8, u16, i32 }: Machine, first: number, last: number, s: number, events: number, spans: number, C: number, d = 0, entry = (value: number): number => value): void {
  const S = u8(s), E = u16(events), span = i32(spans);
  let e = first * C;
  for (let p = first; p < last; p++) {
    span[2 * p] = e;
    for (let c = 0; c < C; c++) {
      const value = S[p * C + c] & 15;
      if (value > d) E[e++] = (c << 4) | entry(value);
    }
    span[2 * p + 1] = e;
  }
}

export const spike = (machine: Machine) => {
  const { real, u8, u16, i32, f64, round } = machine;

  return {
    spikes_to_f32(begin: number, end: number, s: number, y: number): void {
      const S = u8(s), Y = real(y);
      for (let i = begin; i < end; i++) Y[i] = S[i] & 15;
    },

    spikes_from_f32(begin: number, end: number, x: number, s: number): void {
      const X = real(x), S = u8(s);
      for (let i = begin; i < end; i++) S[i] = X[i] > 0 ? nearest(Math.min(X[i], 15)) : 0;
    },

    spikes_add(begin: number, end: number, x: number, y: number, z: number): void {
      const X = u8(x), Y = u8(y), Z = u8(z);
      for (let i = begin; i < end; i++) Z[i] = (X[i] & 15) + (Y[i] & 15) | ((X[i] | Y[i]) & 16);
    },

    spikes_copy_columns(begin: number, end: number, x: number, ldx: number, y: number, ldy: number, width: number): void {
      const X = u8(x), Y = u8(y);
      for (let row = begin; row < end; row++) for (let i = 0; i < width; i++) Y[row * ldy + i] = X[row * ldx + i];
    },

    spikes_upsample_nearest(begin: number, end: number, x: number, y: number, H: number, W: number, C: number, factor: number): void {
      const X = u8(x), Y = u8(y), OH = H * factor, OW = W * factor;
      for (let row = begin; row < end; row++) {
        const from = Math.floor(row / OH) * H + Math.floor((row % OH) / factor);
        for (let ox = 0; ox < OW; ox++) {
          for (let c = 0; c < C; c++) Y[(row * OW + ox) * C + c] = X[(from * W + Math.floor(ox / factor)) * C + c];
        }
      }
    },

    spike_events(begin: number, end: number, s: number, events: number, spans: number, pixels: number, C: number): void {
      for (let run = begin; run < end; run++) listRun(machine, run * RUN, Math.min((run + 1) * RUN, pixels), s, events, spans, C);
    },

    spike_events_above(begin: number, end: number, s: number, events: number, spans: number, pixels: number, C: number, d: number): void {
      for (let run = begin; run < end; run++) listRun(machine, run * RUN, Math.min((run + 1) * RUN, pixels), s, events, spans, C, d, () => 1);
    },

    spike_unfold(
      begin: number, end: number, events: number, spans: number, table: number, row: number, pixels: number, taps: number, K: number, size: number, unfolded: number, open: number,
    ): void {
      const E = u16(events), span = i32(spans), seen = i32(table), U = u16(unfolded), out = i32(open), room = (RUN * size + 1) * K + 8, runs = Math.ceil(pixels / RUN);
      for (let group = 0; group * size < taps; group++) for (let run = begin; run < end; run++) {
        let e = (group * runs + run) * room;
        for (let p = run * RUN; p < Math.min(run * RUN + RUN, pixels); p++) {
          out[2 * (group * pixels + p)] = e;
          for (let tap = group * size; tap < Math.min(group * size + size, taps); tap++) {
            const pixel = seen[tap * row + p];
            if (pixel >= 0) for (let i = span[2 * pixel]; i < span[2 * pixel + 1]; i++) U[e++] = E[i] + ((tap - group * size) * K << 4);
          }
          out[2 * (group * pixels + p) + 1] = e;
        }
      }
    },

    spike_statistics(begin: number, end: number, s: number, partial: number, size: number, step: number, length: number): void {
      const S = u8(s), P = f64(partial);
      for (let block = begin; block < end; block++) {
        let sum = 0, fired = 0, open = 0;
        for (let i = block * step; i < Math.min(size, block * step + length); i++) {
          sum += S[i] & 15;
          if (S[i] & 15) fired++;
          if (S[i] & 16) open++;
        }
        P.set([sum, fired, open], 3 * block);
      }
    },

    /** This build keeps w as it is: [N][taps][K]. */
    spike_conv_pack(begin: number, end: number, w: number, packed: number, N: number, taps: number, K: number, scale: number): void {
      const size = taps * K, from = begin * BLOCK * size, to = Math.min(end * BLOCK, N) * size, Packed = real(packed), Scale = real(scale);
      Packed.set(real(w).subarray(from, to), from);
      if (scale) for (let i = from; i < to; i++) Packed[i] *= Scale[Math.floor(i / size)];
    },

    spike_conv(
      begin: number, end: number, events: number, spans: number, table: number, pixels: number, taps: number, K: number, packed: number, bias: number, y: number, ldy: number, N: number,
    ): void {
      const E = u16(events), span = i32(spans), pixelOf = i32(table), W = real(packed), B = real(bias), Y = real(y);
      for (let p = begin; p < end; p++) {
        for (let j = 0; j < N; j++) {
          let sum = bias ? B[j] : 0;
          for (let tap = 0; tap < taps; tap++) {
            const pixel = table ? pixelOf[tap * pixels + p] : tap * pixels + p;
            if (pixel < 0) continue;
            for (let e = span[2 * pixel]; e < span[2 * pixel + 1]; e++) sum = round(sum + round((E[e] & 15) * W[(j * taps + tap) * K + (E[e] >> 4)]));
          }
          Y[p * ldy + j] = sum;
        }
      }
    },
  };
};
