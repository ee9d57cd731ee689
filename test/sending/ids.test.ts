import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createId, createServerMsgId, keyOfClientMsgId, keyOfServerMsgId } from "../../src/sending/ids.ts";
import { fuzz } from "../helpers/fuzz.ts";

/** The largest time that fits 48 bits, in epoch milliseconds: the year 10889. */
const latestMs = 2 ** 48 - 1;

test("an id is OpenIM's documented 32 lower-case hex digits, at any time", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: latestMs }), (timeMs) => {
      expect(createId(timeMs)).toMatch(/^[0-9a-f]{32}$/);
    }),
    fuzz(100),
  );
});

test("ids of different milliseconds sort as their times do", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: latestMs - 1 }),
      fc.integer({ min: 1, max: 1_000_000 }),
      (timeMs, laterMs) => {
        expect(createId(timeMs) < createId(Math.min(timeMs + laterMs, latestMs))).toBe(true);
      },
    ),
    fuzz(100),
  );
});

test("an id says when it was made", () => {
  const timeMs = Date.parse("2026-01-02T03:04:05.678Z");
  expect(Number.parseInt(createId(timeMs).slice(0, 12), 16)).toBe(timeMs);
});

test("an id is a UUIDv7 (RFC 9562) without its dashes", () => {
  for (let n = 0; n < 100; n++) expect(createId(Date.now())).toMatch(/^.{12}7.{3}[89ab].{15}$/);
});

test("10,000 ids of one millisecond are all different", () => {
  const timeMs = Date.now();
  expect(new Set(Array.from({ length: 10_000 }, () => createId(timeMs))).size).toBe(10_000);
});

const clientMsgId = fc.string({ unit: "grapheme", minLength: 1, maxLength: 256 });
const timeMs = fc.integer({ min: 0, max: latestMs });

describe("the server's id", () => {
  test("has the documented form, and says when it was made", () => {
    fc.assert(
      fc.property(timeMs, clientMsgId, (time, id) => {
        const serverMsgId = createServerMsgId(time, id);
        expect(serverMsgId).toMatch(/^[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
        expect(Number.parseInt(serverMsgId.slice(0, 12), 16)).toBe(time);
      }),
      fuzz(100),
    );
  });

  test("leads to the same key as the client's, whenever it was made", () => {
    fc.assert(
      fc.property(timeMs, clientMsgId, (time, id) => {
        expect(keyOfServerMsgId(createServerMsgId(time, id))).toBe(keyOfClientMsgId(id));
      }),
      fuzz(100),
    );
  });

  test("leads to another key for another client's id", () => {
    const ids = Array.from({ length: 10_000 }, (_, n) => `order-${n}`);
    expect(new Set(ids.map(keyOfClientMsgId)).size).toBe(ids.length);
  });
});
