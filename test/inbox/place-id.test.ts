import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toToken } from "../../src/broker/subjects.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { toEntry } from "../../src/inbox/items.ts";
import { inboxSubject, messageToken, recallToken } from "../../src/inbox/layout.ts";
import {
  drawRandom,
  maxPlacedSequence,
  notificationToken,
  parsePlaceId,
  placeIdsOf,
  placeToken,
  toPlaceIds,
} from "../../src/inbox/place-id.ts";
import { createId, createServerMsgId } from "../../src/sending/ids.ts";
import { readEntry } from "../helpers/frames.ts";
import { fuzz } from "../helpers/fuzz.ts";

const place = fc.record({
  partition: fc.integer({ min: 0, max: 255 }),
  sequence: fc.integer({ min: 1, max: maxPlacedSequence }),
  random: fc.constant(0).map(drawRandom),
});

describe("the ids of a place", () => {
  test("have OpenIM's documented form, differ, and lead back to it, each as what it is", () => {
    fc.assert(
      fc.property(place, (at) => {
        const { serverMsgId, clientMsgId } = toPlaceIds(at);
        for (const id of [serverMsgId, clientMsgId]) expect(id).toMatch(/^[0-9a-f]{32}$/);
        expect(parsePlaceId("server", serverMsgId)).toEqual(at);
        expect(parsePlaceId("client", clientMsgId)).toEqual(at);
        expect(parsePlaceId("server", clientMsgId)).toBeUndefined();
        expect(parsePlaceId("client", serverMsgId)).toBeUndefined();
      }),
      fuzz(100),
    );
  });

  test("are in the order of the sequences of a partition", () => {
    const ids = [1, 9, 10, 255, 256, 2 ** 32, maxPlacedSequence].map(
      (sequence) => toPlaceIds({ partition: 3, sequence, random: drawRandom() }).serverMsgId,
    );
    expect(ids).toEqual(ids.toSorted());
  });

  test("are those of its subject", () => {
    fc.assert(
      fc.property(place, fc.string({ minLength: 1 }), (at, userId) => {
        const subject = inboxSubject(at.partition, toToken(userId), 20_000, placeToken(at.random));
        expect(placeIdsOf(subject, at.sequence)).toEqual(toPlaceIds(at));
        expect(notificationToken(toPlaceIds(at).serverMsgId)).toBe(placeToken(at.random));
      }),
      fuzz(100),
    );
  });

  test("end with the 48 bits that they have for the sequence", () => {
    const at = { partition: 0, random: drawRandom() };
    expect(() => toPlaceIds({ ...at, sequence: maxPlacedSequence + 1 })).toThrow(RangeError);
  });
});

describe("a recorded id", () => {
  test("is no place, and what is stored under it has its ids inside", () => {
    for (const id of [createId(Date.now()), createServerMsgId(Date.now(), "order-77")]) {
      for (const kind of ["server", "client"] as const) expect(parsePlaceId(kind, id)).toBeUndefined();
      expect(notificationToken(id)).toBe(toToken(id));
      for (const token of [toToken(id), messageToken(id), recallToken(id)]) {
        expect(placeIdsOf(inboxSubject(0, toToken("ann"), 20_000, token), 7)).toBeUndefined();
      }
    }
  });

  test.each(["", "x", "0".repeat(12) + "8".repeat(19), `${"0".repeat(12)}8${"g".repeat(19)}`, "日".repeat(32)])(
    "of the caller's own that is like no place is none: %j",
    (id) => {
      for (const kind of ["server", "client"] as const) expect(parsePlaceId(kind, id)).toBeUndefined();
    },
  );
});

describe("a stored notification", () => {
  const read = (token: string, ids: object) => {
    const subject = inboxSubject(2, toToken("ann"), 20_000, token);
    const payload = toBinary(NotificationSchema, create(NotificationSchema, { data: "d", ...ids }));
    return readEntry(toEntry({ subject, sequence: 41, payload, timeMs: 0, header: () => "" }, "epoch"));
  };

  test("without ids is read with those of its place", () => {
    const random = drawRandom();
    const ids = toPlaceIds({ partition: 2, sequence: 41, random });
    expect(read(placeToken(random), {})).toMatchObject({
      notification: { data: "d", sequence: 41n, epoch: "epoch", ...ids },
    });
  });

  test("with ids is read with these", () => {
    const ids = { serverMsgId: createServerMsgId(1, "order-77"), clientMsgId: "order-77" };
    expect(read(toToken(ids.serverMsgId), ids)).toMatchObject({ notification: ids });
  });
});
