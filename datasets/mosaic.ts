/**
 * Four pictures around one point of a canvas of twice the side, as the reference's Mosaic lays them:
 *
 *      first  | second       each touches the centre with its corner;
 *      -------+-------       what sticks out of the canvas is cut,
 *      third  | fourth       what none covers is grey
 */
export const TILES = 4;

interface Size { readonly width: number; readonly height: number }

/** A point in the middle half of the canvas, each way; u and v are uniform in [0, 1). `side` is half of the canvas. */
export const centreOf = ([u, v]: readonly [u: number, v: number], side: Size): [x: number, y: number] =>
  [u, v].map((share, axis) => { const s = axis === 0 ? side.width : side.height, border = Math.ceil(s / 2); return Math.trunc(border + share * (2 * s - 2 * border)); }) as [number, number];

/** Where the upper left corner of each tile lies. */
export const cornersOf = (tiles: readonly Size[], [x, y]: readonly [x: number, y: number]): [left: number, top: number][] =>
  tiles.map(({ width, height }, k) => [k % 2 === 0 ? x - width : x, k < 2 ? y - height : y]);
