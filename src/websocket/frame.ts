/** Kinds of data frames (RFC 6455, 11.8). */
const opcodes = { text: 1, binary: 2 } as const;

/** That a frame is the whole of its message. */
const fin = 0x80;

/** From which length on it is written in two bytes, and in eight. */
const minMediumLength = 126;
const minLongLength = 65_536;

/** A message as a server sends it (RFC 6455, 5.2): in one frame, unmasked, so the same for all who get it. */
export function toFrame(kind: keyof typeof opcodes, message: Uint8Array): Uint8Array {
  const { length } = message;
  const headerBytes = length < minMediumLength ? 2 : length < minLongLength ? 4 : 10;
  const frame = Buffer.allocUnsafe(headerBytes + length);
  frame[0] = fin | opcodes[kind];
  if (headerBytes === 2) {
    frame[1] = length;
  } else if (headerBytes === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeUInt32BE(0, 2);
    frame.writeUInt32BE(length, 6);
  }
  frame.set(message, headerBytes);
  return frame;
}

/** {@link toFrame} of a text. */
export function toTextFrame(text: string): Uint8Array {
  return toFrame("text", Buffer.from(text));
}
