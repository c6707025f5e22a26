/**
 * Prophesee recordings: events in `NAME_td.dat`, boxes in `NAME_bbox.npy`.
 */

/** Events in the order of their file, as columns. Times are whole microseconds; polarity is 0 (darker) or 1 (brighter). */
export interface Events {
  readonly t: Float64Array;
  readonly x: Uint16Array;
  readonly y: Uint16Array;
  readonly p: Uint8Array;
}

/** One box at one time: upper left corner and size in pixels of the sensor, as the file has them (not clipped). */
export interface EventBox {
  /** Microseconds. */
  readonly t: number;
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
  /** 0 car, 1 pedestrian in Gen1. */
  readonly class: number;
  /** Follows one object through a recording. */
  readonly track: number;
  readonly confidence: number;
}
