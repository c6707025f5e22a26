/** Every op that somebody plays. */
import type { Player } from "./play.ts";
import { imagePlayers } from "./datasets-images.ts";
import { readerPlayers } from "./datasets-readers.ts";
import { networkPlayers } from "./spikeyolo-network.ts";
import { spikeyoloPlayers } from "./spikeyolo.ts";

export const players: ReadonlyMap<string, Player> = new Map([...spikeyoloPlayers, ...networkPlayers, ...readerPlayers, ...imagePlayers]);
