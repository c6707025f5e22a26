/**
 * The loops that add one row of W values for each event: W/4 sums in registers, W = 32, 16, 8, 4 output channels.
 *
 * Eight sums, eight rows and what an event needs are more than fifteen registers, and V8 11 loads all that a basic block needs before it
 * computes: `if (e)`, always true, ends the block in the middle. Events go four to a turn with early exits, because V8 checks the stack
 * at each turn. `rows` is a running pointer, because V8 would compute anew for each event what could be computed once before the loop.
 */
const range = (n) => Array.from({ length: n }, (_, i) => i);
const join = (n, item, separator = " ") => range(n).map(item).join(separator);

const WIDTHS = [32, 16, 8, 4];
const sums = (W, item, separator) => join(W / 4, item, separator);
const offset = (i) => (i ? `, ${16 * i}` : "");
const declare = (W, zero) => `let ${sums(W, (i) => `s${i} = ${i ? "s0" : zero}`, ", ")};`;
const load = (W, from) => `if (left >= ${W}) { ${sums(W, (i) => `s${i} = v128.load(${from}${offset(i)});`)} }
      else { ${sums(W, (i) => `s${i} = loadSome(${from}${i ? ` + ${16 * i}` : ""}, left${i ? ` - ${4 * i}` : ""});`)} }`;
const store = (W, to) => `if (left >= ${W}) { ${sums(W, (i) => `v128.store(${to}, s${i}${offset(i)});`)} }
      else { ${sums(W, (i) => `storeSome(${to}${i ? ` + ${16 * i}` : ""}, s${i}, left${i ? ` - ${4 * i}` : ""});`)} }`;

/** What an event adds: value * row in float32 or in int32, or the row alone in int32. */
const ARITHMETIC = {
  real: { value: "f32x4.convert_i32x4_s(i32x4.splat(<i32>(event & 15)))", step: (sum, row) => `madd(value4, ${row}, ${sum})` },
  multiply: { value: "i32x4.splat(<i32>(event & 15))", step: (sum, row) => `i32x4.add(${sum}, i32x4.mul(value4, ${row}))` },
  add: { value: undefined, step: (sum, row) => `i32x4.add(${sum}, ${row})` },
};

/** Four events to a turn: `find` sets `row` from `event`, or goes on to the next event. */
function eachEvent(W, { value, step }, find) {
  const add = (i) => `s${i} = ${step(`s${i}`, `v128.load(row${offset(i)})`)};`;
  const all = range(W / 4).map(add), half = W > 16 ? 4 : 0;
  const event = (u) => `${u ? `
          if (e >= stop) break;` : ""}
          event = <usize>load<u16>(e); e += 2;
          ${find(`${value ? `value4 = ${value};
          ` : ""}${half ? `if (e) { ${all.slice(0, half).join(" ")} }
          ` : ""}${all.slice(half).join(" ")}`)}`;
  return `while (e < stop) {${join(4, event, "")}
        }`;
}

/** The narrowest of the widths that holds what is left of N: the last block of output channels is as narrow as that. */
const byWidth = (call) => WIDTHS.map((W, i) => `${i ? "else " : ""}${i + 1 < WIDTHS.length ? `if (left > ${WIDTHS[i + 1]}) ` : ""}${call(W)};`).join("\n    ");

const gather = (kind) => `${WIDTHS.map((W) => gatherColumns(kind, W)).join("")}
/** y[p][j] = (real: bias[j], else y[p][j]) + sum over taps, over events (c, value) of pixel table[tap][p] of what the event adds for w[j][tap][c] */
export function gather_${kind}(
  begin: i32, end: i32, events: usize, spans: usize, table: usize, pixels: i32, taps: i32, K: i32, packed: usize, bias: usize, y: usize, ldy: i32, N: i32,
): void {
  for (let j = 0; j < N; j += 32) {
    const left = N - j, weights = at(packed, j * taps * K), b = bias ? at(bias, j) : 0, out = at(y, j);
    ${byWidth((W) => `gather_${kind}${W}(begin, end, events, spans, table, pixels, taps, K, weights, b, out, ldy, left)`)}
  }
}
`;

