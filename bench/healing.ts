import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createClient as createConnectClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { createClient, createSender, type SentNotification } from "../src/client/index.ts";
import { createFetchCalls } from "../src/client/web/fetch-calls.ts";
import { GroupService } from "../src/gen/mustreach/directory/v1/directory_pb.ts";
import { openEventSource } from "../src/verify/doors/event-source.ts";
import { startOwn } from "../src/verify/own/start.ts";

// How long after the end of one fault until every device, which was connected all along, has what was accepted before
// it; until a send that begins then is answered; and until that has come to its device. With the settings of production:
// a hint that is lost must not be found by a heartbeat that happens to be short.

const { values } = parseArgs({
  options: {
    times: { type: "string", default: "3" },
    only: { type: "string", default: "" },
    brokers: { type: "string", default: "1" },
    instances: { type: "string", default: "2" },
    verbose: { type: "boolean", default: false },
  },
});
const brokers = values.brokers === "3" ? 3 : 1;

/** How long everything may take, in milliseconds. */
const patienceMs = 60_000;

/** What the service tells an EventSource, in milliseconds. */
const eventSourceMs = 1_000;

/** The pause between two sends of a writer, in milliseconds. */
const everyMs = 50;

const deployment = await startOwn({
  instances: Number(values.instances),
  workers: 1,
  brokers,
  settings: { HEARTBEAT: "15s", SEND_TIMEOUT: "5s" },
});
const { instances, brokers: nodes, brokerLinks } = deployment.parts;
const [instance, broker] = [instances[0], nodes[0]];
if (instance === undefined || broker === undefined) throw new Error("nothing was started");
const linksOfInstance = brokerLinks.slice(0, brokers);

/** What has come to a device, and when. */
interface Device {
  readonly name: string;
  readonly userId: string;
  readonly cameAt: Map<string, number>;
}

const devices: Device[] = [];
const ended = new AbortController();
const add = (name: string): Device => {
  const device = { name, userId: `user-${devices.length}`, cameAt: new Map<string, number>() };
  devices.push(device);
  return device;
};
const note = ({ cameAt }: Device, data: string) => void (cameAt.has(data) || cameAt.set(data, performance.now()));

for (const { name, url } of instances) {
  for (const door of ["Receive", "Subscribe"] as const) {
    const device = add(`${door} at ${name}`);
    const client = createClient({
      baseUrl: url,
      token: await deployment.userToken(device.userId),
      ...(door === "Subscribe" && { transport: createConnectTransport({ baseUrl: url, httpVersion: "1.1" }) }),
    });
    client.onRecvCustomBusinessMessage(({ data }) => note(device, data));
    client.onStatus((status, error) => values.verbose && log(`${device.name}: ${status} ${error ?? ""}`));
    await client.connect();
    ended.signal.addEventListener("abort", () => void client.close({ deadlineMs: 0 }));
  }
  void runEventSource(add(`EventSource at ${name}`), url);
}

/** As a browser: it connects again after as long as the service has said. */
async function runEventSource(device: Device, url: string): Promise<void> {
  const token = await deployment.userToken(device.userId);
  const deviceId = "events";
  const calls = createFetchCalls(url);
  while (!ended.signal.aborted) {
    try {
      const request = { deviceId, window: 1_000, start: 1 } as const;
      for await (const { event } of openEventSource(url, request, { token, signal: ended.signal })) {
        if (event.case !== "notification") continue;
        note(device, event.value.data);
        const cursor = { sequence: event.value.sequence, epoch: event.value.epoch };
        void calls.ack({ deviceId, ...cursor }, { token, signal: ended.signal }).catch(() => {});
      }
    } catch (error) {
      if (values.verbose) log(`${device.name}: ${error}`);
    }
    await delay(eventSourceMs, undefined, { signal: ended.signal }).catch(() => {});
  }
}

const groups = createConnectClient(GroupService, createGrpcTransport({ baseUrl: instance.url }));
const [ownerUserId = "", ...memberUserIds] = devices.map(({ userId }) => userId);
await groups.createGroup(
  { ownerUserId, memberUserIds, groupInfo: { groupId: "everybody", groupType: 2 } },
  { headers: { token: deployment.adminToken, operationID: "healing" } },
);

/** What was accepted, when, and who is to get it. */
const accepted = new Map<string, { readonly at: number; readonly userIds: readonly string[] }>();
const senders = instances.map(({ url }) => createSender({ baseUrl: url, token: deployment.adminToken }));
let number = 0;

async function send(sender: (typeof senders)[number], userId: string | undefined): Promise<SentNotification> {
  const data = `n${++number}`;
  const to = userId === undefined ? { recvGroupID: "everybody" } : { recvUserID: userId };
  const sent = await sender.send({ sendUserID: "imAdmin", key: "healing", data, mustReach: true, ...to });
  accepted.set(data, {
    at: performance.now(),
    userIds: userId === undefined ? devices.map((device) => device.userId) : [userId],
  });
  return sent;
}

