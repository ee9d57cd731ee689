import { expect, test } from "vitest";
import { isFor, readAddressing, toAddressing, writeAddressing } from "../src/addressing.ts";

const only = { recvDeviceId: "phone", exceptDeviceId: "" };
const except = { recvDeviceId: "", exceptDeviceId: "phone" };

test("what is for one device, for all but one, or for all", () => {
  expect(["phone", "tablet"].filter((device) => isFor(only, device))).toEqual(["phone"]);
  expect(["phone", "tablet"].filter((device) => isFor(except, device))).toEqual(["tablet"]);
  expect(["phone", "tablet"].filter((device) => isFor(undefined, device))).toEqual(["phone", "tablet"]);
  expect(isFor({ recvDeviceId: "", exceptDeviceId: "" }, "phone")).toBe(true);
});

test.each(["phone", "only=phone", "日本 😀", 'a"b\u0020%25,=', "-"])("a header names the device %j", (device) => {
  for (const addressing of [
    { recvDeviceId: device, exceptDeviceId: "" },
    { recvDeviceId: "", exceptDeviceId: device },
  ]) {
    const header = writeAddressing(addressing);
    expect(header).toMatch(/^[!-~]+$/);
    expect(readAddressing(header)).toEqual(addressing);
    expect(toAddressing(addressing)).toEqual(addressing);
  }
});

test("what is for all has none", () => {
  expect(toAddressing({ recvDeviceId: "", exceptDeviceId: "" })).toBeUndefined();
  expect(readAddressing("")).toBeUndefined();
});
