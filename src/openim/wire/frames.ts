import { gunzipSync, gzip, gzipSync } from "node:zlib";
import { z } from "zod";
import { type GobStruct, readGob } from "./gob-reader.ts";
import { compileGobWriter } from "./gob-writer.ts";

/** What a client asks over its WebSocket: OpenIM's GeneralWsReq, without the token, which nobody fills in. */
export interface Request {
  readonly reqIdentifier: number;
  readonly sendID: string;
  readonly operationID: string;
  /** By which the client knows the answer. */
  readonly msgIncr: string;
  /** A protobuf message. */
  readonly data: Uint8Array;
}

/** What it is answered, and what it is told unasked: OpenIM's GeneralWsResp. */
export interface Answer {
  readonly reqIdentifier: number;
  readonly errCode: number;
  readonly errMsg: string;
  /** Empty for what is told unasked. */
  readonly msgIncr: string;
  readonly operationID: string;
  readonly data: Uint8Array;
}

/** How a client writes and reads its frames. */
export interface FrameCodec {
  /** Throws for what is none. */
  decode(bytes: Uint8Array): Request;
  /** With a promise when to compress it takes longer. */
  encode(answer: Answer): Uint8Array | Promise<Uint8Array>;
}

/** The largest request that is taken, in bytes: OpenIM's limit. */
export const maxRequestBytes = 51_200;

/** What a compressed request may become, in bytes. */
export const maxInflatedBytes = 262_144;

/** Frames up to this size are compressed at once, larger ones beside the event loop. Unit: bytes. */
const maxInlineBytes = 16_384;

/** Speed before size: what makes a frame large is mostly not compressible twice. */
const gzipOptions = { level: 1 } as const;

/** The frames of one kind of SDK: JSON for JavaScript, gob for Go; gzipped as a whole when it has asked for that. */
export function createFrameCodec(sdk: "js" | "go", isCompressed: boolean): FrameCodec {
  const { read, write } = sdk === "js" ? json : gob;
  return {
    decode: (bytes) => read(isCompressed ? gunzipSync(bytes, { maxOutputLength: maxInflatedBytes }) : bytes),
    encode(answer) {
      const bytes = write(answer);
      if (!isCompressed) return bytes;
      if (bytes.length <= maxInlineBytes) return gzipSync(bytes, gzipOptions);
      return new Promise((resolve, reject) => {
        gzip(bytes, gzipOptions, (error, zipped) => {
          if (error === null) resolve(zipped);
          else reject(error);
        });
      });
    },
  };
}

interface Notation {
  readonly read: (bytes: Uint8Array) => Request;
  readonly write: (answer: Answer) => Uint8Array;
}

const jsonRequest = z.object({
  reqIdentifier: z.int(),
  sendID: z.string().default(""),
  operationID: z.string().default(""),
  msgIncr: z.string().default(""),
  // Go's encoding/json writes bytes that are absent as null.
  data: z
    .base64()
    .nullish()
    .transform((text) => Buffer.from(text ?? "", "base64")),
});

const json: Notation = {
  read: (bytes) => jsonRequest.parse(JSON.parse(Buffer.from(bytes).toString())),
  write({ reqIdentifier, errCode, errMsg, msgIncr, operationID, data }) {
    const base64 = Buffer.from(data.buffer, data.byteOffset, data.length).toString("base64");
    return Buffer.from(JSON.stringify({ reqIdentifier, errCode, errMsg, msgIncr, operationID, data: base64 }));
  },
};

/** In Go's order, so that the bytes are those of OpenIM's server. */
const writeGob = compileGobWriter("GeneralWsResp", {
  ReqIdentifier: "int",
  ErrCode: "int",
  ErrMsg: "string",
  MsgIncr: "string",
  OperationID: "string",
  Data: "bytes",
});

const gob: Notation = {
  read(bytes) {
    const struct = readGob(bytes);
    return {
      reqIdentifier: readNumber(struct, "ReqIdentifier"),
      sendID: readText(struct, "SendID"),
      operationID: readText(struct, "OperationID"),
      msgIncr: readText(struct, "MsgIncr"),
      data: readBytes(struct, "Data"),
    };
  },
  write: ({ reqIdentifier, errCode, errMsg, msgIncr, operationID, data }) =>
    writeGob({
      ReqIdentifier: reqIdentifier,
      ErrCode: errCode,
      ErrMsg: errMsg,
      MsgIncr: msgIncr,
      OperationID: operationID,
      Data: data,
    }),
};

function readNumber(struct: GobStruct, name: string): number {
  const value = struct.get(name) ?? 0;
  if (typeof value !== "number") throw new TypeError(`${name} is no number`);
  return value;
}

function readText(struct: GobStruct, name: string): string {
  const value = struct.get(name) ?? "";
  if (typeof value !== "string") throw new TypeError(`${name} is no string`);
  return value;
}

function readBytes(struct: GobStruct, name: string): Uint8Array {
  const value = struct.get(name) ?? new Uint8Array();
  if (!(value instanceof Uint8Array)) throw new TypeError(`${name} is no bytes`);
  return value;
}
