import { create } from "@bufbuild/protobuf";
import { pino } from "pino";
import { describe, expect, test } from "vitest";
import type { Broker } from "../../src/broker/connect.ts";
import type { DirectGet } from "../../src/broker/reads/direct-get.ts";
import { failure } from "../../src/errors.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Publisher } from "../../src/publishing/publish.ts";
import { createFanout, expand } from "../../src/sending/fan-out.ts";
import { laneOf, lanes } from "../../src/sending/layout.ts";
import { noCollapse } from "../helpers/tracking.ts";

const job = {
  items: [{ kind: "notification" as const, notification: create(NotificationSchema, { serverMsgId: "s1" }) }],
  groupId: "crew",
  groupVersion: 1,
  recvUserIds: [],
  operationId: "op",
};

/** An expansion of what was recalled, whose second recall ends with an error. */
function expandRecalled(error: unknown) {
  const written: string[] = [];
  const deps = {
    inbox: { writeMany: async (userIds: readonly string[]) => void written.push(...userIds) },
    recalls: { recalledAt: async () => 1 },
    membersAt: async () => ["alice", "bob"],
    collapsing: noCollapse,
    recallAgain: () => Promise.reject(error),
  };
  return { written, done: expand(deps, job, new AbortController().signal) };
}

test("groups that are numbered are spread over all lanes, and a group stays in its own", () => {
  const counts = new Map<number, number>();
  for (let i = 0; i < 1_000; i++) {
    const lane = laneOf({ groupId: `room-${i}`, recvUserIds: [] });
    expect(laneOf({ groupId: `room-${i}`, recvUserIds: [] })).toBe(lane);
    counts.set(lane, (counts.get(lane) ?? 0) + 1);
  }
  expect([...counts.keys()].toSorted((a, b) => a - b)).toEqual(Array.from({ length: lanes }, (_, lane) => lane));
  expect(Math.max(...counts.values())).toBeLessThan(2 * (1_000 / lanes));
  expect(new Set(Array.from({ length: 10 }, (_, i) => laneOf({ groupId: `group-${i}`, recvUserIds: [] }))).size).toBe(
    6,
  );
});

describe("the expansion of a send that was recalled", () => {
  test("is done when the record of the send is gone: there is nothing to recall", async () => {
    const { written, done } = expandRecalled(failure("RecordNotFoundError", "no such send"));
    await done;
    expect(written).toEqual([]);
  });

  test("is tried again when its recall fails", async () => {
    await expect(expandRecalled(failure("NetworkError", "away")).done).rejects.toThrow("away");
  });
});

describe("a job that is queued again", () => {
  /** A queue in which the subject is taken, and the job is done before anybody looks for it, so many times. */
  function queueAgain(doneTimes: number, reason: string) {
    const stored: string[] = [];
    const publisher = {
      async store(_: string, { subject }: { readonly subject: string }) {
        stored.push(subject);
        if (stored.length > doneTimes) return { kind: "stored", sequence: 1, followedAt: undefined };
        return { kind: "refused", errCode: 10_077, reason };
      },
    };
    const get = { last: async () => undefined };
    const log = pino({ level: "silent" });
    const fanout = createFanout({} as Broker, publisher as unknown as Publisher, get as unknown as DirectGet, log);
    return { stored, done: fanout.publish(job) };
  }

  test("and was done between two looks is queued once more", async () => {
    const { stored, done } = queueAgain(2, "maximum messages per subject exceeded");
    await done;
    expect(stored).toHaveLength(3);
  });

  test("is refused where there is no room for it", async () => {
    const { stored, done } = queueAgain(9, "maximum bytes exceeded");
    await expect(done).rejects.toThrow("full");
    expect(stored).toHaveLength(1);
  });
});
