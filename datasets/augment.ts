/** Random variations of a picture and its boxes, each a pure function of the random stream it is given. */
import type { Random } from "../engine/random.ts";
import { blank, clip, letterbox, PADDING, paste, toCanvas, type Fit } from "./letterbox.ts";
import type { ObjectBox, Picture, Sample } from "./sample.ts";

/** What may vary, and how much. A field at 0 does nothing; a record of zeros is the plain letterbox. */
export interface Augment {
  /** Probability of left <-> right. */
  readonly flip: number;
  /** The centre moves by up to this share of the canvas, each way. */
  readonly translate: number;
  /** Size times U(1 - scale, 1 + scale). */
  readonly scale: number;
  /** Hue, saturation and value times U(1 - gain, 1 + gain). */
  readonly hue: number;
  readonly saturation: number;
  readonly value: number;
}

export const augmentations = {
  none: { flip: 0, translate: 0, scale: 0, hue: 0, saturation: 0, value: 0 },
  /** "Horizontal flip", which is all that the SNN-YOLOv3 paper names. */
  flip: { flip: 0.5, translate: 0, scale: 0, hue: 0, saturation: 0, value: 0 },
  /** default.yaml of SpikeYOLO, without mosaic. */
  spikeyolo: { flip: 0.5, translate: 0.1, scale: 0.5, hue: 0.015, saturation: 0.7, value: 0.4 },
} as const satisfies Record<string, Augment>;

/** A sample on its canvas: boxes in pixels of the canvas, and where the picture came to lie (before a flip). */
export interface Placed {
  readonly picture: Picture;
  readonly boxes: readonly ObjectBox[];
  readonly scale: number;
  readonly left: number;
  readonly top: number;
}

/** Fits, shakes, tints and flips one sample. Draws the same count of random numbers whatever happens. */
export function augmented(sample: Sample, fit: Fit, augment: Augment, random: Random): Placed {
  const { canvasWidth: W, canvasHeight: H } = fit;
  // x' = (x - W/2) zoom + W U(.5 - translate, .5 + translate): ultralytics' RandomPerspective without rotation, shear and perspective
  const zoom = 1 + augment.scale * random.uniform(-1, 1);
  const centreX = W * (0.5 + augment.translate * random.uniform(-1, 1)), centreY = H * (0.5 + augment.translate * random.uniform(-1, 1));
  const gains = [augment.hue, augment.saturation, augment.value].map((gain) => 1 + gain * random.uniform(-1, 1));
  const mirror = random.uniform() < augment.flip;

  const shaken = augment.scale !== 0 || augment.translate !== 0;
  const where = shaken
    ? { scale: fit.scale * zoom, left: (fit.left - W / 2) * zoom + centreX, top: (fit.top - H / 2) * zoom + centreY }
    : { scale: fit.scale, left: fit.left, top: fit.top };
  let picture: Picture;
  if (shaken || mirror) {
    picture = blank(W, H, PADDING);
    const place = shaken
      ? { left: where.left, top: where.top, width: sample.picture.width * where.scale, height: sample.picture.height * where.scale }
      : { left: fit.padLeft, top: fit.padTop, width: fit.width, height: fit.height };
    paste(sample.picture, picture, { ...place, mirror });
  } else picture = letterbox(sample.picture, fit);
  tint(picture, gains[0], gains[1], gains[2]);

  const boxes: ObjectBox[] = [];
  for (const box of sample.boxes) {
    const whole = toCanvas(box, where), part = clip(whole, W, H);
    if (shaken ? !worthKeeping(whole, part) : part.x2 <= part.x1 || part.y2 <= part.y1) continue;
    boxes.push(mirror ? { ...part, x1: W - part.x2, x2: W - part.x1 } : part);
  }
  return { picture, boxes, ...where };
}

/** ultralytics' box_candidates: sides > 2 pixels, more than a tenth of the area left, not thinner than 1 : 100. */
function worthKeeping(whole: ObjectBox, part: ObjectBox): boolean {
  const w = part.x2 - part.x1, h = part.y2 - part.y1, area = (whole.x2 - whole.x1) * (whole.y2 - whole.y1);
  return w > 2 && h > 2 && w * h > 0.1 * area && Math.max(w / h, h / w) < 100;
}

/**
 * Gains on hue, saturation and value, in place. With V = max, C = V - min, S = C / V and hue h in sixths of the circle,
 * a channel is V (1 - S k(h)), k from 0 (the strongest channel) to 1 (the weakest).
 */
export function tint({ pixels }: Picture, hue: number, saturation: number, value: number): void {
  if (hue === 1 && saturation === 1 && value === 1) return;
  for (let i = 0; i < pixels.length; i += 3) {
    const r = pixels[i], g = pixels[i + 1], b = pixels[i + 2];
    const V = r > g ? (r > b ? r : b) : g > b ? g : b, C = V - (r < g ? (r < b ? r : b) : g < b ? g : b);
    const bright = Math.min(255, V * value);
    if (C === 0) { pixels[i] = pixels[i + 1] = pixels[i + 2] = bright + 0.5; continue; }
    const sixth = V === r ? ((g - b) / C + 6) % 6 : V === g ? (b - r) / C + 2 : (r - g) / C + 4;
    const h = (sixth * hue) % 6, spread = bright * Math.min(1, C / V * saturation);
    pixels[i] = bright - spread * weakness(h + 5) + 0.5;
    pixels[i + 1] = bright - spread * weakness(h + 3) + 0.5;
    pixels[i + 2] = bright - spread * weakness(h + 1) + 0.5;
  }
}

/** k of a channel whose own hue is 5, 3 or 1 sixths before h: clamp(min(h, 4 - h), 0, 1) on the circle. */
function weakness(h: number): number {
  if (h >= 6) h -= 6;
  const k = h < 4 - h ? h : 4 - h;
  return k < 0 ? 0 : k > 1 ? 1 : k;
}
