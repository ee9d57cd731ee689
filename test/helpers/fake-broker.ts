import { createServer, type Socket } from "node:net";
import { listen } from "./listen.ts";

/** Options of {@link startFakeBroker}. */
export interface FakeBrokerOptions {
  /** The version that it says it is. */
  readonly version: string;
  /** What the servers of its cluster answer to VARZ, one body each. Default: none answers. */
  readonly varz?: readonly object[];
}

/** As much of a nats-server as a connection with JetStream needs, of a version or in a cluster that cannot be had here. */
export interface FakeBroker {
  readonly url: string;
  /** What connections have sent as CONNECT, parsed, in order. */
  readonly connects: readonly Record<string, unknown>[];
  /** The verbs of all that it has heard, in order. */
  readonly heard: readonly string[];
  /** Cuts all connections. */
  cut(): void;
  close(): void;
}

/** Starts a fake broker on a free port. */
export async function startFakeBroker({ version, varz = [] }: FakeBrokerOptions): Promise<FakeBroker> {
  const info = {
    server_id: "FAKE",
    version,
    proto: 1,
    headers: true,
    max_payload: 1_048_576,
    jetstream: true,
    nonce: "nonce",
  };
  const answers: Readonly<Record<string, readonly object[]>> = {
    "$JS.API.INFO": [{ type: "io.nats.jetstream.api.v1.account_info_response", limits: {}, api: {} }],
    "$SYS.REQ.SERVER.PING.VARZ": varz,
  };
  const sockets = new Set<Socket>();
  const connects: Record<string, unknown>[] = [];
  const heard: string[] = [];
  const cut = () => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  const server = createServer((socket) => {
    /** By subject without its last token, which is the client's own. */
    const subscriptions = new Map<string, string>();
    sockets.add(socket);
    socket.on("error", () => {});
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    socket.on("data", (bytes) => {
      for (const line of bytes.toString("latin1").split("\r\n")) {
        const [verb, subject = "", third = "", fourth = ""] = line.split(" ");
        if (verb) heard.push(verb);
        if (verb === "CONNECT") connects.push(JSON.parse(line.slice(verb.length)));
        if (verb === "PING") socket.write("PONG\r\n");
        if (verb === "SUB") subscriptions.set(withoutLastToken(subject), fourth || third);
        if (verb !== "PUB" && verb !== "HPUB") continue;
        for (const answer of answers[subject] ?? []) {
          const body = JSON.stringify(answer);
          const sid = subscriptions.get(withoutLastToken(third)) ?? "1";
          socket.write(`MSG ${third} ${sid} ${Buffer.byteLength(body)}\r\n${body}\r\n`);
        }
      }
    });
  });
  const port = await listen(server);
  return {
    url: `nats://127.0.0.1:${port}`,
    connects,
    heard,
    cut,
    close() {
      server.close();
      cut();
    },
  };
}

function withoutLastToken(subject: string): string {
  return subject.split(".").slice(0, -1).join(".");
}
