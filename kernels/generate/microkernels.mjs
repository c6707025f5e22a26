/**
 * Writes the unrolled micro-kernels: AssemblyScript has no macros, and an accumulator must be a local to live in a register.
 * Run by the build before asc; the output (assembly/generated) is not edited and not checked in.
 *
 * Fifteen v128 registers decide every size. V8 11 (Node 20) loads all that a basic block needs before it computes, so what a
 * block loads and what it accumulates must fit together: 4x8 = 8 accumulators + 2 weight vectors + 4 broadcasts. The early
 * exits between unrolled steps end the blocks; without them the loads pile up and spill (16 instead of 45 GFLOP/s).
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { spikeKernels } from "./spikes.mjs";

const range = (n) => Array.from({ length: n }, (_, i) => i);
const lines = (n, line) => range(n).map(line).join("\n");
const list = (n, item, separator = ", ") => range(n).map(item).join(separator);

/** Sums of MR rows and eight columns go on over K: s = x[row r][k], (b0, b1) = b[k][0..7]. */
const eachK = (MR, indent) => `for (let k = K, w = b; k > 0; k -= 4, ${list(MR, (r) => `a${r} += 16`)}, w += 128) {${range(4).map((u) => `${u ? `
${indent}  if (k <= ${u}) break;` : ""}
${indent}  b0 = v128.load(w, ${32 * u}), b1 = v128.load(w, ${32 * u + 16});
${lines(MR, (r) => `${indent}  s = v128.load32_splat(a${r}, ${4 * u}); lo${r} = madd(s, b0, lo${r}); hi${r} = madd(s, b1, hi${r});`)}`).join("")}
${indent}}`;

/** + 0 makes every zero positive, so that a skipped tap and a tap of zeros agree to the bit. */
const storeTile = (MR) => lines(MR, (r) => `    store8(y + r${r} * ldy, f32x4.add(lo${r}, zero4), f32x4.add(hi${r}, zero4), columns);`);
const startTile = (MR) => `let lo0 = bias ? v128.load(bias) : zero4, hi0 = bias ? v128.load(bias, 16) : zero4;
    let ${list(MR - 1, (r) => `lo${r + 1} = lo0, hi${r + 1} = hi0`)};`;

/** y[r][0..7] = bias + sum_tap sum_k x[table[tap][r]][k] * b[tap][k][0..7] for MR output pixels. */
const convTile = (MR) => `
/** Rows past \`last\` repeat row \`last\`: the same sum is stored twice. */
export function conv_tile${MR}x8(
  x: usize, ldx: usize, table: usize, nextTap: usize, taps: i32, K: i32, b: usize, bias: usize, y: usize, ldy: usize, last: i32, columns: i32,
): void {
    const ${list(MR, (r) => `r${r} = <usize>min(${r}, last)`)}, zero4 = f32x4.splat(0);
    ${startTile(MR)}
    let b0: v128, b1: v128, s: v128, ${list(MR, (r) => `i${r} = 0, keptLo${r} = lo0, keptHi${r} = lo0`)};
    for (let tap = 0; tap < taps; tap++, table += nextTap, b += <usize>K << 5) {
${lines(MR, (r) => `      i${r} = load<i32>(table + (r${r} << 2));`)}
      if ((${list(MR, (r) => `i${r}`, " & ")}) < 0) continue; // the tap sees padding only
      let ${list(MR, (r) => `a${r} = rowOf(x, ldx, i${r})`)};
      // padding adds nothing, not even zero times infinity: sums of rows that see it are put back
      const padded = ${list(MR, (r) => `i${r}`, " | ")};
      if (padded < 0) { ${list(MR, (r) => `keptLo${r} = lo${r}; keptHi${r} = hi${r};`, " ")} }
      ${eachK(MR, "      ")}
      if (padded < 0) {
${lines(MR, (r) => `        if (i${r} < 0) { lo${r} = keptLo${r}; hi${r} = keptHi${r}; }`)}
      }
    }
${storeTile(MR)}
}
`;

