/** Derivatives that stand in for that of the firing step. Each is measured from the threshold, u = h - threshold. */
import type { Surrogate } from "../engine/index.ts";

/** Rectangular window (Wu et al., arXiv:1706.02609, h1 with width a1 = 1/alpha).   ds/dh = alpha where |u| < 1/(2 alpha) */
export const rectangular = (alpha = 1): Surrogate => ({
  name: "rectangular", alpha, derivative: (u) => (Math.abs(u) < 0.5 / alpha ? alpha : 0),
});

/** ATan (Fang et al., arXiv:2007.05785).   ds/dh = alpha / (2 (1 + (pi/2 alpha u)^2)) */
export const atan = (alpha = 2): Surrogate => ({
  name: "atan", alpha, derivative: (u) => alpha / (2 * (1 + ((Math.PI / 2) * alpha * u) ** 2)),
});

/** Sigmoid (Wu et al., arXiv:1706.02609, h3 with a3 = 1/alpha; as in SpikingJelly).   ds/dh = alpha sig(alpha u) (1 - sig(alpha u)) */
export const sigmoid = (alpha = 4): Surrogate => ({
  name: "sigmoid", alpha, derivative: (u) => { const y = 1 / (1 + Math.exp(-alpha * u)); return alpha * y * (1 - y); },
});

/** Triangular (Wu et al., arXiv:1706.02609, h2 with sqrt(a2) = 2 alpha; with alpha 1 that of Bellec et al., arXiv:1803.09574, undamped).   ds/dh = alpha max(0, 1 - |alpha u|) */
export const triangular = (alpha = 1): Surrogate => ({
  name: "triangular", alpha, derivative: (u) => alpha * Math.max(0, 1 - Math.abs(alpha * u)),
});
