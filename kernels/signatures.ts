/**
 * The contract of floor 0: every kernel by name, with its equation and the layout of what it reads and writes.
 *
 * Each kernel exists twice under the name given here: in `assembly/` as SIMD, in `reference/` as the loop one would
 * write on a whiteboard. Both take the same arguments.
 *
 *   - Pointers are byte addresses in the linear memory; sizes and leading dimensions (`ld…`) count elements.
 *   - The first argument `n` is how many independent items there are. The builds export `(begin, end, …rest)`: the half-open range
 *     of items to do, so that a pool can split a kernel without copies and with the same bits for any split.
 *   - Tensors are row-major and channel-last. "Row" is one pixel: C consecutive elements, `ld` elements apart.
 *   - No kernel allocates. What is called `packed` or `table` is private to the build that wrote it:
 *     only the sizes given here are public.
 *   - `f32_` kernels compute in the real type of their build: float32, or float64 in the twin that checks gradients.
 *   - Outputs are overwritten, except where the word "adds" stands. Inputs and outputs do not overlap unless said.
 */
type Ptr = number;
type Int = number;
type Real = number;
type Kernel<Arguments extends number[]> = (n: number, ...rest: Arguments) => void;

/** Places of a band of the weight gradient of spikes, and how many entries the lists of a band may take for each channel. */
export const BAND = 192, LISTED = 200;

export interface Kernels {
  // ── elementwise: n elements ─────────────────────────────────────────────────────────────────────────────────────
  /** x[i] = value */
  f32_fill: Kernel<[x: Ptr, value: Real]>;
  /** y[i] = x[i] */
  f32_copy: Kernel<[x: Ptr, y: Ptr]>;
  /** z = x + y      (z may be x or y) */
  f32_add: Kernel<[x: Ptr, y: Ptr, z: Ptr]>;
  /** z = x - y      (z may be x or y) */
  f32_sub: Kernel<[x: Ptr, y: Ptr, z: Ptr]>;
  /** z = x * y      (z may be x or y) */
  f32_mul: Kernel<[x: Ptr, y: Ptr, z: Ptr]>;
  /** y = a * x      (y may be x) */
  f32_scale: Kernel<[x: Ptr, y: Ptr, a: Real]>;
  /** y += a * x */
  f32_axpy: Kernel<[x: Ptr, y: Ptr, a: Real]>;
  /** y = 1 / (1 + exp(-x)) */
  f32_sigmoid: Kernel<[x: Ptr, y: Ptr]>;
  /** dx = dy * y * (1 - y) */
  f32_sigmoid_backward: Kernel<[y: Ptr, dy: Ptr, dx: Ptr]>;
  /** y = min(exp(x), most) */
  f32_exp: Kernel<[x: Ptr, y: Ptr, most: Real]>;
  /** dx = dy * y where y < most, 0 elsewhere */
  f32_exp_backward: Kernel<[y: Ptr, dy: Ptr, dx: Ptr, most: Real]>;
  /** y = x where x > 0, slope * x elsewhere */
  f32_leaky: Kernel<[x: Ptr, y: Ptr, slope: Real]>;
  /** dx = dy where x > 0, slope * dy elsewhere */
  f32_leaky_backward: Kernel<[x: Ptr, dy: Ptr, dx: Ptr, slope: Real]>;

  /** h = x as sixteen-bit floats (u16), to nearest, ties to even; NaN becomes 0x7e00 */
  f16_from_f32: Kernel<[x: Ptr, h: Ptr]>;
  /** x = h, sixteen-bit floats (u16) */
  f16_to_f32: Kernel<[h: Ptr, x: Ptr]>;