const gatherColumns = (kind, W) => `
function gather_${kind}${W}(
  begin: i32, end: i32, events: usize, spans: usize, table: usize, pixels: i32, taps: i32, K: i32, weights: usize, bias: usize, y: usize, ldy: i32, left: i32,
): void {
  const slab = <usize>K << 7, fitting = max(1, L1 / (${4 * W} * K)), groups = (taps + fitting - 1) / fitting, size = (taps + groups - 1) / groups;
  for (let first = 0; first < taps; first += size, weights += <usize>size * slab) {
    const last = min(first + size, taps);
    for (let p = begin; p < end; p++) {
      const out = at(y, p * ldy), from = ${kind === "real" ? "first ? out : bias" : "out"};
      ${declare(W, "i32x4.splat(0)")}
      ${kind === "real" ? "if (from) " : ""}{ ${load(W, "from")} }
      let rows = weights;
      for (let tap = first; tap < last; tap++, rows += slab) {
        const pixel = table ? load<i32>(at(table, tap * pixels + p)) : tap * pixels + p;
        if (pixel < 0) continue;
        const span = spans + (<usize>pixel << 3), stop = events + (<usize>load<u32>(span, 4) << 1);
        let e = events + (<usize>load<u32>(span) << 1), event: usize, row: usize, value4: v128;
        ${eachEvent(W, ARITHMETIC[kind], (body) => `row = rows + ((event & 0xfff0) << 3);  // 128 c, from c << 4
          ${body}`)}
      }
      ${store(W, "out")}
    }
  }
}
`;

const gradient = `${WIDTHS.map((W) => gradientColumns(W)).join("")}
/** Items block*K + k: dwt[block][to][k][j], to = top + y*line + x*step of the tap (y, x) of those that are gathered, = sum over the events (place, value) of channel k of value * the row of dyb that place feeds through the tap */
export function gather_gradient(
  begin: i32, end: i32, events: usize, spans: usize, table: usize, places: i32, rows: i32, taps: i32, kw: i32, Wp: i32, K: i32, band: i32, dyb: usize, dwt: usize, N: i32,
  all: i32, top: i32, step: i32, line: i32,
): void {
  for (let block = begin / K, item = block * K; item < end; block++, item += K) {
    const first = max(0, begin - item), last = min(K, end - item), left = N - 32 * block, from = at(dyb, 32 * block * rows), out = at(dwt, 32 * (block * all + top) * K);
    ${byWidth((W) => `gradient${W}(first, last, events, spans, table, places, taps, kw, Wp, K, band, from, out, step, line)`)}
  }
}
`;

function gradientColumns(W) {
  const events = (find) => eachEvent(W, ARITHMETIC.real, find);
  return `
function gradient${W}(
  begin: i32, end: i32, events: usize, spans: usize, table: usize, places: i32, taps: i32, kw: i32, Wp: i32, K: i32, band: i32, dyb: usize, dwt: usize, step: i32, line: i32,
): void {
  const left = ${W};
  for (let base = 0; base < places; base += band, spans += <usize>K << 3) {
    let rows = dyb + (<usize>(base + (taps / kw - 1) * Wp + kw - 1) << 7);
    for (let tap = 0, x = 1, to = 0; tap < taps; tap++, x++, to += step, rows -= 128) {
      const fed = table ? at(table, tap * places + base) : 0;
      if (x > kw) { x = 1; to += line - kw * step; rows -= <usize>(Wp - kw) << 7; }
      for (let k = begin; k < end; k++) {
        const span = spans + (<usize>k << 3), stop = events + (<usize>load<u32>(span, 4) << 1), out = dwt + (<usize>(to * K + k) << 7);
        let e = events + (<usize>load<u32>(span) << 1), event: usize, row: usize, value4: v128;
        if (e == stop && base) continue;
        ${declare(W, "i32x4.splat(0)")}
        if (base) { ${load(W, "out")} }
        if (fed) { ${events((body) => `{
            const place = load<i32>(fed + (event >> 4 << 2));
            if (place >= 0) {
              row = dyb + (<usize>place << 7);
              ${body}
            }
          }`)} }
        else { ${events((body) => `row = rows + ((event & 0xfff0) << 3);  // 128 place, from place << 4
          ${body}`)} }
        ${store(W, "out")}
      }
    }
  }
}
`;
}

/** For each set of eight lanes of 16 bits: the byte shuffle that moves those in the set to the front, in order. */
const compactions = range(256).flatMap((set) => {
  const lanes = range(8).filter((lane) => set >> lane & 1);
  return range(16).map((i) => (i >> 1 < lanes.length ? 2 * lanes[i >> 1] + i % 2 : 128));
});

export const spikeKernels = `import { NUMBERS, at, loadSome, madd, storeSome } from "../lanes";

/** What the weights of the taps that share one pass over the pixels may take. */
// @ts-ignore: decorator
@inline const L1: i32 = 32768;

/** [256] vectors: the shuffle that moves the 16-bit lanes of a set to the front. */
// @ts-ignore: decorator
@lazy export const COMPACTIONS = memory.data<u8>([${compactions.join(", ")}], 16);
`
  + Object.keys(ARITHMETIC).map(gather).join("")
  + gradient;
