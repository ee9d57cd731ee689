import { fromBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { failure } from "../../src/errors.ts";
import { MsgDataSchema } from "../../src/gen/mustreach/openim/v1/gateway_pb.ts";
import { conversationId, unreachedNumber } from "../../src/openim/conversation.ts";
import type { Outlet } from "../../src/openim/delivery.ts";
import { GoDelivery } from "../../src/openim/go-delivery.ts";
import { JsDelivery } from "../../src/openim/js-delivery.ts";
import { encodeEvent } from "../../src/receiving/events.ts";
import { createTimerWheel } from "../../src/timer-wheel.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A device's connection that notes what it is asked for. */
function createOutlet() {
  const done: unknown[][] = [];
  const outlet: Outlet = {
    userId: "alice",
    timers: createTimerWheel(),
    push(conversation, messages) {
      const read = messages.map((message) => fromBinary(MsgDataSchema, message));
      const texts = read.map(({ seq, content }) => (content.length === 0 ? Number(seq) : dataOf(content)));
      done.push(["push", conversation.replace("n_mustreach_alice", "n"), ...texts]);
      return true;
    },
    ping: () => void done.push(["ping"]),
    subscribe: (after) => void done.push(["subscribe", after]),
    acknowledge: ({ sequence, epoch }) => void done.push(["acknowledge", sequence, epoch]),
    resume: () => void done.push(["resume"]),
    close: (why) => void done.push(["close", why]),
  };
  /** What it was asked for since the last time. */
  return { outlet, done: () => done.splice(0) };
}

function dataOf(content: Uint8Array): string {
  return JSON.parse(JSON.parse(Buffer.from(content).toString()).detail).data;
}

const notification = (sequence: number, epoch = "b", data = `${sequence}`) =>
  encodeEvent({ case: "notification", value: { sequence: BigInt(sequence), epoch, key: "k", data } });

const recall = (sequence: number) => encodeEvent({ case: "recall", value: { sequence: BigInt(sequence), epoch: "b" } });

describe("to the JavaScript SDK", () => {
  function start() {
    const { outlet, done } = createOutlet();
    const delivery = new JsDelivery(outlet);
    delivery.begin();
    expect(done()).toEqual([["subscribe", "cursor"]]);
    return { delivery, done };
  }

  test("the next ones are pushed when what came before has been read, and acknowledged 1.2 s after that", () => {
    const { delivery, done } = start();
    for (const sequence of [1, 2, 3]) delivery.write(notification(sequence));
    expect(done()).toEqual([["push", "n_b", "1"], ["ping"]]);
    delivery.onPong();
    expect(done()).toEqual([["push", "n_b", "2", "3"], ["ping"]]);
    vi.advanceTimersByTime(1_199);
    expect(done()).toEqual([]);
    vi.advanceTimersByTime(2);
    expect(done()).toEqual([["acknowledge", 1, "b"]]);
    delivery.onPong();
    vi.advanceTimersByTime(1_201);
    expect(done()).toEqual([["acknowledge", 3, "b"]]);
    vi.advanceTimersByTime(60_000);
    delivery.onPong();
    expect(done()).toEqual([]);
  });

  test("online pushes do not wait", () => {
    const { delivery, done } = start();
    delivery.write(notification(1));
    delivery.write(notification(0, "", "online"));
    expect(done()).toEqual([["push", "n_b", "1"], ["ping"], ["push", "n", "online"]]);
  });

  test("what there is no callback for is acknowledged in its turn", () => {
    const { delivery, done } = start();
    delivery.write(recall(1));
    delivery.write(notification(2));
    expect(done()).toEqual([["push", "n_b", "2"], ["ping"]]);
    vi.advanceTimersByTime(1_201);
    expect(done()).toEqual([["acknowledge", 1, "b"]]);
  });

  test("nothing of a connection that is over is acknowledged", () => {
    const { delivery, done } = start();
    delivery.write(notification(1));
    delivery.onPong();
    done();
    delivery.cancel();
    vi.advanceTimersByTime(60_000);
    delivery.write(notification(2));
    delivery.onPong();
    expect(done()).toEqual([]);
  });

  test("a planned end waits until what was pushed is acknowledged", () => {
    const { delivery, done } = start();
    delivery.write(notification(1));
    delivery.write(notification(2));
    delivery.end();
    delivery.write(notification(3));
    expect(done()).toEqual([["push", "n_b", "1"], ["ping"]]);
    delivery.onPong();
    vi.advanceTimersByTime(1_199);
    expect(done()).toEqual([]);
    vi.advanceTimersByTime(2);
    expect(done()).toEqual([
      ["acknowledge", 1, "b"],
      ["close", "again"],
    ]);
  });

  test("a planned end does not wait longer than 2.5 s", () => {
    const { delivery, done } = start();
    delivery.write(notification(1));
    delivery.stop();
    done();
    vi.advanceTimersByTime(2_499);
    expect(done()).toEqual([]);
    vi.advanceTimersByTime(2);
    expect(done()).toEqual([["close", "again"]]);
  });

  test.each([
    ["TokenKickedError", "kicked"],
    ["TokenExpiredError", "again"],
    ["ConnOverMaxNumLimit", "again"],
  ] as const)("the end of the session with %s is: %s", (name, why) => {
    const { delivery, done } = start();
    delivery.write(notification(1));
    done();
    delivery.end(failure(name, ""));
    delivery.stop();
    expect(done()).toEqual([["close", why]]);
  });

  test("the session waits while a mebibyte is held, and goes on", () => {
    const { delivery, done } = start();
    const large = "x".repeat(500_000);
    expect(delivery.write(notification(1, "b", large))).toBe(true);
    expect(delivery.write(notification(2, "b", large))).toBe(true);
    expect(delivery.write(notification(3, "b", large))).toBe(true);
    expect(delivery.write(notification(4, "b", large))).toBe(false);
    done();
    delivery.onPong();
    expect(done().map(([what]) => what)).toEqual(["push", "ping", "resume"]);
  });
});

describe("to the Go core", () => {
  const ask = (epoch: string) => ["push", `n_${epoch}`, unreachedNumber];
  const pull = (delivery: GoDelivery, epoch: string, begin: number, end = 0) =>
    delivery.pull(conversationId("alice", epoch), begin, end);

  function start(epochs: readonly string[] = ["b"]) {
    const { outlet, done } = createOutlet();
    const delivery = new GoDelivery(outlet, epochs);
    delivery.begin();
    return { delivery, done };
  }

  /** A device that has everything up to sequence 7. */
  function startAt7() {
    const started = start();
    expect(pull(started.delivery, "b", 7_001)).toBe("asked");
    started.done();
    return started;
  }

  test("it is asked for its number in the newest epoch, and goes on there", () => {
    const { delivery, done } = start(["a", "b"]);
    expect(done()).toEqual([ask("b")]);
    expect(pull(delivery, "b", 7_001)).toBe("asked");
    expect(done()).toEqual([["subscribe", { epoch: "b", sequence: 7 }]]);
  });

  test("without one there, it is asked for earlier epochs, and with none begins at the beginning", () => {
    const { delivery, done } = start(["", "a", "b"]);
    expect(pull(delivery, "b", 1)).toBe("asked");
    expect(pull(delivery, "a", 1)).toBe("asked");
    expect(done()).toEqual([ask("b"), ask("a"), ["push", "n", unreachedNumber]]);
    expect(pull(delivery, "", 1)).toBe("asked");
    expect(done()).toEqual([["subscribe", "beginning"]]);
  });

  test("of a store without epochs, it is asked for nothing", () => {
    expect(start([]).done()).toEqual([["subscribe", "beginning"]]);
  });

  test("it is asked again every 10 s until it answers", () => {
    const { done } = start();
    vi.advanceTimersByTime(9_999);
    expect(done()).toEqual([ask("b")]);
    vi.advanceTimersByTime(2);
    expect(done()).toEqual([ask("b")]);
    vi.advanceTimersByTime(10_001);
    expect(done()).toEqual([ask("b")]);
  });

  test("that it was asked twice, and answers twice, changes nothing", () => {
    const { delivery, done } = startAt7();
    expect(pull(delivery, "b", 7_001, unreachedNumber)).toBe("asked");
    delivery.write(notification(8));
    expect(pull(delivery, "b", 7_001, unreachedNumber)).toBe("asked");
    expect(pull(delivery, "b", 7_001, 8_000)).toHaveLength(1);
    expect(done()).toEqual([["push", "n_b", 8_000]]);
  });

  test("it is told of a number, pulls, and gets the next when it has read the answer", () => {
    const { delivery, done } = startAt7();
    for (const sequence of [8, 9, 12]) delivery.write(notification(sequence));
    expect(done()).toEqual([["push", "n_b", 8_000]]);
    expect(pull(delivery, "b", 7_001)).toHaveLength(1);
    delivery.onPong();
    expect(done()).toEqual([["push", "n_b", 12_000]]);
    // That it asks from there on says that it has what came before.
    expect(pull(delivery, "b", 8_001)).toHaveLength(2);
    expect(done()).toEqual([["acknowledge", 8, "b"]]);
    delivery.onPong();
    vi.advanceTimersByTime(1_201);
    expect(done()).toEqual([["acknowledge", 12, "b"]]);
  });

  test("it is told again every 10 s until it pulls", () => {
    const { delivery, done } = startAt7();
    delivery.write(notification(8));
    done();
    vi.advanceTimersByTime(10_001);
    expect(done()).toEqual([["push", "n_b", 8_000]]);
    pull(delivery, "b", 7_001);
    vi.advanceTimersByTime(60_000);
    expect(done()).toEqual([]);
  });

  test("an answer that it pulls again is given again", () => {
    const { delivery } = startAt7();
    delivery.write(notification(8));
    expect(pull(delivery, "b", 7_001)).toEqual(pull(delivery, "b", 7_001));
  });

  test.each([7_000, 7_002, 8_001, 1])("a pull from %i, where it is not, is astray", (begin) => {
    const { delivery } = startAt7();
    delivery.write(notification(8));
    expect(pull(delivery, "b", begin)).toBe("astray");
  });

  test("a pull while there is nothing to pull is astray, one of another conversation is answered with nothing", () => {
    const { delivery } = startAt7();
    expect(pull(delivery, "b", 7_001)).toBe("astray");
    expect(pull(delivery, "a", 1)).toBe("astray");
    expect(delivery.pull("n_imAdmin_alice", 1, 9)).toEqual([]);
    delivery.write(notification(8));
    expect(pull(delivery, "a", 1)).toBe("astray");
    expect(delivery.pull("si_a_b", 1, 9)).toEqual([]);
  });

  test("an answer that it has read after more than 8 s may have been given up on: the connection ends", () => {
    const { delivery, done } = startAt7();
    delivery.write(notification(8));
    pull(delivery, "b", 7_001);
    done();
    vi.advanceTimersByTime(8_001);
    delivery.onPong();
    vi.advanceTimersByTime(2_501);
    expect(done()).toEqual([["close", "again"]]);
  });

  test("one epoch comes after the other, each in its conversation", () => {
    const { delivery, done } = startAt7();
    delivery.write(notification(8));
    delivery.write(notification(9, "c"));
    pull(delivery, "b", 7_001);
    done();
    delivery.onPong();
    expect(done()).toEqual([["push", "n_c", 9_000]]);
    expect(pull(delivery, "c", 1)).toHaveLength(1);
  });

  test("eight batches begin at once, and then one each 400 ms", () => {
    const { delivery, done } = startAt7();
    let sequence = 7;
    const deliver = () => {
      delivery.write(notification(++sequence));
      const pulled = pull(delivery, "b", (sequence - 1) * 1_000 + 1);
      if (typeof pulled !== "string") delivery.onPong();
      return pulled;
    };
    for (let i = 0; i < 8; i++) expect(deliver()).toHaveLength(1);
    done();
    expect(deliver()).toBe("astray");
    delivery.write(notification(++sequence));
    vi.advanceTimersByTime(398);
    expect(done().filter(([what]) => what === "push")).toEqual([]);
    vi.advanceTimersByTime(4);
    expect(done().filter(([what]) => what === "push")).toEqual([["push", "n_b", sequence * 1_000]]);
  });
});