  // ── rows and time: copies, broadcasts, sums ─────────────────────────────────────────────────────────────────────
  /** n rows of `width` elements: y[row][i] = x[row][i]. Concatenation, slicing, and their gradients. */
  f32_copy_columns: Kernel<[x: Ptr, ldx: Int, y: Ptr, ldy: Int, width: Int]>;
  /** n rows: y[row][c] = x[row][c] * row0[c]      (the last axis scaled by a vector of C) */
  f32_mul_row: Kernel<[x: Ptr, row0: Ptr, y: Ptr, C: Int]>;
  /** n rows: y[row][c] = x[row][c] * scale[c] + shift[c]      (y may be x) */
  f32_affine_row: Kernel<[x: Ptr, scale: Ptr, shift: Ptr, y: Ptr, C: Int]>;
  /** n rows: y[row] = x[index[row]], index i32 */
  f32_gather_rows: Kernel<[x: Ptr, index: Ptr, y: Ptr, width: Int]>;
  /** ONE item (n = 1): for each of `rows`, dx[index[row]] adds dy[row]. The caller clears dx. */
  f32_scatter_rows: Kernel<[dy: Ptr, index: Ptr, dx: Ptr, rows: Int, width: Int]>;
  /** n elements: y[t][i] = a * x[i] for t in 0..T-1, y[t] lying `stride` elements apart */
  f32_repeat: Kernel<[x: Ptr, y: Ptr, T: Int, stride: Int, a: Real]>;
  /** n elements: y[i] = a * sum_t x[t][i], x[t] lying `stride` elements apart */
  f32_sum_over: Kernel<[x: Ptr, y: Ptr, T: Int, stride: Int, a: Real]>;
  /** n blocks of 4096 elements (the last may be short): partial[block] = sum of x over the block, `total` elements in all */
  f32_sum: Kernel<[x: Ptr, partial: Ptr, total: Int]>;
  /** the same with squares: partial[block] = sum x^2 */
  f32_sum_squares: Kernel<[x: Ptr, partial: Ptr, total: Int]>;
  /** n blocks of 256 rows (the last may be short): partial[block][c] = sum of x[row][c] */
  f32_column_sums: Kernel<[x: Ptr, partial: Ptr, rows: Int, C: Int, ldx: Int]>;
  /** … sums[block][c] = sum of dy[row][c];  dots[block][c] = sum of dy[row][c] * (x[row][c] - mean[c]) */
  f32_column_dots: Kernel<[x: Ptr, mean: Ptr, dy: Ptr, sums: Ptr, dots: Ptr, rows: Int, C: Int]>;
  /** … means[block][c] = mean of the first eight x[row][c] of the block;  rests[block][c] = sum of z,  squares[block][c] = sum of z^2,  z = x[row][c] - means[block][c] */
  f32_column_moments: Kernel<[x: Ptr, means: Ptr, rests: Ptr, squares: Ptr, rows: Int, C: Int]>;
  /** n columns: y[c] = a * sum over blocks of partial[block][c], summed in float64 in block order */
  f32_combine_columns: Kernel<[partial: Ptr, y: Ptr, blocks: Int, C: Int, a: Real]>;
  /** n columns: mean and biased variance of all rows from what f32_column_moments says of each block, in float64 and in block order: a large mean costs no digits */
  f32_combine_moments: Kernel<[means: Ptr, rests: Ptr, squares: Ptr, mean: Ptr, variance: Ptr, rows: Int, C: Int]>;

  // ── normalisation ───────────────────────────────────────────────────────────────────────────────────────────────
  /** n rows: dx[row][c] = a[c] * dy[row][c] + b[c] * x[row][c] + k[c]      (batch norm backward, with its coefficients) */
  f32_norm_backward: Kernel<[x: Ptr, dy: Ptr, a: Ptr, b: Ptr, k: Ptr, dx: Ptr, C: Int]>;
  /** n channels: scale[c] = gamma[c] / sqrt(variance[c] + eps),  shift[c] = beta[c] - mean[c] * scale[c]. These three compute in float64 between loads and stores. */
  f32_norm_affine: Kernel<[gamma: Ptr, beta: Ptr, mean: Ptr, variance: Ptr, eps: number, scale: Ptr, shift: Ptr]>;
  /** n channels: runningMean[c] += share * (mean[c] - runningMean[c]),  runningVariance[c] += share * (factor * variance[c] - runningVariance[c]) */
  f32_norm_running: Kernel<[mean: Ptr, variance: Ptr, runningMean: Ptr, runningVariance: Ptr, share: number, factor: number]>;
  /**
   * n channels, of the gradient: with r = 1 / sqrt(variance[c] + eps), a[c] = gamma[c] r,  b[c] = -a[c] r^2 dot[c] / rows,  k[c] = -a[c] sum[c] / rows - mean[c] b[c]
   * (both 0 for no rows: statistics that were given), and dot[c] becomes r dot[c].
   */
  f32_norm_coefficients: Kernel<[gamma: Ptr, mean: Ptr, variance: Ptr, eps: number, sum: Ptr, dot: Ptr, rows: number, a: Ptr, b: Ptr, k: Ptr]>;

  /**
   * n channels, of a 1x1 convolution behind a norm y = a s + b inside a border of v: with a, b, v the rows of lines [3,C], and sums [2,out] of dy inside and in all,
   * dw[o][c] = dA[o][c] a[c] + sums[0][o] b[c] + (sums[1][o] - sums[0][o]) v[c];  ofLine [2,C]: da[c] = sum over o of dA[o][c] w[o][c],  db[c] = sum over o of sums[0][o] w[o][c]
   */
  f32_normed_weight_grad: Kernel<[dA: Ptr, w: Ptr, lines: Ptr, sums: Ptr, dw: Ptr, ofLine: Ptr, out: Int, C: Int]>;
  /**
   * n channels, of that norm's gradient: with r = 1 / sqrt(variance[c] + eps) and t = da[c] - mean[c] db[c], dgamma[c] = r t,  dbeta[c] = db[c],
   * b[c] = -gamma[c] r^3 t / rows,  k[c] = -gamma[c] r db[c] / rows - mean[c] b[c]
   */
  f32_normed_coefficients: Kernel<[ofLine: Ptr, gamma: Ptr, mean: Ptr, variance: Ptr, eps: number, rows: number, dgamma: Ptr, dbeta: Ptr, b: Ptr, k: Ptr, C: Int]>;

