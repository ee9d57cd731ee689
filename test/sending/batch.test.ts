import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { describe, expect, test, vi } from "vitest";
import { failure, toErrorFacts } from "../../src/errors.ts";
import { Durability, SendBusinessNotificationRequestSchema } from "../../src/gen/mustreach/msg/v1/msg_pb.ts";
import type { Unit, UnitStored } from "../../src/publishing/in-order.ts";
import { requireBatch, sendBatch } from "../../src/sending/batch.ts";
import type { Send } from "../../src/sending/send.ts";
import type { ValidSend } from "../../src/sending/validate.ts";

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
    sendBatch(
      { send, begin: () => undefined, storeInOrder: async () => [], limits, allow: () => {}, log },
      requests,
      operationId,
    );
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

describe("stored together", () => {
  /** A batch in which key `t` can be, and what was stored together and what alone. */
  function useTogether(outcomeOf: (data: string) => UnitStored, failing: (data: string) => boolean = () => false) {
    const together: string[] = [];
    const alone: string[] = [];
    const answerAlone = async (data: string) => {
      alone.push(data);
      if (failing(data)) throw failure("NetworkError", "lost");
      return accepted(data);
    };
    const begin = ({ key, data }: ValidSend) => {
      if (key !== "t") return undefined;
      const unit: Unit = { stream: data, writes: [] };
      const stored = async (sequence: number) => {
        if (failing(data)) throw failure("NetworkError", "lost");
        return { ...accepted(data), sendTime: sequence };
      };
      return { unit, stored, alone: () => answerAlone(data) };
    };
    const storeInOrder = async (units: readonly Unit[]) => {
      // Nothing is sent alone before.
      expect(alone).toEqual([]);
      together.push(...units.map(({ stream }) => stream));
      return units.map(({ stream }) => outcomeOf(stream));
    };
    const deps = {
      send: ({ data }: ValidSend) => answerAlone(data),
      begin,
      storeInOrder,
      limits,
      allow: () => {},
      log: { error: vi.fn() },
    };
    const batch = (requests: Parameters<typeof sendBatch>[1]) => sendBatch(deps, requests, "test");
    return { batch, together, alone };
  }
  const t = (recvUserId: string, data: string, change: Item = {}) => item(recvUserId, data, { key: "t", ...change });
  const storedAt = (data: string) => ({ kind: "stored", sequence: Number(data) }) as const;
  const at = (data: string) => ({ kind: "accepted", accepted: { ...accepted(data), sendTime: Number(data) } });
  const codes = (outcomes: Awaited<ReturnType<typeof sendBatch>>) =>
    outcomes.map((outcome) => (outcome.kind === "accepted" ? 0 : outcome.facts.errCode));

  test("are all that can be, in the order of the request, with an outcome each", async () => {
    const { batch, together, alone } = useTogether(storedAt);
    const outcomes = await batch([t("bob", "1"), t("ann", "2"), item("cat", "3"), t("bob", "4"), t("", "5")]);
    expect(together).toEqual(["1", "2", "4"]);
    expect(alone).toEqual(["3"]);
    expect(outcomes.slice(0, 4)).toEqual([at("1"), at("2"), { kind: "accepted", accepted: accepted("3") }, at("4")]);
    expect(codes(outcomes)).toEqual([0, 0, 0, 0, 1001]);
  });

  test("is nothing to a recipient behind one that cannot be", async () => {
    const { batch, together, alone } = useTogether(storedAt);
    await batch([t("ann", "1"), item("ann", "2"), t("ann", "3"), t("bob", "4"), t("ann", "5")]);
    expect(together).toEqual(["1", "4"]);
    expect(alone).toEqual(["2", "3", "5"]);
  });

  test("is no second one of an id, and nothing behind it", async () => {
    const { batch, together, alone } = useTogether(storedAt);
    const own = { clientMsgId: "x" };
    await batch([t("ann", "1", own), t("ann", "2"), t("ann", "3", own), t("ann", "4"), t("bob", "5", own)]);
    expect(together).toEqual(["1", "2"]);
    expect(alone.filter((data) => data !== "5")).toEqual(["3", "4"]);
  });

  test("where that was refused, each is sent alone, in order, until one fails", async () => {
    const { batch, alone } = useTogether(
      (data) => (data === "1" ? storedAt(data) : { kind: "alone" }),
      (data) => data === "3",
    );
    const outcomes = await batch(["1", "2", "3", "4", "5"].map((data) => t("ann", data)));
    expect(alone).toEqual(["2", "3"]);
    expect(codes(outcomes)).toEqual([0, 0, 90004, 90004, 90004]);
    expect(outcomes[4]).toMatchObject({ facts: { errDlt: expect.stringMatching(/not tried.*90004/) } });
  });

  test("and not answered, they fail, and what follows to the same recipients is not tried", async () => {
    const error = failure("NetworkError", "away");
    const { batch, alone } = useTogether((data) => (data === "1" ? { kind: "failed", error } : storedAt(data)));
    const outcomes = await batch([t("ann", "1"), t("bob", "2"), item("ann", "3"), item("bob", "4")]);
    expect(codes(outcomes)).toEqual([90004, 0, 90004, 0]);
    expect(alone).toEqual(["4"]);
  });

  test("each has its own outcome, also behind one whose end has failed", async () => {
    const { batch } = useTogether(storedAt, (data) => data === "1");
    expect(codes(await batch([t("ann", "1"), t("ann", "2"), item("ann", "3")]))).toEqual([90004, 0, 90004]);
  });
});
