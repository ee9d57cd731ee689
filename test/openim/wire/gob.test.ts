import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GobError, readGob } from "../../../src/openim/wire/gob-reader.ts";
import { compileGobWriter } from "../../../src/openim/wire/gob-writer.ts";

const fromHex = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));

/** What encoding/gob of Go 1.26 writes before a value of OpenIM's GeneralWsReq, and of its GeneralWsResp. */
const requestDefinition =
  "657f0301010c47656e6572616c577352657101ff80000106010d5265714964656e7469666965720104000105546f6b656e010c00010653656e644944010c00010b4f7065726174696f6e4944010c0001074d7367496e6372010c00010444617461010a000000";
const answerDefinition =
  "69ff810301010d47656e6572616c57735265737001ff82000106010d5265714964656e7469666965720104000107457272436f646501040001064572724d7367010c0001074d7367496e6372010c00010b4f7065726174696f6e4944010c00010444617461010a000000";

const writeAnswer = compileGobWriter("GeneralWsResp", {
  ReqIdentifier: "int",
  ErrCode: "int",
  ErrMsg: "string",
  MsgIncr: "string",
  OperationID: "string",
  Data: "bytes",
});

const nothing = { ErrCode: 0, ErrMsg: "", MsgIncr: "", OperationID: "", Data: new Uint8Array() };

describe("what Go has written", () => {
  test.each([
    [
      "a request with all that a client fills in",
      `${requestDefinition}22ff8001fe07d40205616c69636501046f702d310107616c6963655f31010301020300`,
      { ReqIdentifier: 1002, SendID: "alice", OperationID: "op-1", MsgIncr: "alice_1", Data: fromHex("010203") },
    ],
    [
      "text that is not ASCII, and no data",
      `${requestDefinition}1dff8001fe07d2020de788b1e4b8bde4b89df09f988001026f7001016d00`,
      { ReqIdentifier: 1001, SendID: "爱丽丝😀", OperationID: "op", MsgIncr: "m" },
    ],
    ["a value that is zero", `${requestDefinition}03ff8000`, {}],
    [
      "a number below zero, and lengths of two bytes",
      `${requestDefinition}fe0137ff8001fe025705fe012c${"ff".repeat(300)}00`,
      { ReqIdentifier: -300, Data: new Uint8Array(300).fill(255) },
    ],
    [
      "a struct with fields of other names and types",
      "48ff83030101054f7468657201ff84000106010141010600010142010200010143010800010444617461010a00010d5265714964656e74696669657201040001035a6564010c00000019ff840107010101fef83f01010501fa02000000000001017a00",
      { A: 7, B: true, C: 0xf83f, Data: fromHex("05"), ReqIdentifier: 2 ** 40, Zed: "z" },
    ],
  ])("%s", (_, hex, expected) => {
    expect(Object.fromEntries(readGob(fromHex(hex)))).toEqual(expected);
  });
});

describe("what Go would write, byte by byte", () => {
  test.each([
    [
      "a push",
      { ...nothing, ReqIdentifier: 2001, OperationID: "op-1", Data: fromHex("0908") },
      "11ff8201fe0fa204046f702d310102090800",
    ],
    [
      "an error",
      {
        ...nothing,
        ReqIdentifier: 1002,
        ErrCode: 1004,
        ErrMsg: "RecordNotFoundError",
        MsgIncr: "alice_2",
        OperationID: "op-2",
      },
      "2fff8201fe07d401fe07d801135265636f72644e6f74466f756e644572726f720107616c6963655f3201046f702d3200",
    ],
    [
      "data whose length takes three bytes",
      { ...nothing, ReqIdentifier: 2001, Data: new Uint8Array(70_000).fill(7) },
      `fd01117cff8201fe0fa205fd011170${"07".repeat(70_000)}00`,
    ],
  ])("%s", (_, answer, hex) => {
    expect(writeAnswer(answer).toString("hex")).toBe(answerDefinition + hex);
  });
});

test("what was written is read again", () => {
  const answers = fc.record({
    ReqIdentifier: fc.maxSafeInteger().filter((value) => Math.abs(value) < 2 ** 52),
    ErrCode: fc.integer(),
    ErrMsg: fc.string({ unit: "grapheme", maxLength: 9 }),
    MsgIncr: fc.string(),
    OperationID: fc.string(),
    Data: fc.uint8Array({ maxLength: 40 }),
  });
  fc.assert(
    fc.property(answers, (answer) => {
      const isThere = ([, value]: [string, number | string | Uint8Array]) =>
        typeof value === "number" ? value !== 0 : value.length > 0;
      const expected = Object.fromEntries(Object.entries(answer).filter(isThere));
      expect(Object.fromEntries(readGob(writeAnswer(answer)))).toEqual(expected);
    }),
  );
});

describe("refused", () => {
  test.each([
    ["nothing", ""],
    ["a length that nothing follows", "05"],
    ["a number of nine bytes", "f7010203040506070809"],
    ["a value without a definition", "03ff8000"],
    [
      "a struct in a struct",
      "2eff85030101064e657374656401ff86000102010d5265714964656e7469666965720104000102496e01ff8800000024ff8703010110737472756374207b204120696e74207d01ff88000101010141010400000009ff86010a0101060000",
    ],
    ["a map", "0eff89040102ff8a00010c0104000007ff8a0001016102"],
    ["a field beyond the definition", `${requestDefinition}05ff8009010100`],
    ["a struct that says it has 65 fields", "0a7f03010100010101410000"],
    ["text that is longer than the rest", `${requestDefinition}06ff8003ff7f00`],
  ])("%s", (_, hex) => {
    expect(() => readGob(fromHex(hex))).toThrow(GobError);
  });

  test("whatever it is, with an error and at once", () => {
    const tails = fc.uint8Array({ maxLength: 200 });
    const prefixes = fc.constantFrom("", requestDefinition, answerDefinition.slice(0, 60));
    fc.assert(
      fc.property(prefixes, tails, (prefix, tail) => {
        try {
          readGob(Buffer.concat([fromHex(prefix), tail]));
        } catch (error) {
          expect(error).toBeInstanceOf(GobError);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