/** y[p][0..7] = bias + sum_k x[p][k] * b[k][0..7], MR rows at a time. The loop over them is in here: a call for each is as long as a dozen k. */
const productRows = (MR) => `
/** Rows past the last repeat it: the same sum is stored twice. */
export function product_rows${MR}x8(x: usize, ldx: usize, K: i32, b: usize, bias: usize, y: usize, ldy: usize, rows: i32, columns: i32): void {
  const zero4 = f32x4.splat(0);
  for (; rows > 0; rows -= ${MR}, x += ${MR} * ldx, y += ${MR} * ldy) {
    const ${list(MR, (r) => `r${r} = <usize>min(${r}, rows - 1)`)};
    ${startTile(MR)}
    let b0: v128, b1: v128, s: v128, ${list(MR, (r) => `a${r} = x + r${r} * ldx`)};
    ${eachK(MR, "    ")}
${storeTile(MR)}
  }
}
`;

/**
 * y[r][0..7] = sum_tap sum_k x[row r of the tap][k] * b[tap][k][0..7] in integers, four k at a time: x bytes 0..D, b int8 [k/4][8][4].
 * Products are added in pairs, then as int16, of which 128 / D steps cannot overflow (a step adds -2 * 128 * D to
 * 2 * 127 * D, and -2^15 is an int16), then as int32. For D a power of two that is a power of two, so that channels fall into whole parts.
 * Relaxed SIMD also has a product that sums to int32 at once, but where the processor has none V8 makes five instructions of it, and V8 11 a wrong sum.
 */
const dotTile = (MR) => {
  const pair = (sum, b) => `${sum} = i16x8.add(${sum}, pairs(${b}, s));`;
  const widen = (wide, sum) => `${wide} = i32x4.add(${wide}, i32x4.extadd_pairwise_i16x8_s(${sum}));`;
  const step = (u) => `${u ? `
        if (k <= ${4 * u}) break;` : ""}
        b0 = v128.load(w, ${32 * u}), b1 = v128.load(w, ${32 * u + 16});
${lines(MR, (r) => `        s = v128.load32_splat(q${r}, ${4 * u}); ${pair(`lo${r}`, "b0")} ${pair(`hi${r}`, "b1")}`)}`;
  return `
export function dot_tile${MR}x8(
  x: usize, ldx: usize, table: usize, nextTap: usize, taps: i32, K: i32, b: usize, D: i32, y: usize, ldy: usize, last: i32, columns: i32,
): void {
  const ${list(MR, (r) => `r${r} = <usize>min(${r}, last)`)};
  const fitting = 128 / D << 2, tapBytes = <usize>(K + 3 & ~3) << 3;
  let ${list(MR, (r) => `LO${r} = i32x4.splat(0), HI${r} = i32x4.splat(0)`)};
  let b0: v128, b1: v128, s: v128;
  for (let tap = 0, w = b; tap < taps; tap++, table += nextTap) {
    let ${list(MR, (r) => `q${r} = x + r${r} * ldx`)};
    if (table) {
      const ${list(MR, (r) => `i${r} = load<i32>(table + (r${r} << 2))`)};
      if ((${list(MR, (r) => `i${r}`, " & ")}) < 0) { w += tapBytes; continue; }
${lines(MR, (r) => `      q${r} = rowOf(x, ldx, i${r});`)}
    }
    for (let left = K; left > 0; left -= fitting) {
      let ${list(MR, (r) => `lo${r} = i16x8.splat(0), hi${r} = i16x8.splat(0)`)};
      const part = min(left, fitting), rest = part + 3 & 12; // what an early exit leaves behind, as a multiple of four
      for (let k = part; k > 0; k -= 16, w += 128, ${list(MR, (r) => `q${r} += 16`)}) {${range(4).map(step).join("")}
      }
      w += rest << 3;
${lines(MR, (r) => `      q${r} += rest;`)}
${lines(MR, (r) => `      ${widen(`LO${r}`, `lo${r}`)} ${widen(`HI${r}`, `hi${r}`)}`)}
    }
  }
${lines(MR, (r) => `  store8(y + r${r} * ldy, LO${r}, HI${r}, columns);`)}
}
`;
};

