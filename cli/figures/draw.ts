/**
 * Figures: a vega-lite specification as an SVG, or as a PNG where the path ends in .png. The libraries are optional packages, loaded when a figure is
 * asked for and not before.
 */
import { writeAtomically } from "../atomic-file.ts";
import { UserError } from "../user-error.ts";

/** A specification of vega-lite 6, without the words that every figure has in common. */
export type Figure = Readonly<Record<string, unknown>>;

/** Okabe and Ito's colours, which stay apart for every kind of colour vision. */
export const colours = { blue: "#0072B2", orange: "#D55E00", green: "#009E73", purple: "#CC79A7", sky: "#56B4E9", amber: "#E69F00", ink: "#222222", faint: "#8A8A8A", band: "#F0F0F0" } as const;

const FONT = "DejaVu Sans, Liberation Sans, Helvetica, Arial, sans-serif";

/** What all figures share: white ground, one typeface, thin lines, sizes that stay legible at the width of a page. */
const STYLE: Figure = {
  $schema: "https://vega.github.io/schema/vega-lite/v6.json",
  background: "white",
  padding: 12,
  config: {
    font: FONT,
    axis: { labelFontSize: 11, titleFontSize: 12, titleFontWeight: "normal", gridColor: "#DDDDDD", domainColor: "#666666", tickColor: "#666666", labelColor: colours.ink, titleColor: colours.ink },
    legend: { labelFontSize: 11, titleFontSize: 12, titleFontWeight: "normal", symbolSize: 80, labelLimit: 400 },
    title: { fontSize: 14, subtitleFontSize: 11, anchor: "start", subtitleColor: "#444444", offset: 10, subtitlePadding: 5, font: FONT, subtitleFont: FONT, frame: "bounds" },
    header: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
    view: { stroke: "#BBBBBB" },
  },
};

/** Pixels of a PNG for each of the figure: print asks for more than a screen. */
const ZOOM = 2;

/** Draws a figure into a file. Its folder must be there. */
export async function drawFigure(path: string, figure: Figure): Promise<void> {
  const kind = expectPicture(path), svg = await svgOf(figure);
  await writeAtomically(path, kind === "svg" ? svg : await pngOf(svg));
}

/** Refuses what cannot be drawn here: before minutes of measuring, not after. */
export async function expectDrawable(path: string): Promise<void> {
  if (expectPicture(path) === "png") await rasteriser();
  await plotter();
}

/** What the path says. */
export function expectPicture(path: string): "svg" | "png" {
  const [, ending] = /\.(svg|png)$/i.exec(path) ?? [];
  if (ending === undefined) throw new UserError(`picture: ${path} ends in neither .svg nor .png; name it so, as in picture=figure.svg`);
  return ending.toLowerCase() as "svg" | "png";
}

export async function svgOf(figure: Figure): Promise<string> {
  const { vega, compile } = await plotter(), { spec } = compile({ ...STYLE, ...figure });
  return new vega.View(vega.parse(spec), { renderer: "none", logLevel: vega.Error }).toSVG();
}

async function pngOf(svg: string): Promise<Uint8Array> {
  const Resvg = await rasteriser();
  return new Resvg(svg, { font: FONTS, fitTo: { mode: "zoom", value: ZOOM } }).render().asPng();
}

const FONTS = { loadSystemFonts: true, defaultFontFamily: "DejaVu Sans" } as const;

async function plotter(): Promise<{ vega: Vega } & VegaLite> {
  const [vega, { compile }] = await Promise.all([load<Vega>("vega"), load<VegaLite>("vega-lite")]);
  return { vega, compile };
}

/** Text without a font would be left out in silence. */
async function rasteriser(): Promise<Resvg> {
  const { Resvg } = await load<{ Resvg: Resvg }>("@resvg/resvg-js");
  if (!new Resvg('<svg xmlns="http://www.w3.org/2000/svg"><text y="9">A</text></svg>', { font: FONTS }).getBBox()) {
    throw new UserError("picture: this machine has no font to write labels with; install one (Debian: apt-get install fonts-dejavu-core), or ask for a picture that ends in .svg");
  }
  return Resvg;
}

// The faces of the libraries that are used here, so that the program builds where they are not installed.
interface Vega { readonly Error: number; parse(spec: unknown): unknown; readonly View: new (runtime: unknown, options: { renderer: "none"; logLevel: number }) => { toSVG(): Promise<string> } }
interface VegaLite { compile(spec: unknown): { spec: unknown } }
type Resvg = new (svg: string, options: unknown) => { getBBox(): unknown; render(): { asPng(): Uint8Array } };

async function load<M>(name: string): Promise<M> {
  try {
    return (await import(name)) as M;
  } catch (error) {
    throw new UserError(`picture: the optional package ${name} is not installed here; npm install ${name}, or leave picture= out`, { cause: error });
  }
}
