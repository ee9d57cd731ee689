import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { jetstreamManager } from "@nats-io/jetstream";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { inCopyOrder, isKnown } from "../../src/backup/order.ts";
import { cursorStream } from "../../src/cursors/layout.ts";
import { Gap_Reason } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { dataOf, openSender, useDevices } from "../helpers/device.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { startTestServer, type TestServer, testSecret } from "../helpers/server.ts";

const run = promisify(execFile);
const openDevice = useDevices();
const closing: (() => unknown)[] = [];
let dir = "";
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mustreach-backup-"));
  closing.push(() => rm(dir, { recursive: true, force: true }));
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function startBroker(): Promise<ExternalBroker> {
  const broker = await startExternalBroker();
  closing.push(() => broker.remove());
  return broker;
}

async function serve(broker: ExternalBroker): Promise<TestServer> {
  const server = await startTestServer({ NATS_URL: broker.url, HEARTBEAT: "1s" });
  closing.push(() => server.stop());
  return server;
}

/** `mustreach` as an operator calls it. Rejects with the exit code and what it said. */
async function mustreach(settings: Record<string, string>, ...args: string[]) {
  const own = Object.fromEntries(Object.entries(settings).map(([name, value]) => [`MUSTREACH_${name}`, value]));
  const env = { ...process.env, MUSTREACH_TOKEN_SECRET: testSecret, ...own };
  const { stdout, stderr } = await run(process.execPath, ["src/cli/main.ts", ...args], { env });
  return { result: JSON.parse(stdout) as Record<string, number>, lines: stderr.trim().split("\n") };
}

async function open(server: TestServer, user = "alice") {
  const token = await server.userToken(user);
  return {
    send: openSender(server.url, await server.adminToken()),
    device: openDevice(server.url, token, "phone"),
  };
}

test("after a loss and a restore, a device that was further is told of another store, and gets all that follows", async () => {
  const broker = await startBroker();
  const before = await serve(broker);
  const { send, device } = await open(before);
  for (let i = 1; i <= 5; i++) await send({ to: "alice", data: `kept ${i}` });
  await before.post(
    "/group/create_group",
    { ownerUserID: "bob", groupInfo: { groupID: "crew", groupName: "Crew", groupType: 2 }, memberUserIDs: ["alice"] },
    await before.adminToken(),
  );
  const session = await device.subscribe();
  const kept = await session.take(5);
  const last = kept.at(-1);
  if (last === undefined) throw new Error("nothing was taken");
  await device.ack(last.sequence, last.epoch);
  // An acknowledgement is stored about a second after it was answered.
  const jsm = await jetstreamManager(await broker.connect());
  await vi.waitFor(async () => {
    const cursor = await jsm.streams.getMessage(cursorStream, { last_by_subj: ">" });
    expect(cursor?.json()).toMatchObject({ deviceId: "phone", sequence: Number(last.sequence) });
  });

  // While it serves.
  const backup = await mustreach({ NATS_URL: broker.url }, "backup", join(dir, "backup"));
  expect(backup.lines.at(-1)).toMatch(/^(\d+)\/\1 \w+: \d+ messages, \d+ bytes$/);
  expect(backup.result.streams).toBe(backup.lines.length);
  expect((await stat(join(dir, "backup"))).mode & 0o777).toBe(0o700);
  expect((await stat(join(dir, "backup", "INBOX_0.snapshot"))).mode & 0o777).toBe(0o600);

  for (let i = 1; i <= 3; i++) await send({ to: "alice", data: `lost ${i}` });
  const lost = (await session.take(3)).at(-1);
  if (lost === undefined) throw new Error("nothing was taken");
  await device.ack(lost.sequence, lost.epoch);
  await before.stop();
  await broker.remove();

  const anew = await startBroker();
  const restored = await mustreach({ NATS_URL: anew.url }, "restore", join(dir, "backup"));
  expect(restored.result).toEqual({ streams: backup.result.streams });
  const after = await serve(anew);
  const { send: sendAfter, device: deviceAfter } = await open(after);
  for (let i = 1; i <= 6; i++) await sendAfter({ to: "alice", data: `next ${i}` });
  // With a record of its own, which is further than the store was when it was copied.
  const again = await deviceAfter.subscribe({ afterSequence: lost.sequence, epoch: lost.epoch });
  const event = await again.nextEvent();
  expect(event).toMatchObject({ case: "gap", value: { reason: Gap_Reason.STORE_CHANGED } });
  expect(dataOf(await again.take(6))).toEqual(["next 1", "next 2", "next 3", "next 4", "next 5", "next 6"]);
  // What was stored is there with its sequences and times, and groups and cursors with it.
  const whole = await openDevice(after.url, await after.userToken("alice"), "new").subscribe({ afterSequence: 0n });
  const first = await whole.take(5);
  expect(first.map(({ data, sequence, sendTime }) => ({ data, sequence, sendTime }))).toEqual(
    kept.map(({ data, sequence, sendTime }) => ({ data, sequence, sendTime })),
  );
  const groups = await after.post("/group/get_joined_group_list", { fromUserID: "alice" }, await after.adminToken());
  expect(groups.json.data).toMatchObject({ groups: [{ groupID: "crew" }] });
  const byService = await openDevice(after.url, await after.userToken("alice"), "phone").subscribe();
  expect(byService.ready.resumeSequence).toBe(last.sequence);
});

