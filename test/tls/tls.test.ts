import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import { Duplex } from "node:stream";
import tls from "node:tls";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { createListener, type Listener, type ListenerAddress, type ListenerOptions } from "../../src/http/listener.ts";
import { createEngine } from "../../src/http2/engine/engine.ts";
import { createNodeHttp2 } from "../../src/http2/node.ts";
import type { TlsOptions } from "../../src/tls/tls.ts";
import { type Authority, createAuthority, type Issued, local } from "../helpers/certificates.ts";
import { type HttpHandler, toAccept } from "../helpers/http-handler.ts";

const implementations = { node: createNodeHttp2, engine: createEngine };

let ca: Authority;
let issued: Record<"server" | "rsa" | "orders", Issued>;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  ca = await createAuthority();
  issued = {
    server: await ca.issue(local),
    rsa: await ca.issue({ ...local, algorithm: "rsa" }),
    orders: await ca.issue({ name: "orders", dns: ["orders.internal"], usage: "client" }),
  };
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Tells what the handler saw. */
const tell: HttpHandler = async (request, res) => {
  const { exchange, httpVersion } = request;
  let body = "";
  for await (const chunk of request) body += chunk.toString();
  const { headers, connection } = exchange;
  const names = connection.peer?.certificate?.names ?? [];
  res.write(JSON.stringify({ httpVersion, scheme: headers[":scheme"], names, body }));
  res.end();
};

type Fixture = Listener &
  ListenerAddress & { log: Record<"debug" | "info" | "warn" | "error", ReturnType<typeof vi.fn>> };

async function useListener(
  options: Partial<ListenerOptions> = {},
  given: Partial<TlsOptions> = {},
  handler: HttpHandler = tell,
): Promise<Fixture> {
  const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  const secure: TlsOptions = { material: issued.server, minVersion: "1.2", clientAuth: "none", ...given };
  const listener = createListener({ accept: toAccept(handler), log, tls: secure, ...options });
  const address = await listener.listen({ host: "127.0.0.1", port: 0 });
  cleanups.push(() => listener.drain(0));
  return { ...listener, ...address, log };
}

/** A connection of TLS, or why there is none. */
async function connect(port: number, options: tls.ConnectionOptions = {}) {
  const socket = tls.connect({ port, host: "127.0.0.1", ca: ca.cert, ...options });
  cleanups.push(() => socket.destroy());
  await once(socket, "secureConnect");
  return socket;
}

async function get(url: string, options: https.RequestOptions = {}) {
  const request = https.get(url, { ca: ca.cert, agent: false, ...options });
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  let text = "";
  for await (const chunk of response) text += chunk;
  return JSON.parse(text);
}

async function getHttp2(url: string, options: http2.SecureClientSessionOptions = {}, body = "") {
  const session = http2.connect(url, { ca: ca.cert, ...options });
  cleanups.push(() => session.destroy());
  const stream = session.request({ ":method": "POST" });
  stream.end(body);
  let text = "";
  for await (const chunk of stream) text += chunk;
  return { ...JSON.parse(text), session };
}

const until = (condition: () => unknown) => vi.waitFor(condition, { interval: 5, timeout: 60_000 });

