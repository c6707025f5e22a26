/** Which networks there are: families, their sizes by name, and what differs between families beside the network itself. Nothing else asks which family a network is of. */
import type { Detector } from "./detector.ts";
import { SNNYOLOv3, snnYOLOv3, type SNNYOLOv3Config } from "./snn-yolov3.ts";
import { SpikeYOLO, spikeYOLO, type SpikeYOLOConfig, type SpikeYOLOSize } from "./spikeyolo.ts";

/** A network as a record: its family, and the fields of that. Without a family it is a SpikeYOLO. */
export type DetectorRecord = SpikeYOLORecord | SNNYOLOv3Record;
export type SpikeYOLORecord = SpikeYOLOSize & Partial<SpikeYOLOConfig> & { readonly family?: "spikeyolo" };
export type SNNYOLOv3Record = Partial<SNNYOLOv3Config> & { readonly family: "snn-yolov3" };
export type FamilyName = keyof typeof families;

export interface Family<R extends DetectorRecord> {
  /** What people call it. */
  readonly title: string;
  make(record: R): Detector;
  /** Timesteps and, where neurons emit integers, how large those get. */
  timing(T: number, D: number): string;
  /** Whether D is a choice: neurons that emit 0 or 1 have none. */
  readonly integers: boolean;
  /** Whether boxes are told from anchors, which one's own data may have. */
  readonly anchors: boolean;
  /** Names of the three parts of the loss, for lines and tables. */
  readonly parts: readonly [box: string, classes: string, third: string];
  /** Whether a weight belongs to what tells classes apart, and has another shape where there are others. */
  tellsClasses(name: string): boolean;
  /** Whose names exported weights have. */
  readonly reference: string;
}

const family = <R extends DetectorRecord>(one: Family<R>): Family<R> => one;

export const families = {
  spikeyolo: family<SpikeYOLORecord>({
    title: "SpikeYOLO", make: (record) => new SpikeYOLO(record), timing: (T, D) => `T ${T} x D ${D}`, integers: true, anchors: false,
    parts: ["box", "cls", "dfl"], tellsClasses: (name) => name.startsWith("head.class."), reference: "the public reference's state_dict",
  }),
  "snn-yolov3": family<SNNYOLOv3Record>({
    title: "SNN-YOLOv3", make: (record) => new SNNYOLOv3(record), timing: (T) => `T ${T}`, integers: false, anchors: true,
    parts: ["box", "cls", "obj"], tellsClasses: (name) => /^head(32|16|8)\.predict\./.test(name), reference: "the state_dict of its published code",
  }),
} as const;

/** Sizes by the names that they have at a command line. */
export const networks = {
  ...spikeYOLO,
  "snn-yolov3": { family: "snn-yolov3", ...snnYOLOv3.paper },
  "snn-yolov3-released": { family: "snn-yolov3", ...snnYOLOv3.released },
  "snn-yolov3-small": { family: "snn-yolov3", ...snnYOLOv3.small },
  "snn-yolov3-tiny": { family: "snn-yolov3", ...snnYOLOv3.tiny },
} as const satisfies Record<string, DetectorRecord>;
export type NetworkName = keyof typeof networks;

/** The family of a record; of a network's name, through `networks`. */
export const familyOf = (record: DetectorRecord): Family<DetectorRecord> => families[record.family ?? "spikeyolo"] as Family<DetectorRecord>;

/** The network of a record. */
export const newDetector = (record: DetectorRecord): Detector => familyOf(record).make(record);

/** "SpikeYOLO tiny", "SNN-YOLOv3 tiny", "SNN-YOLOv3" */
export function titleOf(name: NetworkName): string {
  const record: DetectorRecord = networks[name], { title } = familyOf(record), size = name.replace(record.family ?? "", "").replace(/^-/, "");
  return size === "" ? title : `${title} ${size}`;
}
