import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { retryAfterMsOf, toErrorFacts } from "../../src/errors.ts";
import { type DeviceSession, dataOf, openSender, useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

const openDevice = useDevices();

/** Opens sessions one after the other; those that were let in, and why the others were not. */
async function openMany(url: string, token: string, deviceIds: readonly string[]) {
  const sessions: DeviceSession[] = [];
  const refusals: unknown[] = [];
  for (const deviceId of deviceIds) {
    await openDevice(url, token, deviceId)
      .subscribe()
      .then(
        (session) => sessions.push(session),
        (error: unknown) => refusals.push(error),
      );
  }
  return { sessions, refusals };
}

const names = (count: number) => Array.from({ length: count }, (_, i) => `device-${i}`);

describe("one user", () => {
  const server = useServer({ MAX_SESSIONS_PER_USER: "5", PARTITIONS: "1" });

  test("who opens sessions without end has the limit of them, and RESOURCE_EXHAUSTED with a time to wait", async () => {
    const { sessions, refusals } = await openMany(server.url, await server.userToken("mallory"), names(40));
    expect(sessions).toHaveLength(5);
    expect(refusals).toHaveLength(35);
    for (const refusal of refusals) {
      expect(toErrorFacts(refusal)).toMatchObject({ errCode: 1601 });
      expect(ConnectError.from(refusal).code).toBe(Code.ResourceExhausted);
      expect(retryAfterMsOf(refusal)).toBeGreaterThan(0);
    }
    const others = await openMany(server.url, await server.userToken("alice"), names(5));
    expect(others.refusals).toEqual([]);
  });

  test("who opens the same device again and again is let in a burst of times", async () => {
    const { sessions, refusals } = await openMany(
      server.url,
      await server.userToken("trudy"),
      Array.from({ length: 40 }, () => "phone"),
    );
    // Some are given back while it goes on.
    expect(sessions.length).toBeGreaterThanOrEqual(10);
    expect(refusals.length).toBeGreaterThan(0);
    for (const refusal of refusals) expect(toErrorFacts(refusal)).toMatchObject({ errCode: 1601 });
    for (const replaced of sessions.slice(0, -1)) expect(await replaced.whenEnded()).toMatchObject({ errCode: 1506 });
  });
});

describe("one address", () => {
  const server = useServer({ MAX_SESSIONS_PER_ADDRESS: "3", PARTITIONS: "1" });

  test("has the limit of sessions, whoever's they are", async () => {
    for (const userId of ["alice", "bob", "carol"]) {
      expect((await openMany(server.url, await server.userToken(userId), ["phone"])).refusals).toEqual([]);
    }
    const { refusals } = await openMany(server.url, await server.userToken("dave"), ["phone"]);
    expect(refusals.map(toErrorFacts)).toMatchObject([{ errCode: 1601, errDlt: expect.stringContaining("address") }]);
  });
});

describe("one replay at a time", () => {
  const server = useServer({ MAX_REPLAYS: "1", PARTITIONS: "1" });

  test("lets everybody in who comes at once, with many devices or one, and each gets what waits", async () => {
    const send = openSender(server.url, await server.adminToken());
    const devices = [
      ...names(40).map((deviceId) => ({ user: "many", deviceId })),
      ...names(20).map((name) => ({ user: `user of ${name}`, deviceId: "phone" })),
    ];
    for (const user of new Set(devices.map((device) => device.user))) {
      for (let i = 0; i < 20; i++) await send({ to: user, data: `${i} for ${user}` });
    }
    const taken = devices.map(async ({ user, deviceId }) => {
      const session = await openDevice(server.url, await server.userToken(user), deviceId).subscribe();
      expect(dataOf(await session.take(20))).toEqual(Array.from({ length: 20 }, (_, i) => `${i} for ${user}`));
    });
    await Promise.all(taken);
  });
});
