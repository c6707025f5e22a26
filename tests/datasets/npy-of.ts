/** An npy file from its header as written and its data. */
export function npyOf(header: string, data: Uint8Array | readonly number[], version = 1): Uint8Array {
  const long = version > 1, body = new TextEncoder().encode(`${header}\n`);
  const length = long ? [body.length & 255, (body.length >> 8) & 255, body.length >> 16, 0] : [body.length & 255, body.length >> 8];
  return Uint8Array.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0, ...length, ...body, ...data]);
}