describe.each(["node", "engine"] as const)("with HTTP/2 of %s", (name) => {
  const createHttp2 = implementations[name];

  test("one port speaks HTTP/2 and HTTP/1.1, by ALPN", async () => {
    const { url, counts } = await useListener({ createHttp2 });
    expect(url).toMatch(/^https:/);
    const large = "x".repeat(200_000);
    const second = await getHttp2(url, {}, large);
    expect(second).toMatchObject({ httpVersion: "2.0", scheme: "https", body: large });
    expect(second.session.alpnProtocol).toBe("h2");
    expect(await get(url)).toEqual({ httpVersion: "1.1", scheme: "https", names: [], body: "" });
    second.session.close();
    await until(() => expect(counts()).toMatchObject({ connections: 0, undecided: 0 }));
  });

  test("a large answer to a peer that reads late arrives whole", async () => {
    const text = "0123456789".repeat(500_000);
    const { url } = await useListener({ createHttp2 }, {}, (_, res) => {
      res.write(text);
      res.end();
    });
    const session = http2.connect(url, { ca: ca.cert });
    cleanups.push(() => session.destroy());
    const stream = session.request();
    await once(stream, "response");
    let got = "";
    for await (const chunk of stream) got += chunk;
    expect(got === text).toBe(true);
  });

  test("other certificates are shown to who comes later, and who is there stays", async () => {
    const { url, port, renewTls } = await useListener({ createHttp2 });
    const { session } = await getHttp2(url);
    const before = await connect(port);
    const next = await ca.issue({ ...local, dns: ["localhost", "next.internal"] });
    renewTls(next);
    const after = await connect(port);
    expect(before.getPeerCertificate().subjectaltname).not.toContain("next.internal");
    expect(after.getPeerCertificate().subjectaltname).toContain("next.internal");
    const stream = session.request();
    await once(stream, "response");
    stream.close();
    expect(session.closed).toBe(false);
  });

  test("when other authorities are believed, who was let in by the old ones is asked to go", async () => {
    const { url, renewTls } = await useListener(
      { createHttp2 },
      { material: { ...issued.server, clientCa: ca.cert }, clientAuth: "require" },
    );
    const { cert, key } = issued.orders;
    const { session, names } = await getHttp2(url, { cert, key });
    expect(names).toEqual(["DNS:orders.internal", "CN:orders"]);
    const agent = new https.Agent({ keepAlive: true });
    cleanups.push(() => agent.destroy());
    await get(url, { agent, cert, key });
    const gone = once(session, "close");
    renewTls({ ...issued.server, clientCa: ca.cert, clientCrl: await ca.revoke([issued.orders.serialNumber]) });
    await gone;
    const request = https.get(url, { agent, cert, key, ca: ca.cert });
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    expect(response.headers.connection).toBe("close");
    response.resume();
    await expect(get(url, { cert, key })).rejects.toThrow();
  });
});

test("HTTP/2 is spoken when it was agreed only", async () => {
  const { port } = await useListener();
  const socket = await connect(port);
  expect(socket.alpnProtocol).toBe(false);
  socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  const [answer] = await once(socket, "data");
  expect(String(answer)).toMatch(/^HTTP\/1\.1 400/);
  await expect(connect(port, { ALPNProtocols: ["spdy/3"] })).rejects.toThrow(/no application protocol/i);
});

describe("versions and ciphers", () => {
  /** What HTTP/2 forbids has no ephemeral key, or no authenticated encryption (RFC 9113, appendix A). */
  const good = /^(TLS_|ECDHE-(ECDSA|RSA)-(AES(128|256)-GCM|CHACHA20-POLY1305))/;

  test.each(["server", "rsa"] as const)(
    "of all that a client can, with a certificate of %s none is taken that HTTP/2 forbids",
    async (kind) => {
      const { port } = await useListener({}, { material: issued[kind] });
      const taken: string[] = [];
      const refused: string[] = [];
      for (const ciphers of tls.getCiphers().map((cipher) => cipher.toUpperCase())) {
        if (ciphers.startsWith("TLS_")) continue;
        try {
          const socket = await connect(port, { ciphers: `${ciphers}:@SECLEVEL=0`, maxVersion: "TLSv1.2" });
          taken.push(socket.getCipher().name);
          socket.destroy();
        } catch {
          refused.push(ciphers);
        }
      }
      expect(taken.filter((cipher) => !good.test(cipher))).toEqual([]);
      expect(taken).toHaveLength(3);
      expect(refused).toEqual(expect.arrayContaining(["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256"]));
    },
  );

  test.each([
    ["1.2", "TLSv1.1", false],
    ["1.2", "TLSv1.2", true],
    ["1.2", "TLSv1.3", true],
    ["1.3", "TLSv1.2", false],
    ["1.3", "TLSv1.3", true],
  ] as const)("from %s on, %s is spoken: %s", async (minVersion, version, isSpoken) => {
    const { port } = await useListener({}, { minVersion });
    const options = { minVersion: version, maxVersion: version, ciphers: "DEFAULT@SECLEVEL=0" };
    const outcome = await connect(port, options).then(
      (socket) => socket.getProtocol(),
      () => undefined,
    );
    expect(outcome).toBe(isSpoken ? version : undefined);
  });

  test("nobody renegotiates", async () => {
    const { port } = await useListener();
    const socket = await connect(port, { maxVersion: "TLSv1.2" });
    socket.on("error", () => {});
    const ended = new Promise((resolve) => {
      socket.once("close", () => resolve("closed"));
      socket.renegotiate({}, (error) => resolve(error === null ? "renegotiated" : "refused"));
    });
    expect(await ended).not.toBe("renegotiated");
  });
});