test("neither overwrites anything without --force, nor a restore a broker that is in use, nor what is not whole", async () => {
  const broker = await startBroker();
  const server = await serve(broker);
  const { send } = await open(server);
  await send({ to: "alice", data: "kept" });
  const backup = join(dir, "backup");
  const settings = { NATS_URL: broker.url };
  await mustreach(settings, "backup", backup);
  await expect(mustreach(settings, "backup", backup)).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining("--force"),
  });
  await expect(mustreach(settings, "restore", backup, "--force")).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining("stop all instances"),
  });
  await send({ to: "alice", data: "later" });
  await server.stop();
  await expect(mustreach(settings, "restore", backup)).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining("--force"),
  });

  const file = join(backup, "INBOX_0.snapshot");
  const whole = await readFile(file);
  const wrong = Buffer.from(whole);
  wrong[100] = (wrong[100] ?? 0) ^ 1;
  await writeFile(file, wrong);
  await expect(mustreach(settings, "restore", backup, "--force")).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining("checksum"),
  });
  await writeFile(file, whole);
  const count = async () =>
    (await (await jetstreamManager(await broker.connect())).streams.info("INBOX_0")).state.messages;
  const messages = await count();
  await mustreach(settings, "restore", backup, "--force");
  expect(await count()).toBeLessThan(messages);

  await mustreach(settings, "backup", backup, "--force");
  await writeFile(join(backup, "notes.txt"), "mine");
  await expect(mustreach(settings, "backup", backup, "--force")).rejects.toMatchObject({ code: 1 });
  expect(await readdir(backup)).toContain("manifest.json");
});

test("an embedded broker is copied while its service is stopped", async () => {
  const data = join(dir, "data");
  const server = await startTestServer({}, data);
  await (await open(server)).send({ to: "alice", data: "kept" });
  const backup = join(dir, "backup");
  await expect(mustreach({ DATA_DIR: data }, "backup", backup)).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining("in use by another Mustreach service"),
  });
  await server.stop();
  await mustreach({ DATA_DIR: data }, "backup", backup);
  const other = join(dir, "other");
  await mustreach({ DATA_DIR: other }, "restore", backup);
  const again = await startTestServer({}, other);
  closing.push(() => again.stop());
  const session = await (await open(again)).device.subscribe();
  expect(dataOf(await session.take(1))).toEqual(["kept"]);
});

test("every stream that is declared has a place in the order of copies, cursors before inboxes", async () => {
  const broker = await startBroker();
  await (await serve(broker)).stop();
  const names: string[] = [];
  for await (const name of (await jetstreamManager(await broker.connect())).streams.names()) names.push(name);
  expect(names.filter((name) => !isKnown(name))).toEqual([]);
  const order = inCopyOrder(names);
  expect(order.length).toBe(names.length - 1);
  expect(order[0]).toBe("KV_CURSORS");
  expect(order.indexOf("FANOUT")).toBeLessThan(order.indexOf("INBOX_0"));
});
