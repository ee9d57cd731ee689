import { once } from "node:events";
import { Kvm } from "@nats-io/kv";
import { nkeyAuthenticator } from "@nats-io/transport-node";
import { pino } from "pino";
import { afterEach, describe, expect, test } from "vitest";
import { authSpecs, revokedSubject } from "../../src/auth/layout.ts";
import { openRevocations, type Revocation, type Revocations } from "../../src/auth/revocations.ts";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { toToken } from "../../src/broker/subjects.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { startBroker, type TestBroker, useBroker } from "../helpers/broker.ts";
import { openLine } from "../helpers/line.ts";

const log = pino({ level: "silent" });
const dayMs = 86_400_000;
/** A moment that is recent, as that of every revocation. */
const at = (ms: number) => startMs + ms;
const startMs = Date.now() - 60_000;
const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

/** One instance's connection and revocations. */
async function openInstance(
  server: TestBroker,
  { url, ttlMs = 90 * dayMs }: { readonly url?: string; readonly ttlMs?: number } = {},
) {
  const broker = await connectBroker({
    servers: [url ?? server.url],
    ...(url === undefined ? { dial: server.dial } : { authenticator: nkeyAuthenticator(server.place().seed) }),
    requestTimeoutMs: 5_000,
    log,
  });
  opened.push(() => broker.close());
  const get = createDirectGet(broker, { timeoutMs: 5_000 });
  opened.push(() => get.close());
  await declare(broker, authSpecs(ttlMs), 1);
  const revocations = await openRevocations(broker, get, { ttlMs, log });
  opened.push(() => revocations.close());
  return { ...revocations, broker };
}

/** What arrives at a listener, and a wait for the next. */
function listen(revocations: Revocations) {
  const heard: Revocation[] = [];
  const waiting = new EventTarget();
  revocations.onRevoke((revocation) => {
    heard.push(revocation);
    waiting.dispatchEvent(new Event("heard"));
  });
  return {
    heard,
    async until(count: number) {
      while (heard.length < count) await once(waiting, "heard");
    },
  };
}

let users = 0;
/** A user of its own for every test. */
const newUser = () => `user ${users++}`;

describe("with one broker", () => {
  const server = useBroker();

  test("a revocation is in force here when it resolves, and on other instances as soon as they hear of it", async () => {
    const [here, there] = [await openInstance(server), await openInstance(server)];
    const userId = newUser();
    const { heard, until } = listen(there);
    expect(here.revokedAtMs(userId, 5)).toBeUndefined();
    await here.revoke(userId, 5, at(1_000));
    expect(here.revokedAtMs(userId, 5)).toBe(at(1_000));
    expect(here.revokedAtMs(userId, 1)).toBeUndefined();
    expect(here.revokedAtMs(newUser(), 5)).toBeUndefined();
    await until(1);
    expect(there.revokedAtMs(userId, 5)).toBe(at(1_000));
    expect(heard).toEqual([{ userId, platformId: 5, atMs: at(1_000) }]);
  });

  test("listeners hear of each revocation once, whether local or remote, and no more after they stop", async () => {
    const [here, there] = [await openInstance(server), await openInstance(server)];
    const userId = newUser();
    const [atHere, atThere] = [listen(here), listen(there)];
    const stopped: Revocation[] = [];
    here.onRevoke((revocation) => stopped.push(revocation))();
    await here.revoke(userId, 1, at(1_000));
    await here.revoke(userId, 2, at(2_000));
    await there.revoke(userId, 3, at(3_000));
    await Promise.all([atHere.until(3), atThere.until(3)]);
    // One more from each side, behind which an echo of the others would be seen.
    await there.revoke(userId, 4, at(4_000));
    await atHere.until(4);
    await here.revoke(userId, 5, at(5_000));
    await atThere.until(5);
    const all = [1, 2, 3, 4, 5].map((n) => ({ userId, platformId: n, atMs: at(n * 1_000) }));
    const byPlatform = (a: Revocation, b: Revocation) => a.platformId - b.platformId;
    expect(atHere.heard.sort(byPlatform)).toEqual(all);
    expect(atThere.heard.sort(byPlatform)).toEqual(all);
    expect(stopped).toEqual([]);
  });

  test("an earlier moment than the stored one changes nothing, on any instance", async () => {
    const [here, there] = [await openInstance(server), await openInstance(server)];
    const userId = newUser();
    await here.revoke(userId, 5, at(2_000));
    await there.revoke(userId, 5, at(1_000));
    expect(there.revokedAtMs(userId, 5)).toBe(at(2_000));
    await here.revoke(userId, 5, at(1_500));
    expect(here.revokedAtMs(userId, 5)).toBe(at(2_000));
    expect((await openInstance(server)).revokedAtMs(userId, 5)).toBe(at(2_000));
  });

  test("of many revocations at the same time the latest is stored", async () => {
    const instances = await Promise.all([1, 2, 3].map(() => openInstance(server)));
    const userId = newUser();
    await Promise.all(
      Array.from({ length: 30 }, (_, n) => instances[n % 3]?.revoke(userId, 5, at(1_000 + ((n * 7) % 30)))),
    );
    expect((await openInstance(server)).revokedAtMs(userId, 5)).toBe(at(1_029));
  });

  test.each(["*", ">", "a.b", "日本", "with space", 'quote"\\', "x".repeat(300), `${"x".repeat(299)}y`])(
    "user %j is nobody else",
    async (userId) => {
      const here = await openInstance(server);
      await here.revoke(userId, 7, at(1_000));
      const other = await openInstance(server);
      expect(other.revokedAtMs(userId, 7)).toBe(at(1_000));
      expect(other.revokedAtMs(`${userId}z`, 7)).toBeUndefined();
      expect(other.revokedAtMs("a", 7)).toBeUndefined();
    },
  );

  test("an instance that starts knows every revocation when it is ready", async () => {
    const here = await openInstance(server);
    const userIds = Array.from({ length: 500 }, newUser);
    await Promise.all(userIds.map((userId, n) => here.revoke(userId, 5, at(1_000 + n))));
    const later = await openInstance(server);
    expect(userIds.map((userId) => later.revokedAtMs(userId, 5))).toEqual(userIds.map((_, n) => at(1_000 + n)));
  });

  test("what is not a revocation in the bucket is passed over", async () => {
    const here = await openInstance(server);
    const { until } = listen(here);
    const bucket = await new Kvm(here.broker.js).open("REVOKED");
    const [broken, deleted, good] = [newUser(), newUser(), newUser()];
    await here.revoke(deleted, 5, at(1_000));
    const key = (userId: string) => revokedSubject(toToken(userId), 5).replace("$KV.REVOKED.", "");
    await bucket.put(key(broken), "{}");
    await bucket.delete(key(deleted));
    await bucket.put(key(good), JSON.stringify({ userId: good, platformId: 5, atMs: at(1_000) }));
    await until(2);
    expect(here.revokedAtMs(good, 5)).toBe(at(1_000));
    await here.revoke(broken, 5, at(2_000));
    await here.revoke(deleted, 5, at(2_000));
    const later = await openInstance(server);
    expect([broken, deleted].map((userId) => later.revokedAtMs(userId, 5))).toEqual([at(2_000), at(2_000)]);
  });

  test("a closed instance hears nothing more", async () => {
    const [here, closed, witness] = [
      await openInstance(server),
      await openInstance(server),
      await openInstance(server),
    ];
    const { heard } = listen(closed);
    const { until } = listen(witness);
    closed.close();
    await here.revoke(newUser(), 5, at(1_000));
    await until(1);
    await closed.broker.nc.flush();
    expect(heard).toEqual([]);
  });
});

