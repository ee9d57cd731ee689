import { pino } from "pino";
import { afterEach, describe, expect, test } from "vitest";
import { auditBroker, BrokerUnfitError } from "../../src/broker/audit.ts";
import { connectBroker } from "../../src/broker/connect.ts";
import { type ExternalBrokerOptions, startExternalBroker } from "../helpers/external-broker.ts";
import { type FakeBrokerOptions, startFakeBroker } from "../helpers/fake-broker.ts";

const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function connectTo(url: string) {
  const broker = await connectBroker({ servers: [url], requestTimeoutMs: 5_000, log: pino({ level: "silent" }) });
  opened.push(() => broker.nc.close());
  return broker;
}

async function auditReal(options: ExternalBrokerOptions, replicas = 1) {
  const server = await startExternalBroker(options);
  opened.push(server.remove);
  return auditBroker(await connectTo(server.url), replicas);
}

async function auditFake(options: FakeBrokerOptions, replicas = 1) {
  const server = await startFakeBroker(options);
  opened.push(server.close);
  return auditBroker(await connectTo(server.url), replicas);
}

const varz = (syncAlways: boolean | undefined) => ({ data: { jetstream: { config: { sync_always: syncAlways } } } });

describe("the durability", () => {
  test("is FSYNCED on a broker that syncs every write, without a warning", async () => {
    expect(await auditReal({ syncInterval: "always" })).toMatchObject({
      durability: "FSYNCED",
      warnings: [],
      maxPayloadBytes: 1_048_576,
    });
  });

  test("is BUFFERED on one that syncs later, and the operator is told what helps", async () => {
    const { durability, warnings } = await auditReal({ syncInterval: "2m" });
    expect(durability).toBe("BUFFERED");
    expect(warnings).toEqual([expect.stringContaining("sync_interval: always")]);
  });

  test("is REPLICATED on one that syncs later with replicas", async () => {
    expect(await auditReal({ syncInterval: "2m" }, 3)).toMatchObject({
      durability: "REPLICATED",
      warnings: [],
    });
  });

  test("is not claimed where the configuration may not be read", async () => {
    expect((await auditReal({ syncInterval: "always", varz: false })).durability).toBe("BUFFERED");
  });

  test("is that of the weakest server of a cluster", async () => {
    const cluster = (...servers: (boolean | undefined)[]) =>
      auditFake({ version: "2.15.2", varz: servers.map(varz) }, 3).then(({ durability }) => durability);
    expect(await cluster(true, true, true)).toBe("FSYNCED");
    expect(await cluster(true, true, false)).toBe("REPLICATED");
    expect(await cluster(true, undefined, true)).toBe("REPLICATED");
  });

  test("is not claimed for an answer of another shape", async () => {
    const audit = await auditFake({ version: "2.15.2", varz: [{ data: { jetstream: { config: "always" } } }] });
    expect(audit.durability).toBe("BUFFERED");
  });
});

describe("the version", () => {
  test.each(["2.13.99", "2.9.0", "1.14.0", "2.10.29"])(
    "%s is too old, and the message says what is needed",
    async (version) => {
      const error = await auditFake({ version }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(BrokerUnfitError);
      expect(String(error)).toContain(version);
      expect(String(error)).toContain("2.14.0 or later");
    },
  );

  test.each(["2.14.7", "2.15.2", "2.100.0", "3.0.0"])("%s is taken without a warning about it", async (version) => {
    const audit = await auditFake({ version, varz: [varz(true)] });
    expect(audit).toMatchObject({ version, warnings: [] });
  });

  test("2.14.0 is taken with a warning that a power cut can lose writes", async () => {
    const { warnings } = await auditFake({ version: "2.14.0", varz: [varz(true)] });
    expect(warnings).toEqual([expect.stringContaining("2.14.7 or later")]);
  });
});