  // ── dense convolution (indirect GEMM) and 1x1 ───────────────────────────────────────────────────────────────────
  /**
   * n = taps (kh*kw): table[tap][p] = row index of the input pixel that output pixel p sees through the tap, or -1 in the padding.
   * table: i32 [taps][B*OH*OW].  Input [B,H,W], output [B,OH,OW].
   */
  conv_table: Kernel<[table: Ptr, B: Int, H: Int, W: Int, OH: Int, OW: Int, kw: Int, stride: Int, padding: Int, dilation: Int]>;
  /**
   * The transposed table: table[tap][q] = row index of the OUTPUT pixel that input pixel q feeds through the tap, or -1.
   * table: i32 [taps][B*H*W]; same arguments.
   */
  conv_table_transposed: Kernel<[table: Ptr, B: Int, H: Int, W: Int, OH: Int, OW: Int, kw: Int, stride: Int, padding: Int, dilation: Int]>;
  /** n = ceil(N/8) panels: packs w [N][taps][K], times scale[n] unless that is 0, for f32_conv / f32_gemm. packed holds ceil(N/8)*8*taps*K elements. */
  conv_pack: Kernel<[w: Ptr, packed: Ptr, N: Int, taps: Int, K: Int, scale: Ptr]>;
  /** n = ceil(K/8) panels: packs w [N][taps][K] with the roles of N and K exchanged, for the input gradient. packed: ceil(K/8)*8*taps*N. */
  conv_pack_transposed: Kernel<[w: Ptr, packed: Ptr, N: Int, taps: Int, K: Int]>;
  /**
   * n output pixels: y[p][j] = bias[j] + sum_tap sum_k x[table[tap][p]][k] * w[j][tap][k],  j < N. bias 0 (null) for none. A tap that sees no row adds nothing.
   * `pixels` is the length of one table row.
   */
  f32_conv: Kernel<[x: Ptr, ldx: Int, table: Ptr, pixels: Int, taps: Int, K: Int, packed: Ptr, bias: Ptr, y: Ptr, ldy: Int, N: Int]>;
  /** n rows: y[p][j] = bias[j] + sum_k x[p][k] * w[j][k]      (1x1 convolution, stride 1, no padding; linear) */
  f32_gemm: Kernel<[x: Ptr, ldx: Int, K: Int, packed: Ptr, bias: Ptr, y: Ptr, ldy: Int, N: Int]>;
  /**
   * n = taps*K rows (tap-major) of the weight gradient, transposed: dwt[tap][k][j] = sum_p x[table[tap][p]][k] * dy[p][j], where no row reads as zeros.
   * table 0 (null) means 1x1: the input row is p itself.
   */
  f32_conv_weight_grad: Kernel<[x: Ptr, ldx: Int, table: Ptr, pixels: Int, K: Int, dy: Ptr, ldy: Int, N: Int, dwt: Ptr]>;
  /** n output channels: dw[j][tap*K + k] = dwt[j/width][tap*K + k][j%width];  rows = taps*K; the last block is as wide as the others */
  conv_unpack_weight_grad: Kernel<[dwt: Ptr, dw: Ptr, width: Int, rows: Int]>;

  /** n pixels: dx[p][c] = sum_j dy[p][j] * wt[c][j] where the window of s[p][c] is open, 0 elsewhere.  s: spike bytes [n][C], dy [n][N], wt [C][N] */
  f32_gemm_masked: Kernel<[s: Ptr, dy: Ptr, wt: Ptr, dx: Ptr, C: Int, N: Int]>;