describe("with a broker of its own", () => {
  test("a new bucket keeps revocations for the given time, on one copy and on disk", async () => {
    const server = await startOwnBroker();
    const { broker } = await openInstance(server, { ttlMs: 3 * dayMs });
    const { streamInfo } = await (await new Kvm(broker.js).open("REVOKED")).status();
    expect(streamInfo.config).toMatchObject({
      max_age: 3 * dayMs * 1_000_000,
      max_msgs_per_subject: 1,
      num_replicas: 1,
      storage: "file",
    });
  });

  test("the time that revocations are kept is raised when tokens live longer, and never lowered", async () => {
    const server = await startOwnBroker();
    const keptDays = async ({ broker }: { readonly broker: Broker }) => {
      const { streamInfo } = await (await new Kvm(broker.js).open("REVOKED")).status();
      return streamInfo.config.max_age / dayMs / 1_000_000;
    };
    expect(await keptDays(await openInstance(server, { ttlMs: 1 * dayMs }))).toBe(1);
    expect(await keptDays(await openInstance(server, { ttlMs: 7 * dayMs }))).toBe(7);
    expect(await keptDays(await openInstance(server, { ttlMs: 2 * dayMs }))).toBe(7);
  });

  test("an empty bucket is ready at once, also when it once had revocations", async () => {
    const server = await startOwnBroker();
    const { broker } = await openInstance(server);
    const { streamInfo } = await (await new Kvm(broker.js).open("REVOKED")).status();
    const first = await openInstance(server);
    await first.revoke("alice", 5, at(1_000));
    await broker.jsm.streams.purge(streamInfo.config.name);
    expect((await openInstance(server)).revokedAtMs("alice", 5)).toBeUndefined();
  });

  test("after the broker was killed, its revocations are still there and new ones of other instances arrive", async () => {
    const server = await startOwnBroker();
    const [here, there] = [await openInstance(server), await openInstance(server)];
    await here.revoke("alice", 5, at(1_000));
    for (const round of [1, 2]) {
      const up = new Promise<void>((done) => here.broker.onReconnect(done));
      process.kill(server.pid(), "SIGKILL");
      await up;
      await here.revoke("alice", 5, at(1_000 + round));
      await expect.poll(() => there.revokedAtMs("alice", 5)).toBe(at(1_000 + round));
    }
    expect((await openInstance(server)).revokedAtMs("alice", 5)).toBe(at(1_002));
  });

  test("what was revoked while an instance was cut off is known to it after it reconnects", async () => {
    const server = await startOwnBroker();
    const line = await openLine(Number(server.url.split(":").at(-1)));
    opened.push(line.close);
    const [here, there] = [await openInstance(server), await openInstance(server, { url: line.url })];
    const { heard, until } = listen(there);
    line.cut();
    await here.revoke("alice", 5, at(1_000));
    expect(heard).toEqual([]);
    line.restore();
    await until(1);
    expect(there.revokedAtMs("alice", 5)).toBe(at(1_000));
  });

  test("without a broker a revocation is refused with 90004 and is not in force", async () => {
    const server = await startOwnBroker();
    const here = await openInstance(server);
    const down = (async () => {
      for await (const { type } of here.broker.nc.status()) if (type === "disconnect") return;
    })();
    await server.stop();
    await down;
    const thrown = await here.revoke("alice", 5, at(1_000)).catch((error: unknown) => error);
    expect(toErrorFacts(thrown)).toMatchObject({ errCode: 90004, errMsg: "NetworkError" });
    expect(here.revokedAtMs("alice", 5)).toBeUndefined();
  });

  async function startOwnBroker(): Promise<TestBroker> {
    const server = await startBroker();
    opened.push(() => server.remove());
    return server;
  }
});
