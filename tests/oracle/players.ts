/** Every op that somebody plays. */
import { evaluationPlayers } from "./evaluation.ts";
import type { Player } from "./play.ts";
import { networkPlayers } from "./spikeyolo-network.ts";
import { spikeyoloPlayers } from "./spikeyolo.ts";

export const players: ReadonlyMap<string, Player> = new Map([...spikeyoloPlayers, ...networkPlayers, ...evaluationPlayers]);