  // ── 3x3 convolution of stride 1 by Winograd F(4x4,3x3): Y = A^T [sum_k (G g G^T) . (B^T d B)] A ─────────────────
  // An output [B,OH,OW] is cut into tiles of 4x4 pixels, ceil(OW/4) across and ceil(OH/4) down each picture; the last of a row or column may hang
  // over. A tile has 36 positions. Tiles are done in rounds, `first`..`first`+`tiles`-1, so that v and m need not hold all of them:
  //   u [36][ceil(N/8)][K][8]    v [36][tiles][K up to a multiple of 4]    m [36][tiles][N up to a multiple of 8]
  // where a position is followed by 16 unused elements. The padding is 0..2, OH = H + 2*padding - 2; K and N are at most 4096.
  /** n = ceil(N/8) panels: u = G g G^T of the 3x3 weights that conv_pack packed. flip = 1 reverses the taps: with conv_pack_transposed, N and K exchanged and 2 - padding, the input gradient. */
  winograd_weights: Kernel<[packed: Ptr, u: Ptr, N: Int, K: Int, flip: Int]>;
  /** n = tiles: v[position][t][k] = B^T d B, d being the 6x6 pixels of x that tile first + t sees; zeros in the padding and past K */
  f32_winograd_input: Kernel<[x: Ptr, v: Ptr, first: Int, tiles: Int, H: Int, W: Int, OH: Int, OW: Int, K: Int, padding: Int]>;
  /** n = 36*ceil(N/8), panels of positions: m[position][t][j] = sum_k v[position][t][k] * u[position][j/8][k][j%8] */
  f32_winograd_multiply: Kernel<[v: Ptr, u: Ptr, m: Ptr, tiles: Int, K: Int, N: Int]>;
  /** n = tiles: y[pixel][j] = A^T m A + bias[j] for the pixels of tile first + t. bias 0 (null) for none. m is scratch afterwards. */
  f32_winograd_output: Kernel<[m: Ptr, bias: Ptr, y: Ptr, first: Int, tiles: Int, OH: Int, OW: Int, N: Int]>;

  // ── depthwise convolution: NC4HW4 with halo ─────────────────────────────────────────────────────────────────────
  /**
   * n = B*ceil(C/4) planes: x4[b][c/4][Hp][Wp][4] from x [B,H,W,C] (row stride C), pixel (y,x) at (top + y*step, left + x*step), zeros elsewhere.
   * step > 1 spreads the rows of a strided output's gradient.
   */
  nc4_pack: Kernel<[x: Ptr, x4: Ptr, H: Int, W: Int, C: Int, Hp: Int, Wp: Int, top: Int, left: Int, step: Int]>;
  /** the same from spike bytes: the low nibble as a number */
  nc4_pack_spikes: Kernel<[s: Ptr, x4: Ptr, H: Int, W: Int, C: Int, Hp: Int, Wp: Int, top: Int, left: Int, step: Int]>;
  /** n = ceil(C/4): w4[c/4][tap][4] from w [C][taps], times scale[c] unless that is 0; flip = 1 reverses the taps (for the input gradient) */
  depthwise_pack: Kernel<[w: Ptr, w4: Ptr, C: Int, taps: Int, flip: Int, scale: Ptr]>;
  /** n = B*ceil(C/4) planes: y[b][oy][ox][c] = bias[c] + sum_tap x4[b][c][oy*stride + ky*dilation][ox*stride + kx*dilation] * w[c][tap];  y is NHWC */
  f32_depthwise: Kernel<[x4: Ptr, w4: Ptr, bias: Ptr, y: Ptr, C: Int, Hp: Int, Wp: Int, OH: Int, OW: Int, kh: Int, kw: Int, stride: Int, dilation: Int]>;
  /**
   * n = ceil(C/4): dw[c][tap] = sum over b, oy, ox of x4[b][c][oy*stride + ky*dilation][ox*stride + kx*dilation] * dy[b][oy][ox][c], with dy as nc4_pack
   * lays it into planes dy4 [Hg][Wg] by top, left and step: those of the input gradient serve, if all of dy is in them.
   */
  f32_depthwise_weight_grad: Kernel<[
    x4: Ptr, dy4: Ptr, dw: Ptr, B: Int, C: Int, Hp: Int, Wp: Int, OH: Int, OW: Int, kh: Int, kw: Int, stride: Int, dilation: Int,
    Hg: Int, Wg: Int, top: Int, left: Int, step: Int,
  ]>;

  // ── pooling, upsampling, padding ────────────────────────────────────────────────────────────────────────────────
  /** n output rows of pixels (B*OH): max over k x k, padding counts as -inf. argmax (u8, B*OH*OW*C) gets ky*k+kx of the first maximum in row-major order. */
  f32_maxpool: Kernel<[x: Ptr, y: Ptr, argmax: Ptr, H: Int, W: Int, C: Int, OH: Int, OW: Int, k: Int, stride: Int, padding: Int]>;
  /** n images (B): dx = 0, then dx at each argmax adds dy */
  f32_maxpool_backward: Kernel<[dy: Ptr, argmax: Ptr, dx: Ptr, H: Int, W: Int, C: Int, OH: Int, OW: Int, k: Int, stride: Int, padding: Int]>;
  /** n output rows of pixels (B*H*factor): nearest, y [B,H*factor,W*factor,C] */
  f32_upsample_nearest: Kernel<[x: Ptr, y: Ptr, H: Int, W: Int, C: Int, factor: Int]>;
  /** n input rows of pixels (B*H): dx = sum of the factor x factor block of dy */
  f32_upsample_nearest_backward: Kernel<[dy: Ptr, dx: Ptr, H: Int, W: Int, C: Int, factor: Int]>;
  /** n output rows of pixels (B*(H+2*pad)): x in the interior, border[c] around it */
  f32_pad: Kernel<[x: Ptr, border: Ptr, y: Ptr, H: Int, W: Int, C: Int, pad: Int]>;
  /** n rows of pixels of x (B*H): dx = the interior of dy [B,H+2*pad,W+2*pad,C] */
  f32_crop: Kernel<[dy: Ptr, dx: Ptr, H: Int, W: Int, C: Int, pad: Int]>;

