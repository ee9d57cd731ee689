/** What stands before each message: a byte of flags and the length in four. */
export const prefixBytes = 5;

/** The frame of a message without content. */
const emptyFrame: Uint8Array = Buffer.alloc(prefixBytes);

/** A message as it goes over the wire, uncompressed. */
export function toFrame(message: Uint8Array): Uint8Array {
  if (message.length === 0) return emptyFrame;
  const frame = Buffer.allocUnsafe(prefixBytes + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, prefixBytes);
  return frame;
}
