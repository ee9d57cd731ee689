import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test, vi } from "vitest";
import { failure, toErrorFacts } from "../../src/errors.ts";
import { Durability, SendBusinessNotificationRequestSchema } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import { requireBatch, sendBatch } from "../../src/sending/batch.ts";
import type { Send } from "../../src/sending/send.ts";

type Item = MessageInitShape<typeof SendBusinessNotificationRequestSchema>;

const limits = { maxDataBytes: 100, retentionMs: 86_400_000, maxPayloadBytes: () => 1_048_576 };
const item = (recvUserId: string, data: string, change: Item = {}) =>
  create(SendBusinessNotificationRequestSchema, {
    sendUserId: "imAdmin",
    recvUserId,
    key: "k",
    data,
    reliabilityLevel: 2,
    ...change,
  });
const accepted = (clientMsgId: string) => ({
  serverMsgId: `server's of ${clientMsgId}`,
  clientMsgId,
  sendTime: 1,
  durability: Durability.FSYNCED,
});

/** A batch over a send that takes a turn of the event loop or more, and what it was called with. */
function useBatch(answer: (data: string) => Promise<void> | void = () => {}) {
  const started: string[] = [];
  const log = { error: vi.fn() };
  let running = 0;
  const most = { running: 0 };
  const send: Send = async ({ data, clientMsgId }) => {
    started.push(data);
    most.running = Math.max(most.running, ++running);
    for (let turns = Math.floor(Math.random() * 5); turns >= 0; turns--) await new Promise(setImmediate);
    running--;
    await answer(data);
    return accepted(clientMsgId || data);
  };
  const batch = (requests: Parameters<typeof sendBatch>[1], operationId: string) =>
    sendBatch({ send, limits, log }, requests, operationId);
  return { batch, started, most, log };
}

test.each([0, 1_001])("a batch of %i is refused with 1001", (length) => {
  expect(() => requireBatch(Array.from({ length }))).toThrow(/1 to 1000/);
});

test.each([1, 1_000])("a batch of %i is taken", (length) => {
  expect(requireBatch(Array.from({ length }))).toHaveLength(length);
});

test("each notification has its result, in the order of the request", async () => {
  const { batch } = useBatch();
  const requests = Array.from({ length: 1_000 }, (_, i) => item(`user ${i % 300}`, String(i)));
  const outcomes = await batch(requests, "test");
  expect(outcomes).toEqual(requests.map(({ data = "" }) => ({ kind: "accepted", accepted: accepted(data) })));
});

test("what goes to one recipient is sent in the order of the request, one after the other", async () => {
  const { batch, started } = useBatch();
  const requests = Array.from({ length: 300 }, (_, i) =>
    item(`user ${i % 7}`, `${i % 7}/${String(i).padStart(3, "0")}`),
  );
  await batch(requests, "test");
  for (let user = 0; user < 7; user++) {
    const ofUser = started.filter((data) => data.startsWith(`${user}/`));
    expect(ofUser).toEqual(ofUser.toSorted());
    expect(ofUser.length).toBeGreaterThan(40);
  }
});

test("a user and a group of one id are two recipients", async () => {
  let release = () => {};
  const first = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { batch } = useBatch((data) => (data === "to the user" ? first : release()));
  const outcomes = await batch([item("x", "to the user"), item("", "to the group", { recvGroupId: "x" })], "test");
  expect(outcomes.map(({ kind }) => kind)).toEqual(["accepted", "accepted"]);
});

test("different recipients are sent to at the same time, 64 at most", async () => {
  const { batch, most } = useBatch();
  await batch(
    Array.from({ length: 1_000 }, (_, i) => item(`user ${i}`, String(i))),
    "test",
  );
  expect(most.running).toBe(64);
});

describe("a failure", () => {
  test("of one notification does not concern the others, also to the same recipient", async () => {
    const { batch, started } = useBatch((data) => {
      if (data === "taken") throw failure("DuplicateKeyError", "clientMsgID was used before");
    });
    const outcomes = await batch(
      [item("ann", "1"), item("ann", "2", { key: "" }), item("ann", "taken"), item("ann", "3"), item("", "4")],
      "test",
    );
    expect(outcomes).toEqual([
      { kind: "accepted", accepted: accepted("1") },
      { kind: "refused", facts: { errCode: 1001, errMsg: "ArgsError", errDlt: expect.stringContaining("key") } },
      {
        kind: "refused",
        facts: { errCode: 1003, errMsg: "DuplicateKeyError", errDlt: "clientMsgID was used before" },
      },
      { kind: "accepted", accepted: accepted("3") },
      { kind: "refused", facts: expect.objectContaining({ errCode: 1001 }) },
    ]);
    expect(started).toEqual(["1", "taken", "3"]);
  });

  test("of the broker keeps later ones to that recipient from overtaking it, and only those", async () => {
    const { batch, started } = useBatch((data) => {
      if (data === "lost") throw failure("NetworkError", "the broker did not acknowledge");
    });
    const outcomes = await batch(
      [item("ann", "1"), item("ann", "lost"), item("bob", "2"), item("ann", "3"), item("bob", "4"), item("ann", "5")],
      "test",
    );
    expect(outcomes.map((outcome) => (outcome.kind === "accepted" ? 0 : outcome.facts.errCode))).toEqual([
      0, 90004, 0, 90004, 0, 90004,
    ]);
    expect(outcomes[3]).toMatchObject({ facts: { errDlt: expect.stringMatching(/not tried.*90004/) } });
    expect(started.toSorted()).toEqual(["1", "2", "4", "lost"]);
  });

  test.each([
    ["NetworkError", true],
    ["ServerStoppingError", true],
    ["TooManyRequestsError", true],
    ["ServerInternalError", false],
    ["StoreFullError", false],
    ["BrokerRefusedError", false],
    ["DuplicateKeyError", false],
  ] as const)("with %s holds up what follows: %s", async (name, isHeldUp) => {
    const { batch, started } = useBatch((data) => {
      if (data === "fails") throw failure(name, "no");
    });
    const outcomes = await batch([item("ann", "fails"), item("ann", "next")], "test");
    expect(started).toEqual(isHeldUp ? ["fails"] : ["fails", "next"]);
    expect(outcomes[1]?.kind).toBe(isHeldUp ? "refused" : "accepted");
  });

  test("of ours is 500 without details, and is logged", async () => {
    const { batch, log } = useBatch((data) => {
      if (data === "bug") throw new TypeError("secret inside");
    });
    const [outcome, next] = await batch([item("ann", "bug"), item("ann", "1")], "test");
    expect(outcome).toEqual({ kind: "refused", facts: toErrorFacts(new Error()) });
    expect(JSON.stringify(outcome)).not.toContain("secret");
    expect(next?.kind).toBe("accepted");
    expect(log.error).toHaveBeenCalledOnce();
  });
});