  // ── neurons: n neurons, T timesteps `stride` elements apart; spike bytes are value | windowOpen << 4 ─────────────
  /**
   * Integer firing (I-LIF):  h[t] = decay*v[t-1] + gain*x[t];  s[t] = round(clamp(h[t], 0, D));  v[t] = h[t] - s[t];  v[-1] = 0.
   * Round half to even. Window open where 0 <= h <= D. For COCO's I-LIF gain is 1, for Gen1's gain = decay = 1/2.
   */
  f32_fire_integer: Kernel<[x: Ptr, s: Ptr, T: Int, stride: Int, decay: Real, gain: Real, D: Int]>;
  /**
   * n = ceil(pixels/64) runs of pixels of C channels: f32_fire_integer with stride pixels*C, and in the same pass the event lists of all T*pixels pixels,
   * as spike_events has them, but that each timestep has runs of its own: run r of timestep t starts at events[(t*pixels + 64*r)*C].
   */
  f32_fire_integer_events: Kernel<[x: Ptr, s: Ptr, events: Ptr, spans: Ptr, T: Int, pixels: Int, C: Int, decay: Real, gain: Real, D: Int]>;
  /**
   * f32_affine_row, f32_add and f32_fire_integer_events in one pass over the same runs: fires on u = scale[c]*x + shift[c] + residual, x [T, pixels, C].
   * residual, u, and events with spans may be 0 (null): then nothing is added, kept, or listed. u may be residual.
   */
  f32_norm_fire_integer: Kernel<[
    x: Ptr, scale: Ptr, shift: Ptr, residual: Ptr, u: Ptr, s: Ptr, events: Ptr, spans: Ptr, T: Int, pixels: Int, C: Int, decay: Real, gain: Real, D: Int,
  ]>;
  /** dh[t] = window[t]*ds[t] + decay*dh[t+1];  dx[t] = gain*dh[t]      (reset detached: d v/d h = 1) */
  f32_fire_integer_backward: Kernel<[s: Ptr, ds: Ptr, dx: Ptr, T: Int, stride: Int, decay: Real, gain: Real]>;
  /** f32_fire_integer from membranes v [stride] in place of 0; those after the last timestep are left in v. */
  f32_fire_integer_onward: Kernel<[x: Ptr, v: Ptr, s: Ptr, T: Int, stride: Int, decay: Real, gain: Real, D: Int]>;
  /**
   * Binary firing (IF, LIF, PLIF):  h[t] = decay*v[t-1] + gain*x[t];  s[t] = [h[t] >= threshold];
   * v[t] = h[t] - threshold*s[t] (reset 0, "subtract"), h[t]*(1 - s[t]) (reset 1, "zero"), h[t] (reset 2, "none").
   * v [stride]: membranes before the first timestep, in whose place those after the last are left; 0 (null) for none before, none kept.
   * Window open where the surrogate derivative (below) is not 0: everywhere for kinds 1 and 2.
   */
  f32_fire_binary: Kernel<[x: Ptr, v: Ptr, s: Ptr, T: Int, stride: Int, decay: Real, gain: Real, threshold: Real, reset: Int, kind: Int, alpha: Real]>;
  /**
   * g = surrogate'(h - threshold): kind 0 rectangular [|u| < 1/(2 alpha)]*alpha, 1 atan alpha/(2(1+(pi/2 alpha u)^2)), 2 sigmoid alpha*sig(alpha u)(1-sig(alpha u)),
   * 3 triangular max(0, 1 - |alpha u|)*alpha.  dh[t] = g*(ds[t] + resetTerm) + (dv/dh)*dv[t]; dv[t-1] = decay*dh[t]; dx[t] = share*dh[t], share being gain, or 1 to get dh;
   * resetTerm (only if attached = 1): -threshold*dv[t] (subtract) or -h[t]*dv[t] (zero).  h and v are charged anew from x, v[-1] = 0.
   */
  f32_fire_binary_backward: Kernel<[x: Ptr, ds: Ptr, dx: Ptr, T: Int, stride: Int, decay: Real, gain: Real, threshold: Real, reset: Int, attached: Int, kind: Int, alpha: Real, share: Real]>;
  /**
   * n = ceil(stride/1024) blocks of binary neurons, given dh [T, stride] of f32_fire_binary_backward with share 1:
   * partial[2*block] = sum dh[t]*v[t-1] and partial[2*block + 1] = sum dh[t]*x[t], the gradients of decay and gain.
   */
  f32_fire_leak_grad: Kernel<[x: Ptr, dh: Ptr, partial: Ptr, T: Int, stride: Int, decay: Real, gain: Real, threshold: Real, reset: Int]>;