for (const sender of senders) {
  void (async () => {
    for (let turn = 0; !ended.signal.aborted; turn++) {
      await send(sender, turn % 4 === 0 ? undefined : devices[turn % devices.length]?.userId).catch(() => {});
      await delay(everyMs);
    }
  })();
}

/** The faults; each resolves at its end. */
const faults: Readonly<Record<string, () => Promise<void>>> = {
  nothing: async () => {},
  "broker killed, and started": async () => {
    await broker.kill();
    await delay(1_000);
    await broker.start();
  },
  "broker away for 10 s": async () => {
    await broker.kill();
    await delay(10_000);
    await broker.start();
  },
  "broker frozen for 5 s": async () => {
    broker.freeze();
    await delay(5_000);
    broker.thaw();
  },
  "instance killed, and started": async () => {
    await instance.end("SIGKILL");
    await instance.start();
  },
  "instance away for 10 s": async () => {
    await instance.end("SIGKILL");
    await delay(10_000);
    await instance.start();
  },
  "instance frozen for 5 s": async () => {
    instance.freeze();
    await delay(5_000);
    instance.thaw();
  },
  "instance to broker cut for 3 s": async () => {
    for (const link of linksOfInstance) link.cut();
    await delay(3_000);
    for (const link of linksOfInstance) link.mend();
  },
  "instance to broker silent for 5 s": async () => {
    for (const link of linksOfInstance) link.stall();
    await delay(5_000);
    for (const link of linksOfInstance) link.mend();
  },
  "instance to broker silent for 20 s": async () => {
    for (const link of linksOfInstance) link.stall();
    await delay(20_000);
    for (const link of linksOfInstance) link.mend();
  },
  "devices cut off for 3 s": async () => {
    instance.link.cut();
    await delay(3_000);
    instance.link.mend();
  },
  "devices cut off for 10 s": async () => {
    instance.link.cut();
    await delay(10_000);
    instance.link.mend();
  },
  "devices not heard for 5 s": async () => {
    instance.link.stall();
    await delay(5_000);
    instance.link.mend();
  },
  "all connections of devices lost": async () => {
    for (const { link } of instances) link.reset();
  },
};

/** Resolves when a device has everything of a time before `until`; to when the last of it came. */
async function whenAll(until: number): Promise<{ at: number; which: string }> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    let missing = "";
    let last = { at: until, which: "" };
    for (const [data, { at, userIds }] of accepted) {
      if (at > until) continue;
      for (const device of devices.filter(({ userId }) => userIds.includes(userId))) {
        const came = device.cameAt.get(data);
        const kind = userIds.length > 1 ? "a group's" : "a user's";
        if (came === undefined) missing = `${kind} ${data} at ${device.name}`;
        else if (came > last.at) last = { at: came, which: `${kind} at ${device.name}` };
      }
    }
    if (missing === "") return last;
    if (performance.now() > deadline) return { at: Number.POSITIVE_INFINITY, which: missing };
    await delay(20);
  }
}

function log(line: string): void {
  process.stdout.write(`${(performance.now() / 1_000).toFixed(2).padStart(8)} ${line}\n`);
}

interface Result {
  readonly backlogMs: number;
  readonly sendMs: number;
  readonly reachMs: number;
  readonly which: string;
}

async function measure(happen: () => Promise<void>): Promise<Result> {
  accepted.clear();
  await delay(1_500);
  await happen();
  const endedAt = performance.now();
  // Its user's sends, over each instance, and one to all.
  const sending = Promise.all(
    [...devices.map(({ userId }) => userId), undefined].map((userId, i) => {
      const sender = senders[i % senders.length];
      return sender && send(sender, userId);
    }),
  );
  const answered = sending.then(
    () => performance.now(),
    () => Number.POSITIVE_INFINITY,
  );
  const [backlog, sent] = await Promise.all([whenAll(endedAt), answered]);
  const reached = await whenAll(Math.max(sent, endedAt));
  return {
    backlogMs: backlog.at - endedAt,
    sendMs: sent - endedAt,
    reachMs: reached.at - endedAt,
    which: backlog.at - endedAt > 1_000 ? backlog.which : reached.which,
  };
}

process.on("SIGINT", () => void deployment.stop().finally(() => process.exit(130)));
const toS = (ms: number) => (ms / 1_000).toFixed(2);
const median = (all: readonly number[]) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0;
log("| fault | what was accepted before its end | a send at its end is answered | … and has come | last |");
for (const [name, happen] of Object.entries(faults)) {
  if (!name.includes(values.only)) continue;
  const results: Result[] = [];
  for (let i = 0; i < Number(values.times); i++) results.push(await measure(happen));
  const column = (of: (result: Result) => number) => {
    const all = results.map(of);
    return `${toS(median(all))}, at most ${toS(Math.max(...all))}`;
  };
  const worst = results.toSorted((a, b) => b.reachMs - a.reachMs)[0]?.which;
  log(
    `| ${name} | ${column(({ backlogMs }) => backlogMs)} | ${column(({ sendMs }) => sendMs)} | ${column(({ reachMs }) => reachMs)} | ${worst} |`,
  );
}
ended.abort();
await deployment.stop();
process.exit();
