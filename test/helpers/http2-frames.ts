/** HTTP/2 by hand, for clients that no library agrees to be. */

export const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const flag = { endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

/** Settings by their names (RFC 9113, 6.5.2). */
export const setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const;

export const errorCode = {
  noError: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSize: 6,
  refusedStream: 7,
  cancel: 8,
  compression: 9,
  connect: 10,
  enhanceYourCalm: 11,
} as const;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
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

export function toUint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function settingsOf(...values: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = values.map(([id, value]) => Buffer.concat([Buffer.of(id >>> 8, id & 0xff), toUint32(value)]));
  return frame(frameType.settings, 0, 0, Buffer.concat(payload));
}

export function windowUpdate(stream: number, increment: number): Buffer {
  return frame(frameType.windowUpdate, 0, stream, toUint32(increment));
}

export function ping(text: string): Buffer {
  return frame(frameType.ping, 0, 0, Buffer.from(text.padEnd(8).slice(0, 8)));
}

export function data(stream: number, payload: Uint8Array, flags = 0): Buffer {
  return frame(frameType.data, flags, stream, payload);
}

export function headers(stream: number, block: Uint8Array, flags: number = flag.endHeaders): Buffer {
  return frame(frameType.headers, flags, stream, block);
}
