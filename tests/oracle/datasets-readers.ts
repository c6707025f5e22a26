/** How the recorded data sets are read with this project's readers. */
import type { Player } from "./play.ts";

export const readerPlayers: ReadonlyMap<string, Player> = new Map();
