import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { inboxSpecs } from "../../src/inbox/layout.ts";
import { createPublisher } from "../../src/publishing/publish.ts";
import { createServerMsgId } from "../../src/sending/ids.ts";
import { createSends, type SendRecord, type Sends } from "../../src/sending/record.ts";
import { startBroker, type TestBroker } from "../helpers/broker.ts";

const shared: { server?: TestBroker; brokers: Broker[] } = { brokers: [] };

/** The records as one instance sees them. */
async function openInstance({
  of = shared.server,
  maxStoreBytes = 100_000_000,
  /** The replica that is asked does not have what was stored last. */
  isBehind = false,
} = {}): Promise<Sends> {
  if (of === undefined) throw new Error("the broker runs inside tests only");
  const { url, dial } = of;
  const broker = await connectBroker({
    servers: [url],
    dial,
    requestTimeoutMs: 1_000,
    log: pino({ level: "silent" }),
  });
  shared.brokers.push(broker);
  await declare(broker, inboxSpecs({ partitions: 3, retentionMs: 3_600_000, maxStoreBytes }), 1);
  const publisher = createPublisher(broker, { sendTimeoutMs: 1_000, isFsynced: () => true });
  const get = createDirectGet(broker, { timeoutMs: 1_000 });
  return createSends(broker, publisher, isBehind ? { ...get, last: async () => undefined } : get, 3);
}

beforeAll(async () => {
  shared.server = await startBroker();
});
afterAll(async () => {
  for (const broker of shared.brokers) await broker.nc.close();
  await shared.server?.remove();
});

let ids = 0;
const newId = () => `client's ${++ids} *.>`;

const record = (clientMsgId: string, timeMs: number): SendRecord => ({
  serverMsgId: createServerMsgId(timeMs, clientMsgId),
  clientMsgId,
  sendTime: 1_700_000_000_000,
  fingerprint: "abc",
  mustReach: true,
  recvUserId: "日本",
  recvGroupId: "",
  recvUserIds: ["ann", "bob"],
  groupVersion: 0,
  expiresAtMs: 0,
  deliverAtMs: 0,
  isUserScoped: false,
  recvDeviceId: "",
  exceptDeviceId: "",
  collapseKey: "order-77",
});

describe("a claim", () => {
  test("is the first of its id, and what was first stays first", async () => {
    const [here, elsewhere] = [await openInstance(), await openInstance()];
    const id = newId();
    const first = record(id, 1);
    expect(await here.claim(first)).toEqual({ first, isRepeat: false, isStored: false });
    expect(await here.claim(record(id, 2))).toEqual({ first, isRepeat: true, isStored: false });
    expect(await elsewhere.claim(record(id, 3))).toEqual({ first, isRepeat: true, isStored: false });
    expect(await elsewhere.find({ serverMsgId: "", clientMsgId: id })).toEqual(first);
    expect(await elsewhere.find({ serverMsgId: first.serverMsgId, clientMsgId: "" })).toEqual(first);
    // It leads to the same key.
    expect(await elsewhere.find({ serverMsgId: record(id, 2).serverMsgId, clientMsgId: "" })).toBeUndefined();
  });

  test("is known, and found, where the replica that is asked does not have it yet", async () => {
    const [here, elsewhere] = [await openInstance(), await openInstance({ isBehind: true })];
    const id = newId();
    const first = record(id, 1);
    await here.claim(first);
    expect(await elsewhere.claim(record(id, 2))).toEqual({ first, isRepeat: true, isStored: false });
    expect(await elsewhere.find({ serverMsgId: "", clientMsgId: id })).toEqual(first);
    expect(await elsewhere.find({ serverMsgId: "", clientMsgId: newId() })).toBeUndefined();
  });

  test("of many at the same moment, on several instances, is won by exactly one, and all are told which", async () => {
    const instances = [await openInstance(), await openInstance()];
    for (let round = 0; round < 10; round++) {
      const id = newId();
      const claims = await Promise.all(Array.from({ length: 50 }, (_, i) => instances[i % 2]?.claim(record(id, i))));
      const winners = claims.filter((claim) => claim?.isRepeat === false);
      expect(winners).toHaveLength(1);
      for (const claim of claims) expect(claim?.first).toEqual(winners[0]?.first);
    }
  });

  test("of different ids are independent", async () => {
    const sends = await openInstance();
    const claimed = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => (await sends.claim(record(newId(), i))).isRepeat),
    );
    expect(claimed).not.toContain(true);
  });

  test("fails with 90101 when the store is full, with 90004 when the broker is away", async () => {
    const own = await startBroker();
    try {
      const sends = await openInstance({ of: own, maxStoreBytes: 30_000 });
      let refusal: unknown;
      for (let i = 0; refusal === undefined && i < 1_000; i++) {
        await sends.claim(record(newId(), i)).catch((error: unknown) => {
          refusal = toErrorFacts(error);
        });
      }
      expect(refusal).toMatchObject({ errCode: 90101 });
      await own.stop();
      expect(await sends.claim(record(newId(), 1)).catch(toErrorFacts)).toMatchObject({ errCode: 90004 });
      expect(await sends.find({ serverMsgId: "", clientMsgId: newId() }).catch(toErrorFacts)).toMatchObject({
        errCode: 90004,
      });
    } finally {
      await own.remove();
    }
  });
});

test("an id that was never claimed is not known", async () => {
  const sends = await openInstance();
  expect(await sends.find({ serverMsgId: "", clientMsgId: newId() })).toBeUndefined();
});
