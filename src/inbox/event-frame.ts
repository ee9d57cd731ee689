import { SubscribeResponseSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";

/** Events whose message is stored or published as it is sent. */
export type EncodedEvent = "notification" | "message" | "recall";

/** gRPC's prefix of a message (PROTOCOL-HTTP2.md): a byte that says whether it is compressed, and four of its length. */
const prefixBytes = 5;

/** The wire type of what begins with its length, in a field's tag. */
const lengthDelimited = 2;

/**
 * The frame of an event: gRPC's prefix, and a SubscribeResponse around a message that is encoded already.
 *
 * @param appended more fields of the message, encoded: of a field that is there twice, the later counts.
 */
export function toEventFrame(event: EncodedEvent, message: Uint8Array, appended: Uint8Array = nothing): Uint8Array {
  const length = message.length + appended.length;
  const tag = (SubscribeResponseSchema.field[event].number << 3) | lengthDelimited;
  const bodyBytes = varintBytes(tag) + varintBytes(length) + length;
  const frame = Buffer.allocUnsafe(prefixBytes + bodyBytes);
  frame[0] = 0;
  frame.writeUInt32BE(bodyBytes, 1);
  const at = writeVarint(frame, writeVarint(frame, prefixBytes, tag), length);
  frame.set(message, at);
  frame.set(appended, at + message.length);
  return frame;
}

/** The frame of a message: gRPC's prefix before it. */
export function toFrame(message: Uint8Array): Uint8Array {
  const frame = Buffer.allocUnsafe(prefixBytes + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, prefixBytes);
  return frame;
}

const nothing = new Uint8Array();

/** Encodes fields one after the other, into a piece of memory that is used again. */
export class FieldWriter {
  #bytes: Buffer;
  #length = 0;

  /** @param size what the fields take at most, in bytes. */
  constructor(size: number) {
    this.#bytes = Buffer.allocUnsafe(size);
  }

  uint64(field: number, value: number): this {
    this.#length = writeVarint(this.#bytes, writeVarint(this.#bytes, this.#length, field << 3), value);
    return this;
  }

  string(field: number, value: string): this {
    const at = writeVarint(this.#bytes, this.#length, (field << 3) | lengthDelimited);
    const length = Buffer.byteLength(value);
    const begin = writeVarint(this.#bytes, at, length);
    this.#length = begin + this.#bytes.write(value, begin);
    return this;
  }

  /** The fields so far, until the next one is written. */
  take(): Uint8Array {
    const fields = this.#bytes.subarray(0, this.#length);
    this.#length = 0;
    return fields;
  }
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

/** Writes a number, which may have more than 32 bits, and returns where it ends. */
function writeVarint(bytes: Uint8Array, begin: number, value: number): number {
  let at = begin;
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[at++] = (rest % 0x80) | 0x80;
  bytes[at++] = rest;
  return at;
}
