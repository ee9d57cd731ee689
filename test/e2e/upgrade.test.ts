import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { toJson } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { loadConfig } from "../../src/config.ts";
import { diagnose } from "../../src/doctor/diagnose.ts";
import { Gap_Reason, SubscribeResponseSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { type DeviceEvent, dataOf, openSender, useDevices } from "../helpers/device.ts";
import { useReceivers, webhookSecret } from "../helpers/escalation.ts";
import { type ExternalBroker, startExternalBroker } from "../helpers/external-broker.ts";
import { startTestServer, type TestServer } from "../helpers/server.ts";
import { type StoreFacts, settingsOf } from "../stores/facts.ts";

const run = promisify(execFile);
const stores = resolve(import.meta.dirname, "../stores");
const openDevice = useDevices();
const openReceiver = useReceivers();

/** What happened to an upgraded store since it was packed: a send that was due, and one to a group. */
const since = ["later", "shift 2"];

const files = (await readdir(stores)).filter((name) => name.endsWith(".tar.gz"));

// The steps are those of docs/upgrading.md.
describe.each(files)("the store %s", (file) => {
  const closing: (() => unknown)[] = [];
  let dir: string;
  let facts: StoreFacts;
  let broker: ExternalBroker;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "mustreach-upgrade-"));
    closing.push(() => rm(dir, { recursive: true, force: true }));
    await run("tar", ["-xzf", join(stores, file), "-C", dir]);
    facts = JSON.parse(await readFile(join(dir, "facts.json"), "utf8"));
    broker = await startExternalBroker({ storeDir: join(dir, "store") });
    closing.push(() => broker.remove());
  });
  afterAll(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  const serve = async (settings: Record<string, string> = {}): Promise<TestServer> => {
    const server = await startTestServer({ ...settingsOf(facts), NATS_URL: broker.url, ...settings });
    closing.push(() => server.stop());
    return server;
  };

  const environment = (): Record<string, string> => {
    const settings = Object.entries({ ...settingsOf(facts), NATS_URL: broker.url });
    return Object.fromEntries(settings.map(([name, value]) => [`MUSTREACH_${name}`, value]));
  };

  /** `mustreach` as an operator calls it. Rejects with the exit code and what it said. */
  const mustreach = (...args: string[]) =>
    run(process.execPath, ["src/cli/main.ts", ...args], { env: { ...process.env, ...environment() } });

  test("is all there after an upgrade, and goes on", async () => {
    await mustreach("backup", join(dir, "backup"));
    const webhook = await openReceiver();
    const server = await serve({
      ESCALATION_URL: webhook.url,
      ESCALATION_SECRET: webhookSecret,
      ESCALATION_DELAY: "1s",
    });
    const { tokens, cursors, shown, answers } = facts;
    const device = (deviceId: string) => openDevice(server.url, tokens.alice, deviceId);

    // What was asked is answered as it was: groups, conversations, tokens, ids that were used.
    const asked = await Promise.all(answers.map(({ path, body, token }) => server.post(path, body, token)));
    expect(asked.map(({ json }) => json)).toMatchObject(answers.map(({ answer }) => answer));

    // What was stored is shown as it was, with its sequences; what was due comes after it.
    const whole = await device("tablet").subscribe({ afterSequence: 0n });
    const events: DeviceEvent[] = [];
    while (events.length < shown.length + since.length) {
      const event = await whole.nextEvent();
      if (event !== undefined) events.push(event);
    }
    expect(events.slice(0, shown.length).map(asJson)).toMatchObject(shown);
    const due = events.slice(shown.length).map((event) => (event.case === "notification" ? event.value.data : event));
    expect(due.toSorted()).toEqual(since);

    // Each device goes on where it was, and acknowledges.
    const laptop = await device("laptop").subscribe();
    expect(Number(laptop.ready.resumeSequence)).toBe(cursors.laptop);
    expect(dataOf(await laptop.take(1))).toEqual(["order 2"]);
    const phone = await device("phone").subscribe();
    expect(Number(phone.ready.resumeSequence)).toBe(cursors.phone);
    const [fourth, fifth] = await phone.take(2);
    expect([fourth?.data, fifth?.data]).toEqual(["order 4", "order 5"]);
    await device("phone").ack(fifth?.sequence ?? 0n, fifth?.epoch);
    const status = () => server.post("/msg/get_delivery_status", { clientMsgID: "id of order 5" }, tokens.admin);
    await vi.waitFor(async () => expect((await status()).json.data).toMatchObject({ counts: { delivered: 1 } }));

    // The group is as it was when it was sent to: with who has left since, and without who has come.
    const dave = await openDevice(server.url, tokens.dave).subscribe();
    expect(dataOf(await dave.take(1))).toEqual(["shift 2"]);
    const eve = await openDevice(server.url, await server.userToken("eve")).subscribe();

    // What no device has is escalated; and what is new can be sent.
    await vi.waitFor(() => expect(webhook.received.map(({ body }) => body.userID)).toContain("bob"));
    const list = { sendUserID: "system", recvUserIDs: ["dave", "eve"], key: "k", data: "new", reliabilityLevel: 2 };
    const sent = await server.post("/msg/send_business_notification", list, tokens.admin);
    expect(sent.json.errCode).toBe(0);
    expect(dataOf(await dave.take(1))).toEqual(["new"]);
    expect(dataOf(await eve.take(1))).toEqual(["new"]);

    const findings = await diagnose(loadConfig(environment()), { url: server.url, adminUrl: server.adminUrl });
    expect(findings.filter(({ level }) => level !== "ok")).toEqual([]);
    await server.stop();
  });

  test("is as it was when its backup is restored, and tells the devices that were further", async () => {
    await mustreach("restore", join(dir, "backup"), "--force");
    const server = await serve();
    const { tokens, cursors, shown } = facts;
    const whole = await openDevice(server.url, tokens.alice, "tablet").subscribe();
    for (const event of shown) expect(asJson(await whole.nextEvent())).toMatchObject(event);
    const phone = await openDevice(server.url, tokens.alice, "phone").subscribe();
    expect(Number(phone.ready.resumeSequence)).toBe(cursors.phone);
    // As a device that has got what was sent after the backup.
    const further = { afterSequence: phone.ready.resumeSequence + 1_000n, epoch: "of-an-upgrade" };
    const ahead = await openDevice(server.url, tokens.alice, "ahead").subscribe(further);
    const event = await ahead.nextEvent();
    expect(event).toMatchObject({ case: "gap", value: { reason: Gap_Reason.STORE_CHANGED } });
    await openSender(server.url, tokens.admin)({ to: "alice", data: "after" });
    await vi.waitFor(async () => expect(dataOf(await ahead.take(1))).toEqual(["after"]));
  });
});

function asJson(event: DeviceEvent = { case: undefined }) {
  return toJson(SubscribeResponseSchema, { $typeName: "mustreach.delivery.v1.SubscribeResponse", event });
}