  // ── spikes: bytes, event lists, convolutions that add only where something fired ─────────────────────────────────
  /** n elements: y[i] = value of s[i] as a number */
  spikes_to_f32: Kernel<[s: Ptr, y: Ptr]>;
  /** n elements: s[i] = byte with value x[i] (an integer 0..15) and the window bit clear */
  spikes_from_f32: Kernel<[x: Ptr, s: Ptr]>;
  /** n elements: the value of z[i] is the sum of those of x[i] and y[i], which must be 15 at most; its window is open where one of theirs is */
  spikes_add: Kernel<[x: Ptr, y: Ptr, z: Ptr]>;
  /** n rows of `width` bytes: y[row][i] = x[row][i] */
  spikes_copy_columns: Kernel<[x: Ptr, ldx: Int, y: Ptr, ldy: Int, width: Int]>;
  /** n output rows of pixels (B*H*factor): nearest, y [B,H*factor,W*factor,C] in bytes */
  spikes_upsample_nearest: Kernel<[x: Ptr, y: Ptr, H: Int, W: Int, C: Int, factor: Int]>;
  /**
   * n = ceil(pixels/64) runs: the events of pixel p, u16 (c << 4 | value) with value > 0, are events[spans[2p]] up to events[spans[2p + 1]] (i32 spans, end
   * exclusive), in channel order, those of a run's pixels back to back from events[64*C*run] on. C is at most 4095; events holds pixels*C entries, of
   * which those outside of all spans mean nothing.
   */
  spike_events: Kernel<[s: Ptr, events: Ptr, spans: Ptr, pixels: Int, C: Int]>;
  /** the events of virtual step d: entries (c << 4 | 1) where value > d */
  spike_events_above: Kernel<[s: Ptr, events: Ptr, spans: Ptr, pixels: Int, C: Int, d: Int]>;
  /**
   * n blocks of `length` bytes, one every `step` of `size` bytes (the last may be short): partial[block] (f64 x 3) = sum of values, how many are non-zero,
   * how many windows are open. At most 65536 bytes to a block.
   */
  spike_statistics: Kernel<[s: Ptr, partial: Ptr, size: Int, step: Int, length: Int]>;
  /** n = ceil(N/32): packs w [N][taps][K], times scale[n] unless that is 0, for spike_conv. packed: ceil(N/32)*32*taps*K elements. */
  spike_conv_pack: Kernel<[w: Ptr, packed: Ptr, N: Int, taps: Int, K: Int, scale: Ptr]>;
  /** n output pixels: y[p][j] = bias[j] + sum_tap sum over events (c, value) of pixel table[tap][p] of value * w[j][tap][c].  Without a table (0) it is pixel tap*pixels + p. */
  spike_conv: Kernel<[events: Ptr, spans: Ptr, table: Ptr, pixels: Int, taps: Int, K: Int, packed: Ptr, bias: Ptr, y: Ptr, ldy: Int, N: Int]>;
  /**
   * n = ceil(pixels/64) runs of output pixels: what spike_conv sees of pixel p through the taps `size` at a time (which divides their number), as lists without a table:
   * unfolded[open[2i] .. open[2i + 1]) with i = group*pixels + p are the events (((tap - group*size)*K + c) << 4 | value), in this order. `row` is the length of a row of
   * the table, size*K at most 4095. unfolded holds (64*size + 1)*K + 8 entries for each run of each group; up to K + 8 entries are read past the start of a list, and mean nothing.
   */
  spike_unfold: Kernel<[events: Ptr, spans: Ptr, table: Ptr, row: Int, pixels: Int, taps: Int, K: Int, size: Int, unfolded: Ptr, open: Ptr]>;

