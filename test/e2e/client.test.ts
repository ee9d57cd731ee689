import { beforeEach, describe, expect, test } from "vitest";
import { expectDrain, expectSuperseded, newAppUser, openedSessions } from "../helpers/app.ts";
import { clientWays } from "../helpers/client-ways.ts";
import { useDevices } from "../helpers/device.ts";
import { useServer } from "../helpers/server.ts";

const server = useServer({ HEARTBEAT: "1s" });
useDevices();

describe.each(clientWays)("the client by %s", (way, toOptions) => {
  beforeEach(() => void server.log.splice(0));

  test("drains what waits, once and in order, and what it has handled does not come again", async () => {
    await expectDrain(await newAppUser(server, toOptions(server.url)));
    expect(openedSessions(server)).toEqual([way, way]);
  });

  test("is superseded by another one of the same device, and stops", async () => {
    await expectSuperseded(await newAppUser(server, toOptions(server.url)));
  });
});
