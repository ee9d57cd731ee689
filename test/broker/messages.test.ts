import { ClosedConnectionError, InvalidArgumentError, InvalidSubjectError, type Msg } from "@nats-io/transport-node";
import { expect, test, vi } from "vitest";
import { type Message, sendMessages } from "../../src/broker/messages.ts";
import { useBroker } from "../helpers/broker.ts";

const server = useBroker();

const message = (change: Partial<Message> = {}): Message => ({
  ...{ subject: "to.one", payload: Buffer.from("hello"), headers: "" },
  ...change,
});

async function listen() {
  const connection = await server.connect();
  const got: Msg[] = [];
  connection.subscribe("to.>", { callback: (_, msg) => void got.push(msg) });
  await connection.flush();
  return { connection, got };
}

test("messages arrive as they are, in their order, and the last asks for an answer", async () => {
  const { connection, got } = await listen();
  const messages = [
    message(),
    message({
      subject: "to.two",
      headers: "A: 1\r\nB: 日本 😀\r\n",
      payload: Buffer.from("日本\r\n\r\nHPUB to.three 0 0\r\n"),
    }),
    message({ payload: new Uint8Array(), headers: "A: 2\r\n" }),
    message({ subject: "to.日本", payload: Buffer.alloc(300_000, 7) }),
    message({ subject: "to.last" }),
  ];
  sendMessages(connection, messages, "the.answer");
  await vi.waitFor(() => expect(got).toHaveLength(messages.length));
  expect(got.map(({ subject, reply }) => [subject, reply])).toEqual([
    ...messages.slice(0, -1).map(({ subject }) => [subject, ""]),
    ["to.last", "the.answer"],
  ]);
  for (const [i, msg] of got.entries())
    expect(Buffer.from(msg.data).equals(messages[i]?.payload ?? Buffer.of())).toBe(true);
  expect(got.map(({ headers }) => [headers?.get("A") ?? "", headers?.get("B") ?? ""])).toEqual([
    ["", ""],
    ["1", "日本 😀"],
    ["2", ""],
    ["", ""],
    ["", ""],
  ]);
});

test("none of them is answered where nobody waits for it", async () => {
  const { connection, got } = await listen();
  sendMessages(connection, [message(), message({ subject: "to.last", headers: "A: 1\r\n" })]);
  await vi.waitFor(() => expect(got).toHaveLength(2));
  expect(got.map(({ subject, reply }) => [subject, reply])).toEqual([
    ["to.one", ""],
    ["to.last", ""],
  ]);
});

test("nothing is sent where one is too large, or has no subject", async () => {
  const { connection, got } = await listen();
  const tooLarge = message({ payload: Buffer.alloc((connection.info?.max_payload ?? 0) - 5), headers: "A: 1\r\n" });
  expect(() => sendMessages(connection, [message(), tooLarge], "r")).toThrow(InvalidArgumentError);
  expect(() => sendMessages(connection, [message(), tooLarge], "r")).toThrow("max_payload");
  for (const subject of ["", "to.a b", "to.a\r\nPUB to.b 0\r\n"]) {
    expect(() => sendMessages(connection, [message(), message({ subject })], "r")).toThrow(InvalidSubjectError);
  }
  sendMessages(connection, [message({ subject: "to.last" })], "r");
  await vi.waitFor(() => expect(got).toHaveLength(1));
  expect(got[0]?.subject).toBe("to.last");
});

test("a connection that is closed takes none", async () => {
  const { connection } = await listen();
  await connection.drain();
  expect(() => sendMessages(connection, [message()], "r")).toThrow(ClosedConnectionError);
});
