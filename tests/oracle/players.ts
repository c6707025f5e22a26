/** Every op that somebody plays. */
import { eventPlayers } from "./datasets-events.ts";
import { evaluationPlayers } from "./evaluation.ts";
import type { Player } from "./play.ts";
import { imagePlayers } from "./datasets-images.ts";
import { readerPlayers } from "./datasets-readers.ts";
import { snnYolov3HeadPlayers } from "./snn-yolov3-head.ts";
import { snnYolov3NetworkPlayers } from "./snn-yolov3-network.ts";
import { snnYolov3NeuronPlayers } from "./snn-yolov3-neurons.ts";
import { networkPlayers } from "./spikeyolo-network.ts";
import { trajectoryPlayers } from "./spikeyolo-trajectory.ts";
import { spikeyoloPlayers } from "./spikeyolo.ts";
import { torchFilePlayers } from "./torch-files.ts";

/** An op that several files play, each its share of what is recorded, is played by all of them. */
function together(...tables: readonly ReadonlyMap<string, Player>[]): Map<string, Player> {
  const all = new Map<string, Player>();
  for (const [op, player] of tables.flatMap((table) => [...table])) {
    const first = all.get(op);
    all.set(op, first ? {
      places: [...new Set([...first.places, ...player.places])],
      read: (c) => Promise.all([first.read?.(c), player.read?.(c)]),
      play: (c, check, [mine, theirs]) => { first.play(c, check, mine); player.play(c, check, theirs); },
    } : player);
  }
  return all;
}

export const players: ReadonlyMap<string, Player> = together(
  spikeyoloPlayers, networkPlayers, trajectoryPlayers, snnYolov3NeuronPlayers, snnYolov3HeadPlayers, snnYolov3NetworkPlayers, readerPlayers, imagePlayers, eventPlayers, evaluationPlayers,
  torchFilePlayers,
);
