import { describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config.ts";
import { createLog } from "../../src/observe/log.ts";
import { startServer } from "../../src/server.ts";
import { useDevices } from "../helpers/device.ts";
import { startExternalBroker } from "../helpers/external-broker.ts";
import { useServer } from "../helpers/server.ts";

const openDevice = useDevices();

describe("with MUSTREACH_MAX_DATA_BYTES=1048576", () => {
  const server = useServer({ MAX_DATA_BYTES: "1048576", HEARTBEAT: "1s" });

  const send = async (body: object) =>
    (await server.post("/msg/send_business_notification", body, await server.adminToken())).json;

  test.each<[what: string, bytes: number, change: object]>([
    ["to a user", 1_048_576, {}],
    ["to a group", 1_000_000, { group: true }],
    ["to a group with its chat copy", 450_000, { group: true, sendMsg: true }],
    ["to a group with a large chat copy", 1_000_000, { group: true, sendMsg: true }],
    ["for later", 1_000_000, { sendInMs: 300 }],
    ["to a group with its chat copy, for later", 1_048_576, { group: true, sendMsg: true, sendInMs: 300 }],
  ])("a send %s of %i bytes is delivered", async (what, bytes, change) => {
    const { group = false, sendInMs = 0, ...more }: { group?: boolean; sendInMs?: number } = change;
    const [user, groupID] = [`${what} ${bytes}`, `group ${what} ${bytes}`];
    if (group) {
      const groupInfo = { groupID, groupType: 2 };
      const created = await server.post(
        "/group/create_group",
        { ownerUserID: user, groupInfo },
        await server.adminToken(),
      );
      expect(created.json.errCode).toBe(0);
    }
    const data = "x".repeat(bytes);
    const accepted = await send({
      sendUserID: "imAdmin",
      ...(group ? { recvGroupID: groupID } : { recvUserID: user }),
      key: "k",
      data,
      reliabilityLevel: 2,
      ...(sendInMs > 0 && { sendAt: Date.now() + sendInMs }),
      ...more,
    });
    expect(accepted).toMatchObject({ errCode: 0 });
    const session = await openDevice(server.url, await server.userToken(user)).subscribe();
    let event = await session.next();
    while (event?.case !== "notification") event = await session.next();
    expect(event.value.data === data).toBe(true);
  });

  test("one byte more is 1001", async () => {
    const refused = await send({
      sendUserID: "imAdmin",
      recvUserID: "ann",
      key: "k",
      data: "x".repeat(1_048_577),
      reliabilityLevel: 2,
    });
    expect(refused).toMatchObject({ errCode: 1001, errDlt: expect.stringContaining("data is 1048577 bytes") });
  });
});

test("a broker whose max_payload is too small for MUSTREACH_MAX_DATA_BYTES stops the start, by name", async () => {
  const broker = await startExternalBroker();
  try {
    const env = {
      MUSTREACH_NATS_URL: broker.url,
      MUSTREACH_TOKEN_SECRET: "test-secret".padEnd(32, "."),
      MUSTREACH_PORT: "0",
      // The broker takes 1 MiB, which is as much as the data alone.
      MUSTREACH_MAX_DATA_BYTES: "1048576",
    };
    const starting = startServer(loadConfig(env), createLog("silent", { write: () => {} }));
    await expect(starting).rejects.toThrow(/MUSTREACH_MAX_DATA_BYTES is 1048576, but the broker takes .*max_payload/);
  } finally {
    await broker.remove();
  }
});