  // The weight gradient of spikes goes over places: pixel (top + y*step, left + x*step) of image b is place b*Hp*Wp + y*Wp + x, with Hp and Wp so large that all such pixels have one.
  /**
   * n = ceil(B*Hp*Wp/BAND) bands of places: the events of channel c in a band, u16 (place in the band << 4 | value), are events[spans[2i]] up to
   * events[spans[2i + 1]] with i = band*C + c, in the order of places; those of a band stand one after the other from
   * events[LISTED*C*band] on, up to eight unused entries behind each.
   */
  spike_channel_events: Kernel<[s: Ptr, events: Ptr, spans: Ptr, B: Int, H: Int, W: Int, C: Int, Hp: Int, Wp: Int, step: Int, top: Int, left: Int]>;
  /**
   * n = B*Hp image rows: dyb[j/32][place of (b, top + y, left + x)][j%32] = dy[b][y][x][j], zeros everywhere else. dy is [B,H,W,N];
   * dyb holds ceil(N/32)*32*B*Hp*Wp elements.
   */
  spike_gradient_blocks: Kernel<[dy: Ptr, dyb: Ptr, B: Int, H: Int, W: Int, N: Int, Hp: Int, Wp: Int, top: Int, left: Int]>;
  /**
   * n = ceil(N/32)*K, block by block: dwt[j/32][tap][k][j%32] = sum over events (place, value) of channel k of value * dyb[j/32][row][j%32]. Without a table row is
   * place + (kh-1-ky)*Wp + kw-1-kx, which with kh-1-padding rows of zeros above dy and kw-1-padding left of it is what stride 1 asks for; with one it is
   * table[tap][place], and -1 adds nothing. `rows` are those of one block of dyb. dwt holds ceil(N/32)*32*taps*K elements; of the columns past N, those
   * that make up the next 4, 8, 16 or 32 are written too, and mean nothing. Where these are some of `all` taps of dwt, tap (ky, kx) is number top + ky*line + kx*step there.
   */
  spike_weight_grad: Kernel<[events: Ptr, spans: Ptr, table: Ptr, places: Int, rows: Int, taps: Int, kw: Int, Wp: Int, K: Int, dyb: Ptr, dwt: Ptr, N: Int, all: Int, top: Int, step: Int, line: Int]>;

  // ── exact spike arithmetic: int32 weights on a power-of-two grid per output channel, integer accumulators ────────
  /**
   * n output channels: scale[j] = 2^-e with the largest e <= 40 for which D * sum |w[j]| * 2^e < 2^30, and
   * q[j][i] = round-half-even(w[j][i] / scale[j]) as i32.  `size` = taps*K. Sums of D-fold weights can then never overflow, so any order gives the same bits.
   */
  fixed_quantize: Kernel<[w: Ptr, q: Ptr, scale: Ptr, size: Int, D: Int]>;
  /** n = ceil(N/32): spike_conv_pack for i32 */
  fixed_pack: Kernel<[q: Ptr, packed: Ptr, N: Int, taps: Int, K: Int]>;
  /** n output pixels: y[p][j] (i32, ldy = N) adds value * q[j][tap][c] for each event */
  fixed_multiply_accumulate: Kernel<[events: Ptr, spans: Ptr, table: Ptr, pixels: Int, taps: Int, K: Int, packed: Ptr, y: Ptr, N: Int]>;
  /** n output pixels: y[p][j] (i32) adds q[j][tap][c] for each event. Additions only: the lists are those of one virtual step. */
  fixed_accumulate: Kernel<[events: Ptr, spans: Ptr, table: Ptr, pixels: Int, taps: Int, K: Int, packed: Ptr, y: Ptr, N: Int]>;
  /** n output pixels: depthwise, y[p][c] (i32) adds value * q[tap][c] for each event (c, value) of pixel table[tap][p].  q is [taps][C]. */
  fixed_depthwise_multiply_accumulate: Kernel<[events: Ptr, spans: Ptr, table: Ptr, pixels: Int, taps: Int, C: Int, q: Ptr, y: Ptr]>;
  /** … adds q[tap][c]: additions only */
  fixed_depthwise_accumulate: Kernel<[events: Ptr, spans: Ptr, table: Ptr, pixels: Int, taps: Int, C: Int, q: Ptr, y: Ptr]>;
  /** n rows: y[p][j] = bias[j] + scale[j] * acc[p][j] (i32 to real; bias may be null).  y may be acc in the float32 builds. */
  fixed_to_f32: Kernel<[acc: Ptr, scale: Ptr, bias: Ptr, y: Ptr, N: Int]>;

  // ── quantised inference: small whole numbers and integer weights, exact int32 sums (modulo 2^32) ─────────────────
  /** n elements: y[i] (u8) = value of s[i], its window bit gone */
  spike_values: Kernel<[s: Ptr, y: Ptr]>;
  /** n = ceil(N/8) panels: packs w (i8) [N][taps][K] for dot_i8. packed: ceil(N/8)*8*taps*ceil(K/4)*4 bytes. */
  dot_i8_pack: Kernel<[w: Ptr, packed: Ptr, N: Int, taps: Int, K: Int]>;
  /**
   * n output pixels: y[p][j] (i32) = sum_tap sum_k x[table[tap][p]][k] * w[j][tap][k].  x: bytes 0..D, 1 <= D <= 127, rows ldx bytes apart; table 0 (null): 1x1.
   */
  dot_i8: Kernel<[x: Ptr, ldx: Int, table: Ptr, pixels: Int, taps: Int, K: Int, packed: Ptr, D: Int, y: Ptr, ldy: Int, N: Int]>;
  /** n output channels: reach[j] (i32) = max over taps of sum_k |w[j][tap][k]|, w (i16) [N][taps][K] */
  spike_conv_i16_reach: Kernel<[w: Ptr, reach: Ptr, taps: Int, K: Int]>;
  /** n = ceil(N/64): packs w (i16) [N][taps][K] for spike_conv_i16. packed: ceil(N/64)*64*taps*K int16. */
  spike_conv_i16_pack: Kernel<[w: Ptr, packed: Ptr, N: Int, taps: Int, K: Int]>;
  /**
   * n output pixels: y[p][j] (i32) = sum_tap sum over events (c, value) of pixel table[tap][p] of value * w[j][tap][c].  table 0 (null): 1x1.
   * The events of `together` (>= 1) taps are summed in int16: right for values up to D where together * D * reach[j] <= 32767 for every j.
   */
  spike_conv_i16: Kernel<[events: Ptr, spans: Ptr, table: Ptr, pixels: Int, taps: Int, K: Int, packed: Ptr, together: Int, y: Ptr, ldy: Int, N: Int]>;

