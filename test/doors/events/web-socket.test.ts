import { createServiceImplSpec } from "@connectrpc/connect";
import { describe, expect, test, vi } from "vitest";
import type { FrameSink } from "../../../src/answers.ts";
import type { Gate } from "../../../src/auth/authenticate.ts";
import { findEventMethods } from "../../../src/doors/events/methods.ts";
import { createWebSocketDoor } from "../../../src/doors/events/web-socket.ts";
import { failure, toWireError } from "../../../src/errors.ts";
import { DeliveryService, type ReceiveRequest } from "../../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Timer } from "../../../src/timer-wheel.ts";
import type { WebSocketReceiver } from "../../../src/websocket/connection.ts";

/** A connection through the door whose other end is the test's. */
function connect({ gate = () => {} }: { gate?: Gate } = {}) {
  const taken: (string | undefined)[] = [];
  const sent: string[] = [];
  const closed: number[] = [];
  const log: string[] = [];
  const timers = new Map<Timer, number>();
  const cancel = vi.fn();
  const resume = vi.fn();
  let sink: FrameSink | undefined;
  const receive = () => ({
    pipe(given: FrameSink) {
      sink = given;
      const take = ({ request }: ReceiveRequest) => void taken.push(request.case);
      return { take, cancel, resume, finish() {} };
    },
  });
  const subscribe = receive;
  const services = [createServiceImplSpec(DeliveryService, { receive, subscribe, ack: () => ({}) } as never)];
  const fail = (thrown: unknown) => {
    log.push(toWireError(thrown).rawMessage);
    return toWireError(thrown);
  };
  const door = createWebSocketDoor({
    callLog: {
      begin: () => ({ open: () => void log.push("open"), succeed: () => void log.push("end"), fail }),
      refuse: (_, thrown) => fail(thrown),
    },
    gateOf: () => gate,
    timers: { set: (timer, ms) => void timers.set(timer, ms), clear: (timer) => void timers.delete(timer) },
    method: findEventMethods(services).receive,
  });
  let receiver: WebSocketReceiver | undefined;
  door.answer({
    headers: {},
    target: { path: "/ws", url: "http://localhost/ws", isHostBad: false },
    connection: { remoteAddress: "", isHttp2: false },
    refuse: () => expect.unreachable(),
    accept(open) {
      receiver = open({
        protocol: "",
        write(frame) {
          // After the header.
          sent.push(Buffer.from(frame).subarray(frame.indexOf(0x7b)).toString());
          return sent.length < 3;
        },
        ping() {},
        close(code) {
          closed.push(code);
          receiver?.onClose(undefined);
        },
      });
    },
  });
  if (receiver === undefined) throw new Error("it is not open");
  const say = (message: object) => receiver?.onText(JSON.stringify(message));
  return { receiver, say, taken, sent, closed, log, timers, cancel, resume, sink: () => sink };
}

describe("a WebSocket's device", () => {
  test("has 10 s to subscribe", () => {
    const { timers, sent, closed } = connect();
    const [[timer, ms] = []] = timers;
    expect(ms).toBe(10_000);
    timer?.owner.onTime();
    expect(JSON.parse(sent[0] ?? "")).toMatchObject({ error: { errCode: 1001 } });
    expect(closed).toEqual([4400]);
  });

  test("that has subscribed is not waited for any more", () => {
    const { timers, say, taken } = connect();
    say({ subscribe: {} });
    expect(taken).toEqual(["subscribe"]);
    expect(timers.size).toBe(0);
  });

  test("may send 16 messages before it is known, and no more", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { say, taken, closed, sent } = connect({ gate: () => promise });
    for (let i = 0; i < 16; i++) say(i === 0 ? { subscribe: {} } : { pause: {} });
    expect(closed).toEqual([]);
    say({ pause: {} });
    expect(closed).toEqual([4429]);
    expect(JSON.parse(sent[0] ?? "")).toMatchObject({ error: { errCode: 429, retryAfterMs: 1_000 } });
    resolve();
    await promise;
    expect(taken).toEqual([]);
  });

  test("that waits has its messages taken in order", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const { say, taken } = connect({ gate: () => promise });
    say({ subscribe: {} });
    say({ pause: {} });
    say({ changeWindow: {} });
    resolve();
    await promise;
    expect(taken).toEqual(["subscribe", "pause", "changeWindow"]);
    say({ acknowledge: { sequence: 1 } });
    expect(taken.at(-1)).toBe("acknowledge");
  });

  test("that is not let in is told why, and when to come again", () => {
    const { say, sent, closed } = connect({
      gate() {
        throw failure("ConnOverMaxNumLimit", "too many");
      },
    });
    say({ subscribe: {} });
    expect(JSON.parse(sent[0] ?? "")).toEqual({
      error: { errCode: 1601, errMsg: "ConnOverMaxNumLimit", errDlt: "too many", retryAfterMs: 5_000 },
    });
    expect(closed).toEqual([4429]);
  });

  test("that goes has its session cancelled, and one that was ended for a flood is in the log", () => {
    const gone = connect();
    gone.say({ subscribe: {} });
    gone.receiver.onClose(undefined);
    expect(gone.cancel).toHaveBeenCalledOnce();
    expect(gone.log).toEqual(["open", "the caller has gone"]);
    const flooding = connect();
    flooding.receiver.onClose("too many pings");
    expect(flooding.log).toEqual(["ArgsError: too many pings"]);
    expect(flooding.sent).toEqual([]);
  });

  test("that reads slowly holds up its session until there is room", () => {
    const { receiver, say, resume, sink } = connect();
    say({ subscribe: {} });
    const heartbeat = Buffer.of(0, 0, 0, 0, 2, 0x22, 0);
    expect([1, 2, 3].map(() => sink()?.write(heartbeat))).toEqual([true, true, false]);
    receiver.onDrain();
    expect(resume).toHaveBeenCalledOnce();
  });

  test("whose session ends as planned is closed with 1012", () => {
    const { say, closed, log, sink } = connect();
    say({ subscribe: {} });
    sink()?.end();
    expect(closed).toEqual([1012]);
    expect(log).toEqual(["open", "end"]);
  });
});