describe("what is no handshake", () => {
  test("plain HTTP is told to use https", async () => {
    const { port, counts } = await useListener();
    const request = http.request({ port, host: "127.0.0.1", method: "POST", agent: false });
    request.end("a body");
    const [response] = (await once(request, "response")) as [http.IncomingMessage];
    expect(response.statusCode).toBe(400);
    let text = "";
    for await (const chunk of response) text += chunk;
    expect(text).toContain("use https://");
    await until(() => expect(counts().connections).toBe(0));
  });

  test("HTTP/2 in plaintext is closed", async () => {
    const { url, counts } = await useListener();
    const session = http2.connect(url.replace("https", "http"));
    cleanups.push(() => session.destroy());
    const [error] = await once(session, "error");
    expect(error).toBeInstanceOf(Error);
    await until(() => expect(counts().connections).toBe(0));
  });

  test("a handshake that is garbage is closed, and harms nobody", async () => {
    const { port, url, counts } = await useListener();
    for (const garbage of ["160301000100", "16030100ff", "1603ff0005aabbccddee", "16".repeat(2_000)]) {
      const socket = net.connect(port, "127.0.0.1");
      socket.on("error", () => {});
      socket.end(Buffer.from(garbage, "hex"));
    }
    expect(await get(url)).toMatchObject({ httpVersion: "1.1" });
    await until(() => expect(counts()).toMatchObject({ connections: 0, undecided: 0 }));
  });

  test("a handshake of single bytes is one", async () => {
    const { port } = await useListener();
    const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
    const slow = new Duplex({
      read: () => {},
      write(chunk: Buffer, _, done) {
        for (const byte of chunk) socket.write(Buffer.of(byte));
        done();
      },
      final: (done) => void socket.end(done),
    });
    socket.on("data", (chunk) => slow.push(chunk));
    cleanups.push(() => socket.destroy());
    const secure = tls.connect({ socket: slow, ca: ca.cert, servername: "localhost" });
    await once(secure, "secureConnect");
    expect(secure.authorized).toBe(true);
  });
});

describe("half-open handshakes", () => {
  /** The beginning of a handshake, which is then left alone. */
  async function begin(port: number) {
    const socket = net.connect(port, "127.0.0.1");
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.on("error", () => {});
    cleanups.push(() => socket.destroy());
    await once(socket, "connect");
    socket.write(Buffer.from("1603010200010001fc0303", "hex"));
    return { socket, closed };
  }

  test("have limited time", async () => {
    const { port, counts } = await useListener({ sniffTimeoutMs: 50 });
    const { closed } = await begin(port);
    await closed;
    await until(() => expect(counts()).toMatchObject({ connections: 0, undecided: 0 }));
  });

  test("are limited in number: with one more the oldest goes, and who comes is served", async () => {
    const { port, url, counts, log } = await useListener({ maxHandshakes: 3 });
    const waiting = [];
    for (let i = 1; i <= 3; i++) {
      waiting.push(await begin(port));
      await until(() => expect(counts().undecided).toBe(i));
    }
    expect(await get(url)).toMatchObject({ httpVersion: "1.1" });
    await waiting[0]?.closed;
    expect(waiting[1]?.socket.destroyed).toBe(false);
    expect(counts().refused).toBe(1);
    expect(log.warn).toHaveBeenCalledWith({ limit: "maxHandshakes", value: 3, refused: 1 }, "connection refused");
  });
});

