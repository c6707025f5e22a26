/** ONNX models of one node, as bytes. The few messages that they need, numbered as in onnx.proto (IR version 8). */
import { packages } from "./packages.ts";

const field = (id: number, type: string) => ({ id, type });
const many = (id: number, type: string) => ({ id, type, rule: "repeated" });

const MESSAGES: Record<string, Record<string, object>> = {
  Model: { irVersion: field(1, "int64"), producerName: field(2, "string"), graph: field(7, "Graph"), opsetImport: many(8, "Opset") },
  Opset: { domain: field(1, "string"), version: field(2, "int64") },
  Graph: { node: many(1, "Node"), name: field(2, "string"), initializer: many(5, "Weights"), input: many(11, "Port"), output: many(12, "Port") },
  Node: { input: many(1, "string"), output: many(2, "string"), opType: field(4, "string"), attribute: many(5, "Attribute") },
  Attribute: { name: field(1, "string"), i: field(3, "int64"), ints: many(8, "int64"), type: field(20, "int32") },
  Weights: { dims: many(1, "int64"), dataType: field(2, "int32"), name: field(8, "string"), rawData: field(9, "bytes") },
  Port: { name: field(1, "string"), type: field(2, "Type") },
  Type: { tensorType: field(1, "TensorType") },
  TensorType: { elemType: field(1, "int32"), shape: field(2, "TensorShape") },
  TensorShape: { dim: many(1, "Dimension") },
  Dimension: { dimValue: field(1, "int64") },
};
const FLOAT = 1, INT = 2, INTS = 7; // FLOAT of TensorProto.DataType, the others of AttributeProto.AttributeType

export interface Tensor { name: string; dims: readonly number[] }
export interface OneNode {
  op: string;
  /** A number, or a list of them. */
  attributes: Record<string, number | readonly number[]>;
  /** Names of inputs, x and w among them, in the order of the operator. */
  inputs: readonly string[];
  x: Tensor;
  w?: Tensor & { data: Float32Array };
  y: Tensor;
}

export function onnxModel({ op, attributes, inputs, x, w, y }: OneNode): Uint8Array {
  const { Root } = packages.protobufjs();
  const Model = Root.fromJSON({ nested: Object.fromEntries(Object.entries(MESSAGES).map(([name, fields]) => [name, { fields }])) }).lookupType("Model");
  const port = ({ name, dims }: Tensor) => ({ name, type: { tensorType: { elemType: FLOAT, shape: { dim: dims.map((dimValue) => ({ dimValue })) } } } });
  const attribute = Object.entries(attributes).map(([name, value]) => (typeof value === "number" ? { name, type: INT, i: value } : { name, type: INTS, ints: value }));
  return Model.encode(Model.fromObject({
    irVersion: 8,
    producerName: "spiketrain bench",
    opsetImport: [{ domain: "", version: 17 }],
    graph: {
      name: op,
      node: [{ opType: op, input: inputs, output: [y.name], attribute }],
      initializer: w ? [{ name: w.name, dims: w.dims, dataType: FLOAT, rawData: new Uint8Array(w.data.buffer, w.data.byteOffset, w.data.byteLength) }] : [],
      input: [port(x)],
      output: [port(y)],
    },
  })).finish();
}
