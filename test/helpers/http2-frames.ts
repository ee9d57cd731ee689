/** HTTP/2 by hand, for clients that no library agrees to be. */

export const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export const frameType = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goaway: 7, windowUpdate: 8 };

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export const settings = frame(frameType.settings, 0, 0);
export const settingsAck = frame(frameType.settings, 1, 0);

/** GET http://x/ in indexes of HPACK's static table, END_STREAM and END_HEADERS. */
export function get(stream: number, extra: Buffer = Buffer.alloc(0)): Buffer {
  return frame(frameType.headers, 0x5, stream, Buffer.concat([Buffer.of(0x82, 0x86, 0x84, 0x41, 1, 0x78), extra]));
}

/** The header fields of POST http://x/, whose body is to come. */
export function post(stream: number): Buffer {
  return frame(frameType.headers, 0x4, stream, Buffer.of(0x83, 0x86, 0x84, 0x41, 1, 0x78));
}

export function reset(stream: number, code = 8): Buffer {
  return frame(frameType.reset, 0, stream, Buffer.of(0, 0, 0, code));
}

export function toFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    frames.push({
      type: bytes.readUInt8(at + 3),
      flags: bytes.readUInt8(at + 4),
      stream: bytes.readUInt32BE(at + 5) & 0x7fffffff,
      payload: bytes.subarray(at + 9, at + 9 + length),
    });
    at += 9 + length;
  }
  return frames;
}
