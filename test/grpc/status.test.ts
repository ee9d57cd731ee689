import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../../src/gen/google/rpc/status_pb.ts";
import { pushMetadata } from "../../src/grpc/metadata.ts";
import { encodeBinary, percentEncode, pushStatus } from "../../src/grpc/status.ts";
import { fuzz } from "../helpers/fuzz.ts";

const trailersOf = (error: ConnectError) => {
  const fields: string[] = [];
  pushStatus(fields, error);
  return fields;
};

describe("grpc-message", () => {
  test.each([
    ["ArgsError: a/b (c) + d~", "ArgsError: a/b (c) + d~"],
    ["100%", "100%25"],
    ["a\r\nb\tc\x7f", "a%0D%0Ab%09c%7F"],
    ["é 日 😀", "%C3%A9 %E6%97%A5 %F0%9F%98%80"],
    ["\ud800", "%EF%BF%BD"],
  ])("%j is written %s", (text, encoded) => {
    expect(percentEncode(text)).toBe(encoded);
  });

  test("is printable ASCII, and is read again as it was", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const encoded = percentEncode(text);
        expect(encoded).toMatch(/^[\x20-\x7e]*$/);
        expect(decodeURIComponent(encoded)).toBe(text.toWellFormed());
      }),
      fuzz(100),
    );
  });
});

test("an error without details is its code and its message, which may be missing", () => {
  expect(trailersOf(new ConnectError("no", Code.NotFound))).toEqual(["grpc-status", "5", "grpc-message", "no"]);
  expect(trailersOf(new ConnectError("", Code.Unknown))).toEqual(["grpc-status", "2"]);
});

test("details are a google.rpc.Status, in base64 without padding", () => {
  const info = { reason: "R", domain: "d", metadata: { é: "1" } };
  const error = new ConnectError("no%", Code.NotFound, undefined, [{ desc: ErrorInfoSchema, value: info }]);
  const fields = trailersOf(error);
  expect(fields.slice(0, 5)).toEqual(["grpc-status", "5", "grpc-message", "no%25", "grpc-status-details-bin"]);
  expect(fields[5]).toMatch(/^[A-Za-z0-9+/]+$/);
  const status = fromBinary(StatusSchema, Buffer.from(fields[5] ?? "", "base64"));
  expect(status).toMatchObject({ code: 5, message: "no%" });
  expect(status.details.map(({ typeUrl }) => typeUrl)).toEqual(["type.googleapis.com/google.rpc.ErrorInfo"]);
  const [detail] = status.details;
  expect(fromBinary(ErrorInfoSchema, detail?.value ?? new Uint8Array())).toMatchObject(info);
});

test("details that came over a wire are handed on as they are", () => {
  const value = toBinary(ErrorInfoSchema, create(ErrorInfoSchema, { reason: "R" }));
  const error = new ConnectError("no", Code.NotFound);
  error.details = [{ type: "google.rpc.ErrorInfo", value }];
  const status = fromBinary(StatusSchema, Buffer.from(trailersOf(error)[5] ?? "", "base64"));
  expect(status.details[0]).toMatchObject({ typeUrl: "type.googleapis.com/google.rpc.ErrorInfo" });
  expect(Uint8Array.from(status.details[0]?.value ?? [])).toEqual(value);
});

test("binary values have no padding", () => {
  expect([[], [1], [1, 2], [1, 2, 3]].map((bytes) => encodeBinary(Uint8Array.from(bytes)))).toEqual([
    "",
    "AQ",
    "AQI",
    "AQID",
  ]);
});

test("metadata of an error is in its trailers, but for what is the protocol's or no metadata", () => {
  const metadata = new Headers({
    ...{ "x-own": "1", "x-bytes-bin": "AQI", "grpc-status": "0", "grpc-other": "x", "content-type": "text/plain" },
    ...{ te: "trailers", connection: "close", date: "now", "x-text": "caf\u00e9" },
  });
  expect(trailersOf(new ConnectError("no", Code.NotFound, metadata))).toEqual([
    ...["x-bytes-bin", "AQI", "x-own", "1"],
    ...["grpc-status", "5", "grpc-message", "no"],
  ]);
  const fields: string[] = [];
  pushMetadata(fields, new Headers({ "x-list": "a, b" }));
  expect(fields).toEqual(["x-list", "a, b"]);
});
