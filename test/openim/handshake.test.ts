import { describe, expect, test } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import { isAnswered, readHandshake, readParameters } from "../../src/openim/handshake.ts";

const go = "sendID=alice&token=t.o.k&platformID=2&operationID=op&isBackground=false&sdkVersion=3.8.0&compression=gzip";
const js = "sendID=alice&token=t.o.k&platformID=5&operationID=op&isBackground=false&isMsgResp=true&sdkType=js";

test("of the Go core", () => {
  const parameters = readParameters(`http://x/?${go}`);
  expect(readHandshake(parameters)).toEqual({
    ...{ sendId: "alice", token: "t.o.k", platformId: 2, operationId: "op" },
    ...{ sdk: "go", isCompressed: true, isAnswered: false },
  });
});

test("of the JavaScript SDK", () => {
  expect(readHandshake(readParameters(`http://x/any/path?${js}`))).toMatchObject({
    ...{ sdk: "js", isCompressed: false, isAnswered: true },
  });
});

describe("a value", () => {
  test.each([
    ["is what it says when it is not encoded", "a+b=c%", "a+b=c%"],
    ["is decoded when it is encoded", "a%2Bb%3Dc%25", "a+b=c%"],
    ["is UTF-8, also as bytes", Buffer.from("爱丽丝").toString("latin1"), "爱丽丝"],
    ["is UTF-8, encoded", encodeURIComponent("爱丽丝"), "爱丽丝"],
  ])("%s", (_, written, value) => {
    expect(readParameters(`http://x/?sendID=${written}&token=t`).get("sendID")).toBe(value);
  });
});

test.each(["sendID", "token", "platformID"])("without %s is refused", (name) => {
  const parameters = new Map([...readParameters(`http://x/?${go}`)].filter(([key]) => key !== name));
  try {
    readHandshake(parameters);
    expect.unreachable();
  } catch (error) {
    expect(toErrorFacts(error)).toEqual({ errCode: 1001, errMsg: "ArgsError", errDlt: `${name} is required` });
  }
});

test("also one that is refused says how it is to be told", () => {
  expect(isAnswered(readParameters("http://x/?isMsgResp=true"))).toBe(true);
  expect(isAnswered(readParameters("http://x/"))).toBe(false);
});