  // ── losses: n rows or elements ──────────────────────────────────────────────────────────────────────────────────
  /** n rows: y[row] = softmax(x[row]) over `bins` */
  f32_softmax: Kernel<[x: Ptr, y: Ptr, bins: Int]>;
  /** dx = y * (dy - sum(dy*y)) */
  f32_softmax_backward: Kernel<[y: Ptr, dy: Ptr, dx: Ptr, bins: Int]>;
  /** n rows: y[row] = sum_j j * softmax(x[row])[j]      (the expectation of a DFL side) */
  f32_expectation: Kernel<[x: Ptr, y: Ptr, bins: Int]>;
  /** dx[j] = dy * p[j] * (j - y), p recomputed */
  f32_expectation_backward: Kernel<[x: Ptr, y: Ptr, dy: Ptr, dx: Ptr, bins: Int]>;
  /** n elements: max(x, 0) - x*target + log(1 + exp(-|x|)) */
  f32_bce_with_logits: Kernel<[x: Ptr, target: Ptr, y: Ptr]>;
  /** dx = dy * (sigmoid(x) - target) */
  f32_bce_with_logits_backward: Kernel<[x: Ptr, target: Ptr, dy: Ptr, dx: Ptr]>;
  /** n rows (one side of one box): with t = target[row] in [0, bins-1), l = floor(t): y = -(l+1-t)*log p[l] - (t-l)*log p[l+1], p = softmax(x[row]) */
  f32_dfl: Kernel<[x: Ptr, target: Ptr, y: Ptr, bins: Int]>;
  /** dx[j] = dy * (p[j] - [j=l](l+1-t) - [j=l+1](t-l)) */
  f32_dfl_backward: Kernel<[x: Ptr, target: Ptr, dy: Ptr, dx: Ptr, bins: Int]>;
  /** n rows of boxes [x1,y1,x2,y2]: CIoU with eps 1e-7 as the ultralytics reference computes it in xyxy mode (h gets + eps, w does not; alpha constant in the gradient) */
  f32_ciou: Kernel<[box1: Ptr, box2: Ptr, y: Ptr]>;
  /** the gradients with respect to both boxes: dbox1, dbox2 [n,4] (either may be null) */
  f32_ciou_backward: Kernel<[box1: Ptr, box2: Ptr, dy: Ptr, dbox1: Ptr, dbox2: Ptr]>;
  /** n rows of boxes [x1,y1,x2,y2]: GIoU with eps 1e-16 in the union and in the hull */
  f32_giou: Kernel<[box1: Ptr, box2: Ptr, y: Ptr]>;
  /** the gradients with respect to both boxes, as f32_ciou_backward gives them */
  f32_giou_backward: Kernel<[box1: Ptr, box2: Ptr, dy: Ptr, dbox1: Ptr, dbox2: Ptr]>;

  // ── optimiser: n elements ───────────────────────────────────────────────────────────────────────────────────────
  /** g = clip*dw + decay*w;  m = momentum*m + g;  w -= lr * (nesterov ? g + momentum*m : m) */
  f32_sgd: Kernel<[w: Ptr, dw: Ptr, m: Ptr, lr: Real, momentum: Real, decay: Real, clip: Real, nesterov: Int]>;
  /** average = d*average + (1-d)*w */
  f32_ema: Kernel<[w: Ptr, average: Ptr, d: Real]>;
}

/** The same kernels as a build exports them: over the half-open range [begin, end) of their items. */
export type RangeKernels = {
  [Name in keyof Kernels]: (begin: number, ...rest: Parameters<Kernels[Name]>) => void;
};

/** One call of a kernel, to be made later. */
export interface Call { readonly name: keyof Kernels; readonly n: number; readonly rest: readonly number[] }

/** Waits until what was left behind is done, and helps. */
export type Finish = () => void;