/** dwt[r][0..7] += sum_p x[row of p][r] * dy[p][0..7] for MR neighbouring input channels: the running sum goes on where it was. */
const gradTile = (MR) => {
  const pixels = (row) => range(4).map((u) => `${u ? `
    if (dy >= end) break;` : ""}
    ${row}
    b0 = v128.load(dy), b1 = v128.load(dy, 16);
${lines(MR, (r) => `    s = v128.load32_splat(a, ${4 * r}); lo${r} = madd(s, b0, lo${r}); hi${r} = madd(s, b1, hi${r});`)}
    dy += ldy;`).join("");
  return `
export function weight_grad_tile${MR}x8(
  x: usize, ldx: usize, table: usize, pixels: i32, dy: usize, ldy: usize, dwt: usize, ldw: usize, rows: i32, columns: i32,
): void {
  const end = dy + <usize>pixels * ldy;
  const ${list(MR, (r) => `to${r} = dwt + <usize>min(${r}, rows - 1) * ldw`)};
  let ${list(MR, (r) => `lo${r} = v128.load(to${r}), hi${r} = v128.load(to${r}, 16)`)};
  let a: usize, b0: v128, b1: v128, s: v128;
  if (table) while (dy < end) {${pixels("a = rowOf(x, ldx, load<i32>(table)); table += 4;")}
  }
  else while (dy < end) {${pixels("a = x; x += ldx;")}
  }
${lines(MR, (r) => `  ${r ? `if (${r} < rows) ` : ""}store8(to${r}, lo${r}, hi${r}, columns);`)}
}
`;
};

/** Loads of x that a basic block may hold beside the accumulators: V8 11 loads all of a block before it computes, `if (pointer)`, always true, ends one. */
const inBlocks = (steps, each, pointer) => range(Math.ceil(steps.length / each)).map((i) => {
  const block = steps.slice(i * each, (i + 1) * each).join("\n      ");
  return i ? `
    if (${pointer}) {
      ${block}
    }` : `
      ${block}`;
}).join("");

/**
 * y[i] = bias + sum_ky sum_kx q[ky][i + kx] * w[ky][kx] for W neighbouring output pixels of four channels. The columns of the kernel go in groups whose
 * weights stay in registers, so that an input pixel is loaded once for a group and meets all outputs that see it.
 */
const depthwiseTile = (k, W, groups, each) => {
  const firsts = groups.map((_, g) => groups.slice(0, g).reduce((a, b) => a + b, 0));
  const pixel = (first, size) => (j) => `x = v128.load(q, ${16 * (first + j)}); ${range(size).filter((i) => j - i >= 0 && j - i < W).map((i) => `y${j - i} = madd(x, w${i}, y${j - i});`).join(" ")}`;
  const group = (size, g) => `
    ${list(size, (i) => `w${i} = v128.load(w, ${16 * (firsts[g] + i)});`, " ")}${inBlocks(range(W + size - 1).map(pixel(firsts[g], size)), each, "q")}`;
  return `
// @ts-ignore: decorator
@inline function tile${k}x${k}w${W}(q: usize, rowBytes: usize, w: usize, bias4: v128, y: usize, ldy: usize, channels: i32): void {
  let ${list(W, (i) => `y${i} = bias4`)};
  let x: v128, ${list(Math.max(...groups), (i) => `w${i}: v128`)};
  for (let ky = 0; ky < ${k}; ky++, q += rowBytes, w += ${16 * k}) {${groups.map(group).join("")}
  }
  if (channels >= LANES) {
${lines(W, (i) => `    v128.store(y${i ? ` + ${i} * ldy` : ""}, y${i});`)}
  } else {
${lines(W, (i) => `    storeLanes(y${i ? ` + ${i} * ldy` : ""}, y${i}, channels);`)}
  }
}
`;
};

/**
 * Rows of outputs in tiles; the last tile of a row steps back and repeats what it overlaps, so that nothing is left over. A tile is done for all planes
 * of the group, at most four that share cache lines of y, before the next.
 */
