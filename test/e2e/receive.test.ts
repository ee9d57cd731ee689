import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { toErrorFacts } from "../../src/errors.ts";
import {
  DeliveryService,
  type ReceiveRequestSchema,
  type SubscribeResponse,
} from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { openSender, useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s" });
const openDevice = useDevices();

type Request = MessageInitShape<typeof ReceiveRequestSchema>["request"];

let users = 0;

const transports = {
  gRPC: () => createGrpcTransport({ baseUrl: server.url }),
  "Connect over HTTP/2": () => createConnectTransport({ baseUrl: server.url, httpVersion: "2" }),
};

/** A user, and streams of its devices. */
async function newUser(transport: ReturnType<typeof createGrpcTransport>) {
  const userId = `receiver-${++users}`;
  const token = await server.userToken(userId);
  const send = openSender(server.url, await server.adminToken());
  return {
    sendAll: async (all: readonly string[], level: 1 | 2 = 2) => {
      for (const data of all) await send({ to: userId, data, level });
    },
    subscribe: () => openDevice(server.url, token).subscribe(),
    receive(...first: Request[]) {
      const waiting = [...first];
      let wake = () => {};
      let isOver = false;
      async function* requests() {
        for (;;) {
          for (let request = waiting.shift(); request !== undefined; request = waiting.shift()) yield { request };
          if (isOver) return;
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
      const { receive } = createClient(DeliveryService, transport);
      const events = receive(requests(), { headers: { token } })[Symbol.asyncIterator]();
      /** Events as text: the data of notifications, else the case, or the code of the error. */
      const readEvents = async (isEnough: (texts: readonly string[], isHeartbeat: boolean) => boolean) => {
        const texts: string[] = [];
        for (;;) {
          const next: IteratorResult<SubscribeResponse> | number = await events
            .next()
            .catch((error: unknown) => toErrorFacts(error).errCode);
          if (typeof next === "number") return [...texts, String(next)];
          if (next.done === true) return [...texts, "end"];
          const { event } = next.value;
          if (event.case === "notification") sequences.push(event.value.sequence);
          if (event.case !== "heartbeat")
            texts.push(event.case === "notification" ? event.value.data : `${event.case}`);
          if (isEnough(texts, event.case === "heartbeat")) return texts;
        }
      };
      return {
        say(...more: Request[]) {
          waiting.push(...more);
          wake();
        },
        finish() {
          isOver = true;
          wake();
        },
        /** What comes next, up to a heartbeat after it. */
        read: (count: number) =>
          readEvents((texts, isHeartbeat) => texts.length === count || (isHeartbeat && texts.length > 0)),
        /** What comes until two heartbeats have. */
        readIdle() {
          let heartbeats = 0;
          return readEvents((_texts, isHeartbeat) => isHeartbeat && ++heartbeats === 2);
        },
      };
    },
  };
}

/** Of the notifications that were read, in this order. */
let sequences: bigint[] = [];

const subscribe = (window = 64): Request => ({ case: "subscribe", value: { deviceId: "phone", window } });
const acknowledge = (sequence = 0n): Request => ({ case: "acknowledge", value: { sequence } });
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));

describe.each(Object.entries(transports))("a device that receives by %s", (_, toTransport) => {
  const openUser = () => {
    sequences = [];
    return newUser(toTransport());
  };

  test("gets what is stored and what is pushed, and acknowledges in the same stream", async () => {
    const { sendAll, receive } = await openUser();
    await sendAll(numbers(1, 5));
    const { read, say } = receive(subscribe(2));
    expect(await read(9)).toEqual(["ready", "1", "2"]);
    say(acknowledge(sequences[0]), acknowledge(sequences[1]));
    expect(await read(9)).toEqual(["3", "4"]);
    await sendAll(["push"], 1);
    expect(await read(1)).toEqual(["push"]);
    say(acknowledge(sequences[3]));
    expect(await read(1)).toEqual(["5"]);
  });

  test("goes on in its next stream after what it acknowledged, and the older stream ends with 1506", async () => {
    const { sendAll, receive, subscribe: subscribeInstead } = await openUser();
    await sendAll(numbers(1, 3));
    const { read, say } = receive(subscribe());
    expect(await read(4)).toEqual(["ready", "1", "2", "3"]);
    say(acknowledge(sequences[1]));
    // It is recorded in the order of the stream: what is said after it is done after it.
    say({ case: "changeWindow", value: { window: 3 } });
    await sendAll(["4"]);
    expect(await read(1)).toEqual(["4"]);
    const next = await subscribeInstead();
    expect(await read(9)).toEqual(["1506"]);
    expect((await next.take(2)).map(({ data }) => data)).toEqual(["3", "4"]);
  });

  test("changes its window", async () => {
    const { sendAll, receive } = await openUser();
    await sendAll(numbers(1, 5));
    const { read, say } = receive(subscribe(1));
    expect(await read(9)).toEqual(["ready", "1"]);
    say({ case: "changeWindow", value: { window: 3 } });
    expect(await read(9)).toEqual(["2", "3"]);
    say({ case: "changeWindow", value: { window: 0 } });
    expect(await read(2)).toEqual(["4", "5"]);
  });

  test("pauses, and has everything when it goes on", async () => {
    const { sendAll, receive } = await openUser();
    const { read, say, readIdle } = receive(subscribe(), { case: "pause", value: { isPaused: true } });
    expect(await read(1)).toEqual(["ready"]);
    await sendAll(["1", "2"]);
    await sendAll(["push"], 1);
    expect(await readIdle()).toEqual([]);
    say({ case: "pause", value: {} });
    expect((await read(3)).toSorted()).toEqual(["1", "2", "push"]);
  });

  test("keeps its session when it says no more", async () => {
    const { sendAll, receive } = await openUser();
    const { read, finish } = receive(subscribe());
    expect(await read(1)).toEqual(["ready"]);
    finish();
    await sendAll(["1"]);
    expect(await read(1)).toEqual(["1"]);
  });

  test.each<[what: string, requests: Request[]]>([
    ["another first message than subscribe", [acknowledge(1n)]],
    ["a message of a kind that there is not", [{ case: undefined }]],
    ["a second subscribe", [subscribe(), subscribe()]],
    ["a window that is too large", [subscribe(1_001)]],
    ["a window that becomes too large", [subscribe(), { case: "changeWindow", value: { window: 1_001 } }]],
    ["an acknowledgement of 0", [subscribe(), acknowledge(0n)]],
    ["an acknowledgement of what was never assigned", [subscribe(), acknowledge(1_000_000n)]],
  ])("is refused %s, with 1001", async (_what, requests) => {
    const { read } = (await openUser()).receive(...requests);
    expect((await read(9)).filter((text) => text !== "ready")).toEqual(["1001"]);
  });

  test("is refused without a first message, with 1001", async () => {
    const { read, finish } = (await openUser()).receive();
    finish();
    expect(await read(9)).toEqual(["1001"]);
  });
});
