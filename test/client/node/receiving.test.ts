import { once } from "node:events";
import { createServer as createHttp2Server } from "node:http2";
import { connect, createServer, type Socket } from "node:net";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { createClient } from "../../../src/client/index.ts";
import { failure } from "../../../src/errors.ts";
import { listen } from "../../helpers/listen.ts";
import { useClient, useFakeService } from "../fake-service.ts";

const soon = { timeout: 10_000, interval: 2 };

const told = vi.hoisted(() => [] as string[]);
vi.mock("node:util", async (original) => ({
  ...(await original<typeof import("node:util")>()),
  debuglog: () => (format: string) => void told.push(format),
}));

/** A way to a service whose connections can fall silent: nothing comes through any more, and none ends. */
async function useSilencer(servicePort: number) {
  const connections: { isSilent: boolean; readonly sockets: readonly Socket[] }[] = [];
  const server = createServer((near) => {
    const far = connect(servicePort, "127.0.0.1");
    const connection = { isSilent: false, sockets: [near, far] };
    connections.push(connection);
    const forward = (from: Socket, to: Socket) => {
      from.on("data", (chunk) => connection.isSilent || to.write(chunk));
      from.on("end", () => connection.isSilent || to.end());
      from.on("error", () => {});
    };
    forward(near, far);
    forward(far, near);
  });
  const port = await listen(server);
  onTestFinished(() => {
    server.close();
    for (const socket of connections.flatMap(({ sockets }) => sockets)) socket.destroy();
  });
  return {
    baseUrl: `http://127.0.0.1:${port}`,
    /** Silences the connections that are open; later ones get through. */
    silence() {
      for (const connection of connections) connection.isSilent = true;
    },
  };
}

describe("acknowledgements in the stream", () => {
  test("are one for all that was handled in a turn of the event loop", async () => {
    const service = await useFakeService("Receive");
    const client = useClient(service);
    const gate = Promise.withResolvers<void>();
    let handled = 0;
    client.onRecvCustomBusinessMessage(async () => {
      if (handled === 0) await gate.promise;
      handled++;
    });
    void client.connect();
    const session = await service.session();
    session.ready();
    for (let sequence = 1n; sequence <= 60n; sequence++) session.notify(sequence);
    session.send({ case: "heartbeat", value: { droppedOnlinePushes: 1n } });
    await vi.waitFor(() => expect(client.droppedOnlinePushes()).toBe(1), soon);
    gate.resolve();
    await service.acked(60n);
    expect(handled).toBe(60);
    expect(service.acks.map(({ sequence }) => sequence)).toEqual([60n]);
    expect(session.said).toEqual([]);
  });

  test("that are refused end the stream, and go into the next one", async () => {
    const service = await useFakeService("Receive");
    const errors: unknown[] = [];
    const client = useClient(service, { onError: (error) => errors.push(error) });
    client.onRecvCustomBusinessMessage(() => {});
    let attempts = 0;
    service.onAck = () => {
      if (++attempts === 1) throw failure("NetworkError", "the broker is away");
    };
    void client.connect();
    const first = await service.session();
    first.ready();
    first.notify(1n);
    const second = await service.session();
    expect(second.request.afterSequence).toBe(1n);
    second.ready();
    await service.acked(1n);
    expect(errors).toMatchObject([{ errCode: 90004, errDlt: "the broker is away" }]);
  });

  test("go by a call while there is no stream", async () => {
    const service = await useFakeService("Receive");
    const client = useClient(service, { reconnect: { minDelayMs: 60_000 } });
    const gate = Promise.withResolvers<void>();
    client.onRecvCustomBusinessMessage(() => gate.promise);
    void client.connect();
    const session = await service.session();
    session.ready();
    session.notify(1n);
    session.end();
    await vi.waitFor(() => expect(client.status()).toBe("waiting"), soon);
    gate.resolve();
    await service.acked(1n);
  });
});

test("a client that closes wants nothing more while its listener is busy", async () => {
  const service = await useFakeService("Receive");
  const client = useClient(service);
  const gate = Promise.withResolvers<void>();
  client.onRecvCustomBusinessMessage(() => gate.promise);
  const connecting = client.connect();
  const session = await service.session();
  session.ready();
  await connecting;
  session.notify(1n);
  session.send({ case: "heartbeat", value: { droppedOnlinePushes: 1n } });
  await vi.waitFor(() => expect(client.droppedOnlinePushes()).toBe(1), soon);
  const closing = client.close();
  await vi.waitFor(() => expect(session.said).toMatchObject([{ case: "pause", value: { isPaused: true } }]), soon);
  gate.resolve();
  await closing;
  expect(service.acks.map(({ sequence }) => sequence)).toEqual([1n]);
});

describe("the window", () => {
  test("grows for listeners that keep up", async () => {
    // All of it is handled within a second.
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const service = await useFakeService("Receive");
    const client = useClient(service);
    client.onRecvCustomBusinessMessage(() => {});
    void client.connect();
    const session = await service.session();
    expect(session.request.window).toBe(0);
    session.ready();
    for (let sequence = 1n; sequence <= 64n; sequence++) session.notify(sequence);
    await vi.waitFor(() => {
      expect(session.said).toMatchObject([{ case: "changeWindow", value: { window: 256 } }]);
    }, soon);
  });

  test("is what the client was created with", async () => {
    const service = await useFakeService("Receive");
    const client = useClient(service, { window: 64 });
    client.onRecvCustomBusinessMessage(() => {});
    void client.connect();
    const session = await service.session();
    session.ready();
    for (let sequence = 1n; sequence <= 640n; sequence++) session.notify(sequence);
    await service.acked(640n);
    expect(session.said).toEqual([]);
  });
});

