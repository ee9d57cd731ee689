import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import type { ConnectError } from "@connectrpc/connect";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";
import type { Fields } from "../http2/exchange.ts";
import { pushMetadata } from "./metadata.ts";

/** The trailers of a call that went well, for who has no more to say. */
export const okTrailers: Fields = Object.freeze(["grpc-status", "0"]);

/** The statuses of errors that do not change any more, as many calls may end with. */
const written = new WeakMap<ConnectError, Fields>();

/** Appends the status of a failed call to its trailers: with its message, its details, and the error's own metadata. */
export function pushStatus(trailers: string[], error: ConnectError): void {
  let status = written.get(error);
  if (status === undefined) {
    status = writeStatus(error);
    if (Object.isFrozen(error)) written.set(error, status);
  }
  trailers.push(...status);
}

function writeStatus({ code, rawMessage: message, metadata, details }: ConnectError): Fields {
  const trailers: string[] = [];
  pushMetadata(trailers, metadata);
  trailers.push("grpc-status", String(code));
  if (message !== "") trailers.push("grpc-message", percentEncode(message));
  if (details.length === 0) return trailers;
  const status = create(StatusSchema, {
    code,
    message,
    details: details.map((detail) =>
      "desc" in detail
        ? anyPack(detail.desc, create(detail.desc, detail.value))
        : { typeUrl: `type.googleapis.com/${detail.type}`, value: detail.value },
    ),
  });
  trailers.push("grpc-status-details-bin", encodeBinary(toBinary(StatusSchema, status)));
  return trailers;
}

/** The value of a metadata field whose name ends with `-bin`: base64, without padding. */
export function encodeBinary(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64").replace(/=+$/, "");
}

/** As `grpc-message` is written: what is no printable ASCII, and the percent sign, byte by byte of its UTF-8. */
export function percentEncode(text: string): string {
  if (!/[^\x20-\x24\x26-\x7e]/.test(text)) return text;
  let encoded = "";
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
