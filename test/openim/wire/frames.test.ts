import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { type Answer, createFrameCodec, maxInflatedBytes, maxRequestBytes } from "../../../src/openim/wire/frames.ts";
import { readGob } from "../../../src/openim/wire/gob-reader.ts";
import { compileGobWriter } from "../../../src/openim/wire/gob-writer.ts";

const js = createFrameCodec("js", false);
const go = createFrameCodec("go", true);

const answer: Answer = {
  reqIdentifier: 1002,
  errCode: 1004,
  errMsg: "RecordNotFoundError",
  msgIncr: "alice_2",
  operationID: "op-2",
  data: new Uint8Array([1, 2, 255]),
};

const writeRequest = compileGobWriter("Request", {
  Data: "bytes",
  MsgIncr: "string",
  OperationID: "string",
  SendID: "string",
  ReqIdentifier: "int",
});
const request = { reqIdentifier: 1002, sendID: "爱", operationID: "op", msgIncr: "1", data: new Uint8Array([9]) };
const gobRequest = writeRequest({
  ReqIdentifier: 1002,
  SendID: "爱",
  OperationID: "op",
  MsgIncr: "1",
  Data: new Uint8Array([9]),
});

function toJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

describe("of JavaScript", () => {
  test("an answer is JSON with its data in base64", async () => {
    const text = Buffer.from(await js.encode(answer)).toString();
    expect(text).toBe(
      '{"reqIdentifier":1002,"errCode":1004,"errMsg":"RecordNotFoundError","msgIncr":"alice_2","operationID":"op-2","data":"AQL/"}',
    );
  });

  test("a request is read", () => {
    const { data, ...rest } = js.decode(toJson({ ...request, token: "", data: "CQ==" }));
    expect({ ...rest, data: new Uint8Array(data) }).toEqual(request);
  });

  test.each([[{ reqIdentifier: 1006 }], [{ reqIdentifier: 1006, data: null }]])(
    "what is absent is empty: %j",
    (json) => {
      expect(js.decode(toJson(json))).toEqual({
        reqIdentifier: 1006,
        sendID: "",
        operationID: "",
        msgIncr: "",
        data: Buffer.alloc(0),
      });
    },
  );

  test.each([
    ["no JSON", Buffer.from("{")],
    ["no object", toJson([1])],
    ["no number", toJson({ ...request, data: "", reqIdentifier: "1006" })],
    ["a fraction", toJson({ ...request, data: "", reqIdentifier: 1.5 })],
    ["no base64", toJson({ ...request, data: "*" })],
  ])("refused: %s", (_, bytes) => {
    expect(() => js.decode(bytes)).toThrow();
  });
});

describe("of Go", () => {
  test("an answer is gob, gzipped as a whole", async () => {
    expect(Object.fromEntries(readGob(gunzipSync(await go.encode(answer))))).toEqual({
      ReqIdentifier: 1002,
      ErrCode: 1004,
      ErrMsg: "RecordNotFoundError",
      MsgIncr: "alice_2",
      OperationID: "op-2",
      Data: new Uint8Array([1, 2, 255]),
    });
  });

  test("a large answer is gzipped beside the event loop, and is the same", async () => {
    const data = new Uint8Array(500_000).map((_, i) => i % 251);
    const encoded = go.encode({ ...answer, data });
    expect(encoded).toBeInstanceOf(Promise);
    const read = readGob(gunzipSync(await encoded)).get("Data");
    expect(Buffer.from(data).equals(read as Uint8Array)).toBe(true);
  });

  test("a request is read by the names of its fields, whatever their order and the name of its type", () => {
    expect(go.decode(gzipSync(gobRequest))).toEqual(request);
  });

  test("one that did not ask for gzip is not gzipped", async () => {
    const plain = createFrameCodec("go", false);
    expect(plain.decode(gobRequest)).toEqual(request);
    expect(readGob(Buffer.from(await plain.encode(answer))).get("ErrCode")).toBe(1004);
  });

  test.each([
    ["what is not gzipped", gobRequest],
    ["what is no gob", gzipSync("{}")],
    ["what is cut off", gzipSync(gobRequest).subarray(0, -9)],
    ["a field of another type", gzipSync(compileGobWriter("R", { Data: "string" })({ Data: "x" }))],
    [
      "text where a number belongs",
      gzipSync(compileGobWriter("R", { ReqIdentifier: "string" })({ ReqIdentifier: "1" })),
    ],
    ["a number where text belongs", gzipSync(compileGobWriter("R", { SendID: "int" })({ SendID: 1 }))],
  ])("refused: %s", (_, bytes) => {
    expect(() => go.decode(bytes)).toThrow();
  });

  test("refused: what becomes larger than the bound, which is not inflated", () => {
    const bomb = gzipSync(Buffer.alloc(40_000_000));
    expect(bomb.length).toBeLessThan(maxRequestBytes);
    expect(() => go.decode(bomb)).toThrow(/larger than/);
  });

  test("what becomes as large as the bound is read", () => {
    const overhead = gobRequest.length + 20;
    const large = writeRequest({
      ReqIdentifier: 1,
      SendID: "",
      OperationID: "",
      MsgIncr: "",
      Data: new Uint8Array(maxInflatedBytes - overhead),
    });
    expect(go.decode(gzipSync(large)).data).toHaveLength(maxInflatedBytes - overhead);
  });
});