describe("client certificates", () => {
  const asking = (clientAuth: "request" | "require", more = {}): Partial<TlsOptions> => ({
    material: { ...issued.server, clientCa: ca.cert, ...more },
    clientAuth,
  });

  test.each(["TLSv1.2", "TLSv1.3"] as const)("a good one is known over %s", async (version) => {
    const { url } = await useListener({}, asking("require"));
    const { cert, key } = issued.orders;
    const options = { cert, key, minVersion: version, maxVersion: version } as const;
    expect(await get(url, options)).toMatchObject({ names: ["DNS:orders.internal", "CN:orders"] });
    expect(await getHttp2(url, options)).toMatchObject({ names: ["DNS:orders.internal", "CN:orders"] });
  });

  test("a session is never resumed, so that each connection shows its own", async () => {
    const { port } = await useListener({}, asking("require"));
    const { cert, key } = issued.orders;
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      let session: Buffer | undefined;
      const first = await connect(port, { cert, key, maxVersion });
      first.on("session", (given) => {
        session = given;
      });
      first.write("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
      first.resume();
      await once(first, "close");
      const second = await connect(port, { cert, key, maxVersion, session: session ?? first.getSession() });
      expect(second.isSessionReused()).toBe(false);
    }
  });

  const bad: Record<string, () => Promise<Partial<Issued>>> = {
    none: async () => ({}),
    "of another authority": async () => (await createAuthority()).issue({ dns: ["orders.internal"], usage: "client" }),
    "of another authority of the same name": async () =>
      (await createAuthority("Test CA")).issue({ dns: ["orders.internal"], usage: "client" }),
    "that has ended": () => ca.issue({ dns: ["orders.internal"], usage: "client", lastsMs: -3_600_000 }),
    "for servers": () => ca.issue({ dns: ["orders.internal"], usage: "server" }),
    "that is revoked": () => ca.issue({ dns: ["orders.internal"], usage: "client" }),
  };

  test.each(Object.keys(bad))("one %s is turned away, or where it is not required, says nothing", async (what) => {
    const { cert, key, serialNumber = "" } = (await bad[what]?.()) ?? {};
    const more = what === "that is revoked" ? { clientCrl: await ca.revoke([serialNumber]) } : {};
    const required = await useListener({}, asking("require", more));
    await expect(get(required.url, { cert, key })).rejects.toThrow();
    const requested = await useListener({}, asking("request", more));
    expect(await get(requested.url, { cert, key })).toMatchObject({ names: [] });
  });

  test("with a list of revoked ones, the others count; past its time, none does", async () => {
    const { cert, key } = issued.orders;
    const listed = await useListener({}, asking("require", { clientCrl: await ca.revoke([]) }));
    expect(await get(listed.url, { cert, key })).toMatchObject({ names: ["DNS:orders.internal", "CN:orders"] });
    const late = await useListener({}, asking("require", { clientCrl: await ca.revoke([], -3_600_000) }));
    await expect(get(late.url, { cert, key })).rejects.toThrow();
  });

  test("nobody is asked where none count", async () => {
    const { url } = await useListener({}, { material: { ...issued.server, clientCa: ca.cert } });
    const { cert, key } = issued.orders;
    expect(await get(url, { cert, key })).toMatchObject({ names: [] });
  });
});
