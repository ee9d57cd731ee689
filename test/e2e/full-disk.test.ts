import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, onTestFinished, test, vi } from "vitest";
import { findNatsServer } from "../../src/embedded/find.ts";
import { toErrorFacts } from "../../src/errors.ts";
import { dataOf, openSender, useDevices } from "../helpers/device.ts";
import { startProcess } from "../helpers/process.ts";

const openDevice = useDevices();

/** A service that has sent `1`, `2` and `3` to alice and has been stopped, and the disk of its broker, which `fill` fills. */
async function startAndStop() {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-full-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const { path } = await findNatsServer({ log: pino({ level: "silent" }) });
  // A limit on the size of a file stands for the disk: while it is in force, the broker can write to no file.
  const full = join(dir, "full");
  const script = join(dir, "nats-server");
  await writeFile(script, `#!/bin/sh\n[ -e ${full} ] && ulimit -f 0\nexec ${path} "$@"\n`, { mode: 0o755 });
  const settings = { NATS_SERVER: script, SEND_TIMEOUT: "1s", HEARTBEAT: "1s" };

  const before = await startProcess(settings, join(dir, "data"));
  const send = openSender(before.url, await before.adminToken());
  for (const data of ["1", "2", "3"]) await send({ to: "alice", data });
  expect(await before.kill("SIGTERM")).toBe(0);
  return {
    fill: () => writeFile(full, ""),
    empty: () => rm(full),
    async start(more: Readonly<Record<string, string>> = {}) {
      const service = await startProcess({ ...settings, ...more }, join(dir, "data"));
      onTestFinished(service.remove);
      return service;
    },
  };
}

test("with a full disk what is stored is read, also after a start, and sends work again when there is room", async () => {
  const { fill, empty, start } = await startAndStop();
  await fill();
  const service = await start();
  const token = await service.userToken("alice");
  const session = await openDevice(service.url, token, "phone").subscribe();
  expect(dataOf(await session.take(3))).toEqual(["1", "2", "3"]);
  const sendAgain = openSender(service.url, await service.adminToken());
  const refused = await sendAgain({ to: "alice", data: "lost" }).catch(toErrorFacts);
  expect(refused).toMatchObject({ errCode: 90004 });
  const other = await openDevice(service.url, token, "laptop").subscribe();
  expect(dataOf(await other.take(3))).toEqual(["1", "2", "3"]);

  await empty();
  await vi.waitFor(() => sendAgain({ to: "alice", data: "4", clientMsgId: "four" }), {
    interval: 100,
  });
  // What was refused may have been stored: the answer said that it cannot be told.
  await vi.waitFor(async () => expect(dataOf(await session.take(1))).toEqual(["4"]));
});

test("with a full disk the service starts with other settings, such as those that make room", async () => {
  const { fill, start } = await startAndStop();
  await fill();
  const service = await start({ RETENTION: "2d" });
  const session = await openDevice(service.url, await service.userToken("alice"), "phone").subscribe();
  expect(dataOf(await session.take(3))).toEqual(["1", "2", "3"]);
});
