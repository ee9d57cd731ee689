import { once } from "node:events";
import http2 from "node:http2";
import tls from "node:tls";
import { Client, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { describe, expect, onTestFinished, test } from "vitest";
import { createEngine } from "../../../src/http2/engine/engine.ts";
import type { Exchange } from "../../../src/http2/exchange.ts";
import { ask, until, useProtocol, useSession } from "../../helpers/http2-server.ts";
import { listen } from "../../helpers/listen.ts";

/** Of localhost, for tests alone. */
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg6M94l2t2AzJZ15pk
wkQBSGuhC1vlABYSeRfic47E9ImhRANCAARiF8Rxs3JLikSNKolkLnbs/4Pq0WFi
kewKY4rNLe/KyfM38JPhln5G5pzRmsk4w0bYdgpTuqvu7SE+m6dVMBk4
-----END PRIVATE KEY-----`;
const cert = `-----BEGIN CERTIFICATE-----
MIIBmjCCAUGgAwIBAgIUBbPx0s7r/RxZMEpeV2HsVHHh1ecwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyODEwMTE0OVoYDzIxMjYxMTA0
MTAxMTQ5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARiF8Rxs3JLikSNKolkLnbs/4Pq0WFikewKY4rNLe/KyfM38JPhln5G
5pzRmsk4w0bYdgpTuqvu7SE+m6dVMBk4o28wbTAdBgNVHQ4EFgQUgbfVBlYLMnAX
pf5p2/cCoylTQMcwHwYDVR0jBBgwFoAUgbfVBlYLMnAXpf5p2/cCoylTQMcwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDRwAwRAIgb9knzu+gJG7ndsFDk7WvUS59/4ak14v6Y54AJy9ZBmECICZJ
u48Qt35FVNGpc53VLLCuAZnQFOeDWwddmazXhmuM
-----END CERTIFICATE-----`;

const begun = [":status", "200", "content-type", "application/grpc"];
const same = (bytes: Buffer) => bytes;

/** A gRPC service: unary, with an error, and each message back in a stream. */
const serve = (exchange: Exchange) => {
  const chunks: Uint8Array[] = [];
  if (exchange.headers[":path"] === "/echo/Chat") exchange.respond(begun);
  return {
    onData: (bytes: Uint8Array) => {
      chunks.push(Uint8Array.from(bytes));
      if (exchange.headers[":path"] === "/echo/Chat") exchange.write(Uint8Array.from(bytes));
    },
    onEnd: () => {
      if (exchange.headers[":path"] === "/echo/Say")
        exchange.answer(begun, Buffer.concat(chunks), ["grpc-status", "0"]);
      else if (exchange.headers[":path"] === "/echo/Chat") exchange.end(["grpc-status", "0", "said", "all"]);
      else exchange.end([...begun, "grpc-status", "5", "grpc-message", "not here"]);
    },
  };
};

describe("grpc-js", () => {
  async function useClient() {
    const { port, exchanges } = await useProtocol(createEngine, serve);
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    onTestFinished(() => client.close());
    const say = (path: string, text: string) =>
      new Promise<string>((resolve, reject) =>
        client.makeUnaryRequest(path, same, same, Buffer.from(text), new Metadata(), (error, answer) =>
          error ? reject(error) : resolve(String(answer)),
        ),
      );
    return { client, say, exchanges };
  }

  test("makes 400 unary calls, many at once", async () => {
    const { say, exchanges } = await useClient();
    const texts = Array.from({ length: 400 }, (_, i) => `call ${i} ${"x".repeat(i * 10)}`);
    expect(await Promise.all(texts.map((text) => say("/echo/Say", text)))).toEqual(texts);
    await until(() => expect(exchanges.every(({ closes }) => closes[0] === true)).toBe(true));
  });

  test("is told of errors", async () => {
    const { say } = await useClient();
    const error = (await say("/echo/Nothing", "").catch((reason) => reason)) as ServiceError;
    expect(error).toMatchObject({ code: status.NOT_FOUND, details: "not here" });
  });

  test("talks in both directions, and cancels", async () => {
    const { client, exchanges } = await useClient();
    const chat = () => client.makeBidiStreamRequest("/echo/Chat", same, same, new Metadata());
    const call = chat();
    for (const text of ["one", "two", "three"]) {
      call.write(Buffer.from(text));
      expect(String((await once(call, "data"))[0])).toBe(text);
    }
    call.end();
    const [{ code, metadata }] = await once(call, "status");
    expect([code, metadata.get("said")]).toEqual([status.OK, ["all"]]);

    const cancelled = chat();
    cancelled.on("error", () => {});
    cancelled.write(Buffer.from("one"));
    await once(cancelled, "data");
    cancelled.cancel();
    await until(() => expect(exchanges[1]?.closes).toEqual([false]));
  });
});

describe("over TLS", () => {
  async function useTls() {
    const { protocol, exchanges } = await useProtocol(createEngine, (exchange, { body }) => ({
      onEnd: () => exchange.answer([":status", "200"], Buffer.from(body())),
    }));
    const server = tls.createServer({ key, cert, ALPNProtocols: ["h2"] }, (socket) => protocol.adopt(socket));
    const port = await listen(server);
    onTestFinished(() => void server.close());
    return { session: useSession(`https://localhost:${port}`, { ca: cert }), exchanges, protocol };
  }

  test("calls are answered, also with bodies larger than any window, and in many turns", async () => {
    const { session, exchanges } = await useTls();
    const text = "0123456789".repeat(300_000);
    expect((await ask(session, { ":method": "POST" }, text)).text).toBe(text);
    for (let i = 0; i < 20; i++) {
      const answers = await Promise.all([1, 2, 3].map((each) => ask(session, { ":method": "POST" }, `${i}-${each}`)));
      expect(answers.map((each) => each.text)).toEqual([1, 2, 3].map((each) => `${i}-${each}`));
    }
    await until(() => expect(exchanges.every(({ closes }) => closes[0] === true)).toBe(true));
  });

  test("drains", async () => {
    const { session, protocol } = await useTls();
    expect((await ask(session, { ":method": "POST" }, "body")).text).toBe("body");
    const goaway = once(session, "goaway");
    const closed = once(session, "close");
    protocol.drain();
    expect((await goaway)[0]).toBe(http2.constants.NGHTTP2_NO_ERROR);
    await closed;
  });
});
