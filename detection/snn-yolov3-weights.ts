/** How darknet and the published SNN-YOLOv3 number the layers of YOLOv3, which is what their files know them by. */
import type { Parameter } from "../engine/index.ts";
import type { ConvCell } from "../nn/darknet.ts";
import type { Buffer } from "../nn/module.ts";
import type { DarknetCell } from "./darknet.ts";
import type { AnchorHead, SNNYOLOv3 } from "./snn-yolov3.ts";

/** Sections of the pyramid: three pools, each but the last followed by a route back, and the route that joins them. */
const PYRAMID_SECTIONS = 6;

/** The convolutions in their order, with the numbers of their sections. */
export function darknetCells(model: SNNYOLOv3): DarknetCell[] {
  const cells: DarknetCell[] = [];
  let index = 0;
  const cell = ({ conv, norm }: ConvCell): void => { cells.push({ index: index++, conv, norm }); };
  const head = ({ before, after, out, predict, spp }: AnchorHead): void => {
    before.forEach(cell);
    if (spp) index += PYRAMID_SECTIONS;
    [...after, out].forEach(cell);
    cells.push({ index: index++, conv: predict });
    index++; // yolo
  };
  const lateral = (from: ConvCell): void => {
    index++; // route to the tip
    cell(from);
    index += 2; // upsample, route
  };
  cell(model.stem);
  for (const { down, blocks } of [model.stage2, model.stage4, model.stage8, model.stage16, model.stage32]) {
    cell(down);
    for (const { reduce, expand } of blocks) {
      cell(reduce);
      cell(expand);
      index++; // shortcut
    }
  }
  head(model.head32);
  lateral(model.lateral16);
  head(model.head16);
  lateral(model.lateral8);
  head(model.head8);
  return cells;
}

/** Every weight and buffer under the name that the published checkpoint has for it. */
export function publishedNames(model: SNNYOLOv3): Map<string, Parameter | Buffer> {
  return new Map(darknetCells(model).flatMap(({ index, conv, norm }) => {
    const at = `module_list.${index}`, convolution: [string, Parameter | Buffer][] = [[`${at}.Conv2d.weight`, conv.weight]];
    if (!norm) return [...convolution, [`${at}.Conv2d.bias`, conv.bias!] as [string, Parameter]];
    const { weight, bias, runningMean, runningVariance } = norm, named = { weight, bias, running_mean: runningMean, running_var: runningVariance };
    return [...convolution, ...Object.entries(named).map(([name, tensor]): [string, Parameter | Buffer] => [`${at}.BatchNorm2d.${name}`, tensor])];
  }));
}