const depthwiseRows = (k, tiles) => {
  const row = (W) => `for (let ox = 0; ox < OW; ox += ${W}) {
      const i = <usize>min(ox, OW - ${W});
      let from = q + (i << 4), taps = w, to = y + i * ldy, b = bias;
      for (let left = channels; left > 0; left -= LANES, from += planeBytes, taps += ${16 * k * k}, to += 16, b += 16) {
        tile${k}x${k}w${W}(from, rowBytes, taps, bias ? v128.load(b) : f32x4.splat(0), to, ldy, left);
      }
    }`;
  return `${tiles.map(([W, groups, each]) => depthwiseTile(k, W, groups, each)).join("")}
export function depthwise_rows${k}x${k}(
  q: usize, rowBytes: usize, planeBytes: usize, w: usize, bias: usize, y: usize, ldy: usize, rows: i32, OW: i32, channels: i32,
): void {
  const ten = OW >= 10 && (OW + 9) / 10 * 10 <= (OW + 7) / 8 * 8; // the wider tile, unless it repeats more than the other
  for (let oy = 0; oy < rows; oy++, q += rowBytes, y += <usize>OW * ldy) {
    if (ten) ${row(10)}
    else if (OW >= 8) ${row(8)}
    else if (OW >= 4) ${row(4)}
    else ${row(1)}
  }
}
`;
};

/** dw[ky][kx] += sum over rows and columns of x[oy + ky][ox + kx] * dy[oy][ox] for kh x kw taps of four channels, U pixels of dy in registers at a time. */
const depthwiseGrad = (kh, kw, U) => {
  const pixels = (U) => {
    const step = (ky) => (j) => `v = v128.load(q${ky}, ${16 * j}); ${range(kw).filter((kx) => j - kx >= 0 && j - kx < U).map((kx) => `d${ky}${kx} = madd(v, g${j - kx}, d${ky}${kx});`).join(" ")}`;
    return `
      ${list(U, (i) => `g${i} = v128.load(g, ${16 * i});`, " ")}${inBlocks(range(kh).flatMap((ky) => range(U + kw - 1).map(step(ky))), 2, "g")}
      ${list(kh, (ky) => `q${ky} += ${16 * U}`)}, g += ${16 * U};`;
  };
  return `
export function depthwise_grad${kh}x${kw}(
  x: usize, rowX: usize, dy: usize, rowG: usize, rows: i32, OW: i32, dw: usize, ldw: usize, channels: i32,
): void {
  let ${range(kh).map((ky) => list(kw, (kx) => `d${ky}${kx} = f32x4.splat(0)`)).join(", ")};
  let v: v128, ${list(U, (i) => `g${i}: v128`)};
  for (let row = 0; row < rows; row++, x += rowX, dy += rowG) {
    const end = dy + (<usize>OW << 4);
    let ${list(kh, (ky) => `q${ky} = x${ky ? ` + ${ky} * rowX` : ""}`)}, g = dy;
    while (g + ${16 * U} <= end) {${pixels(U)}
    }
    while (g < end) {${pixels(1)}
    }
  }
${lines(kh, (ky) => lines(kw, (kx) => `  addStrided(dw + ${4 * (ky * kw + kx)}, ldw, d${ky}${kx}, channels);`))}
}
`;
};

const out = new URL("../assembly/generated/", import.meta.url);
mkdirSync(out, { recursive: true });
const written = "// Written by generate/microkernels.mjs.\n";
writeFileSync(new URL("dense.ts", out), written
  + `import { madd, rowOf, store8 } from "../lanes";\n`
  + convTile(4) + productRows(4) + gradTile(4));
writeFileSync(new URL("dot.ts", out), written
  + `import { pairs, rowOf, store8 } from "../lanes";\n`
  + dotTile(3));
writeFileSync(new URL("depthwise.ts", out), written
  + `import { LANES, addStrided, madd, storeLanes } from "../lanes";\n`
  + depthwiseRows(3, [[10, [3], 2], [8, [3], 2], [4, [3], 2], [1, [3], 1]])
  + depthwiseRows(7, [[10, [3, 2, 2], 1], [8, [4, 3], 2], [4, [7], 2], [1, [7], 2]])
  + depthwiseGrad(3, 3, 4) + depthwiseGrad(1, 7, 4));
writeFileSync(new URL("spikes.ts", out), written + spikeKernels);
