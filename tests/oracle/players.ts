/** Every op that somebody plays. */
import type { Player } from "./play.ts";
import { snnYolov3NeuronPlayers } from "./snn-yolov3-neurons.ts";
import { networkPlayers } from "./spikeyolo-network.ts";
import { trajectory } from "./spikeyolo-trajectory.ts";
import { spikeyoloPlayers } from "./spikeyolo.ts";

export const players: ReadonlyMap<string, Player> = new Map([...spikeyoloPlayers, ...networkPlayers, ["SpikeYOLO SGD trajectory", trajectory], ...snnYolov3NeuronPlayers]);
