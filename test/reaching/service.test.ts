import { create } from "@bufbuild/protobuf";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { callerKey } from "../../src/auth/caller.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { DeadLetterService } from "../../src/gen/mustreach/delivery/v1/dead_letter_pb.ts";
import { NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import type { DeadLetter } from "../../src/reaching/dead-letters.ts";
import type { ReplayRequest } from "../../src/reaching/replay.ts";
import { createDeadLetterService } from "../../src/reaching/service.ts";

const letters: readonly DeadLetter[] = [1, 2, 3].map((place) => ({
  id: `m-0-${place}`,
  partition: 0,
  sequence: place,
  storedAtMs: 1,
  userId: "ann",
  notification: create(NotificationSchema, { serverMsgId: "m", data: "hello", sequence: BigInt(place) }),
  expiresAtMs: undefined,
  isReported: false,
  attempts: 10,
  error: "HTTP 500",
  deadAtMs: 1_700_000_000_000,
  place: place * 10,
}));

/** The service over three dead letters, and the replays that it asked for. */
function openService({ isAdmin = true } = {}) {
  const replays: ReplayRequest[] = [];
  const service = createDeadLetterService({
    deadLetters: {
      async list(afterPlace, limit) {
        const following = letters.filter(({ place }) => place > afterPlace);
        return { letters: following.slice(0, limit), remaining: Math.max(0, following.length - limit) };
      },
    },
    async replay(request) {
      replays.push(request);
      return 2;
    },
  });
  const caller = { userId: "someone", platformId: 10, isAdmin, issuedAtMs: 0, expiresAtMs: 1e15 };
  const transport = createRouterTransport((router) => void router.service(DeadLetterService, service), {
    router: {
      requestGate: (context) => {
        context.values.set(callerKey, caller);
      },
    },
  });
  return { client: createClient(DeadLetterService, transport), replays };
}

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => 0,
    (error: unknown) => toErrorFacts(error).errCode,
  );

describe("ListDeadLetters", () => {
  test("answers every field", async () => {
    const { deadLetters, nextPageToken, remaining } = await openService().client.listDeadLetters({});
    expect(deadLetters).toHaveLength(3);
    expect(deadLetters[0]).toMatchObject({
      escalationId: "m-0-1",
      userId: "ann",
      notification: { serverMsgId: "m", data: "hello", sequence: 1n },
      attempts: 10,
      error: "HTTP 500",
      deadTime: 1_700_000_000_000n,
    });
    expect(nextPageToken).toBe("");
    expect(remaining).toBe(3);
  });

  test("pages to the end", async () => {
    const { client } = openService();
    const first = await client.listDeadLetters({ pageSize: 2 });
    expect(first.remaining).toBe(3);
    expect(first.nextPageToken).not.toBe("");
    const second = await client.listDeadLetters({ pageSize: 2, pageToken: first.nextPageToken });
    expect(second).toMatchObject({ nextPageToken: "", remaining: 1 });
    expect([...first.deadLetters, ...second.deadLetters].map(({ escalationId }) => escalationId)).toEqual(
      letters.map(({ id }) => id),
    );
  });

  test.each([{ pageSize: -1 }, { pageSize: 1_001 }, { pageToken: "x" }, { pageToken: "-1" }, { pageToken: "1e3" }])(
    "refuses %j with 1001",
    async (request) => {
      expect(await codeOf(openService().client.listDeadLetters(request))).toBe(1001);
    },
  );
});

describe("ReplayDeadLetters", () => {
  test("replays some or all, and tells how many", async () => {
    const { client, replays } = openService();
    expect(await client.replayDeadLetters({ all: true })).toMatchObject({ replayed: 2 });
    expect(await client.replayDeadLetters({ escalationIds: ["a", "b"] })).toMatchObject({ replayed: 2 });
    expect(replays).toEqual(["all", { escalationIds: ["a", "b"] }]);
  });

  test.each([
    ["neither ids nor all", {}],
    ["both", { all: true, escalationIds: ["a"] }],
    ["too many ids", { escalationIds: Array.from({ length: 1_001 }, (_, i) => String(i)) }],
  ])("refuses %s with 1001", async (_, request) => {
    const { client, replays } = openService();
    expect(await codeOf(client.replayDeadLetters(request))).toBe(1001);
    expect(replays).toEqual([]);
  });
});

test("only an admin may call, which is found out after the body is read", async () => {
  const { client, replays } = openService({ isAdmin: false });
  expect(await codeOf(client.listDeadLetters({}))).toBe(1002);
  expect(await codeOf(client.replayDeadLetters({ all: true }))).toBe(1002);
  expect(await codeOf(client.listDeadLetters({ pageSize: -1 }))).toBe(1001);
  expect(replays).toEqual([]);
});