describe("where Receive cannot begin", () => {
  test("the client subscribes, says so once for debugging, and does not try it again", async () => {
    const service = await useFakeService("Subscribe");
    const errors: unknown[] = [];
    const client = useClient(service, { onError: (error) => errors.push(error) });
    client.onRecvCustomBusinessMessage(() => {});
    told.length = 0;
    let connections = 0;
    service.onConnection = () => connections++;
    const connecting = client.connect();
    const first = await service.session();
    first.ready();
    await connecting;
    first.notify(1n);
    await service.acked(1n);
    const before = connections;
    first.end();
    (await service.session()).ready();
    await vi.waitFor(() => expect(client.status()).toBe("ready"), soon);
    expect(errors).toEqual([]);
    expect(told).toEqual(["%s: by Subscribe and Ack, since Receive cannot begin: %s"]);
    // At most the one of the stream: none was for HTTP/2.
    expect(connections - before).toBeLessThan(2);
  });

  test("a service that does not know the method is subscribed to, and asked again after ten minutes", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const service = await useFakeService("Receive");
    let attempts = 0;
    service.onReceive = () => {
      attempts++;
      throw new ConnectError("no such method", Code.Unimplemented);
    };
    const client = useClient(service);
    client.onRecvCustomBusinessMessage(() => {});
    void client.connect();
    for (const [sequence, attempted, passedMs] of [
      [1n, 1, 500_000],
      [2n, 1, 200_000],
      [3n, 2, 0],
    ] as const) {
      const session = await service.session();
      session.ready();
      session.notify(sequence);
      await service.acked(sequence);
      expect(attempts).toBe(attempted);
      vi.setSystemTime(Date.now() + passedMs);
      session.end();
    }
  });

  test("for a service that is just coming back, it is tried again with the next session", async () => {
    const service = await useFakeService("Receive");
    let attempts = 0;
    service.onReceive = () => {
      if (++attempts === 1) throw new ConnectError("no connection", Code.Unavailable);
    };
    const client = useClient(service);
    const connecting = client.connect();
    const first = await service.session();
    first.ready();
    await connecting;
    first.end();
    (await service.session()).ready();
    await vi.waitFor(() => expect(client.status()).toBe("ready"), soon);
    expect(attempts).toBe(2);
  });

  test("what keeps back what the device says is given up after 3 s", async () => {
    const service = await useFakeService("Receive");
    service.onReceive = (left) => once(left, "abort");
    const client = useClient(service);
    const connecting = client.connect();
    const session = await service.session();
    session.ready();
    await connecting;
    expect(service.opened()).toBe(1);
  });

  test("an error of the service itself is its answer", async () => {
    const service = await useFakeService("Receive");
    const client = useClient(service);
    const connecting = client.connect();
    (await service.session()).end(failure("TokenKickedError", "logged out"));
    await expect(connecting).rejects.toMatchObject({ errCode: 1506, errDlt: "logged out" });
    expect(service.opened()).toBe(1);
  });
});

test("a connection that has died without an end is given up, and the next session has one of its own", async () => {
  const service = await useFakeService("Receive");
  const { baseUrl, silence } = await useSilencer(Number(new URL(service.baseUrl).port));
  const errors: unknown[] = [];
  const client = useClient(service, { baseUrl, idleTimeoutMs: 1_000, onError: (error) => errors.push(error) });
  client.onRecvCustomBusinessMessage(() => {});
  const connecting = client.connect();
  const first = await service.session();
  first.ready();
  await connecting;
  first.notify(1n);
  await service.acked(1n);
  service.acks.length = 0;
  silence();
  const second = await service.session();
  second.ready();
  // What went into the dead one may be lost.
  await service.acked(1n);
  expect(errors[0]).toMatchObject({ errCode: 90004, errDlt: "nothing was heard for 1000 ms" });
});

test("a megabyte may be on its way here", async () => {
  const server = createHttp2Server();
  const port = await listen(server);
  onTestFinished(() => void server.close());
  const client = createClient({
    baseUrl: `http://127.0.0.1:${port}`,
    token: "token",
  });
  onTestFinished(() => client.close());
  const connected = once(server, "session");
  client.connect().catch(() => {});
  const [session] = await connected;
  await vi.waitFor(() => {
    expect(session.remoteSettings.initialWindowSize).toBe(1_048_576);
    expect(session.state.remoteWindowSize).toBe(1_048_576);
  }, soon);
});

test("each session is opened with a new token", async () => {
  const service = await useFakeService("Receive");
  let asked = 0;
  const client = useClient(service, { token: () => `token-${++asked}` });
  client.onRecvCustomBusinessMessage(() => {});
  void client.connect();
  const first = await service.session();
  first.ready();
  first.end(failure("TokenExpiredError", "expired"));
  const second = await service.session();
  second.ready();
  second.notify(1n);
  await service.acked(1n);
  expect([first.token, second.token]).toEqual(["token-1", "token-2"]);
  expect(service.acks.at(-1)?.token).toBe("token-2");
});
