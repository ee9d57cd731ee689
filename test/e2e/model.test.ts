import { setTimeout as delay } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { useDevices } from "../helpers/device.ts";
import { createModelDevice } from "../helpers/model-device.ts";
import { acceptance, type Change, type GroupHistory, type History, type Send } from "../helpers/model-history.ts";
import { explain, inspect } from "../helpers/model-inspect.ts";
import { createRandom, type Door, startWorld, type World } from "../helpers/model-world.ts";

/**
 * Everything at once, by chance: sends, repeats, refusals, recalls, membership changes, devices that come and go, and
 * crashes. Whatever happened, what every device has at the end must be what the answers promised.
 *
 * `MODEL_SEED` makes the choices (not the timing), `MODEL_SECONDS` is how long; `npm run soak` takes another seed each time.
 */
const seed = Number(process.env.MODEL_SEED ?? 1);
const seconds = Number(process.env.MODEL_SECONDS ?? 20);

const counts = { senders: 50, users: 20, groups: 10 };
const userIds = Array.from({ length: counts.users }, (_, n) => `user-${n}`);
const groupIds = Array.from({ length: counts.groups }, (_, n) => `group-${n}`);

const openDevice = useDevices();
const worlds: World[] = [];
afterAll(async () => {
  for (const world of worlds) await world.remove();
});

test("every device gets what was promised to it, whatever happens", { timeout: (seconds + 200) * 1_000 }, async () => {
  process.stdout.write(`model: MODEL_SEED=${seed} MODEL_SECONDS=${seconds}\n`);
  const world = await startWorld({ HEARTBEAT: "1s", PARTITIONS: "2", SEND_TIMEOUT: "2s" });
  worlds.push(world);
  const random = createRandom(seed, "world");
  const sends = new Map<string, Send>();
  const dataById = new Map<string, string>();
  const devices = userIds.flatMap((userId) =>
    Array.from({ length: random.between(1, 2) }, (_, n) => {
      const deviceId = `device-${n}`;
      const device = createModelDevice({
        world,
        userId,
        deviceId,
        random: createRandom(seed, `${userId}/${deviceId}`),
        openDevice,
        dataOf: (serverMsgId) => dataById.get(serverMsgId) ?? `unknown ${serverMsgId}`,
      });
      return { ...device, isOnline: random.chance(0.7) };
    }),
  );
  const groups = await createGroups(world);
  const history: History = { sends, groups, devices: devices.map((device) => device.history), marks: [] };

  const stopping = new AbortController();
  const { signal } = stopping;
  const actors = [
    ...Array.from({ length: counts.senders }, (_, n) => runSender(world, `sender-${n}`, sends, dataById, signal)),
    ...[...groups].map(([groupId, group]) => runMembership(world, groupId, group, signal)),
    ...devices.filter(({ isOnline }) => isOnline).map((device) => device.live(signal)),
    runChaos(world, history, signal),
  ];
  // An actor that fails ends it at once.
  await Promise.race([delay(seconds * 1_000), Promise.all(actors)]).finally(async () => {
    stopping.abort();
    await Promise.allSettled(actors);
  });
  await Promise.all(actors);
  await world.whenExpanded();
  await Promise.all(devices.map((device) => device.drain()));

  process.stdout.write(`${summarize(history)}\n`);
  const errors = world.errors();
  if (errors.length > 0) process.stdout.write(`model: ${errors.length} errors logged, such as ${errors[0]}\n`);
  const findings = inspect(history);
  const kinds = [...Map.groupBy(findings, ({ what }) => what.replace(/\d+/g, "n"))];
  // One of each kind tells more than many of one.
  const told = kinds.map(([, [first, ...more]]) => `${first && explain(history, first)}\n  … and ${more.length} more`);
  expect(told.join("\n\n"), `MODEL_SEED=${seed} MODEL_SECONDS=${seconds}`).toBe("");
});

async function createGroups(world: World): Promise<Map<string, GroupHistory>> {
  const groups = new Map<string, GroupHistory>();
  for (const groupId of groupIds) {
    const random = createRandom(seed, `members of ${groupId}`);
    const [ownerUserId = "", ...memberUserIds] = userIds.filter(() => random.chance(0.5));
    const headers = { token: world.adminToken };
    await world
      .doors()[0]
      .groups.createGroup({ ownerUserId, memberUserIds, groupInfo: { groupId, groupType: 2 } }, { headers });
    groups.set(groupId, { firstMembers: new Set([ownerUserId, ...memberUserIds]), changes: [] });
  }
  return groups;
}

/** Adds and removes members of one group, one change after the other; each is repeated until it is answered. */
async function runMembership(
  world: World,
  groupId: string,
  { firstMembers, changes }: GroupHistory,
  signal: AbortSignal,
) {
  const random = createRandom(seed, `changes of ${groupId}`);
  const [ownerUserId] = firstMembers;
  while (!signal.aborted) {
    await delay(random.between(100, 1_500));
    const joined = random.chance(0.5);
    const users = userIds.filter((userId) => userId !== ownerUserId && random.chance(0.15));
    if (users.length === 0) continue;
    const change: { -readonly [K in keyof Change]: Change[K] } = {
      userIds: users,
      joined,
      startedAt: world.now(),
      endedAt: Number.POSITIVE_INFINITY,
    };
    changes.push(change);
    for (let tries = 0; change.endedAt === Number.POSITIVE_INFINITY; tries++) {
      if (tries === 100) throw new Error(`${groupId} cannot be changed`);
      const door = world.pickDoor(random);
      const { outcome, errCode, endedAt } = await world.call(groupId, door, async (options) => {
        if (joined) await door.groups.addMembers({ groupId, invitedUserIds: users }, options);
        else await door.groups.removeMembers({ groupId, kickedUserIds: users }, options);
        return "";
      });
      if (outcome === "refused") throw new Error(`a change of ${groupId} was refused with ${errCode}`);
      if (outcome === "accepted") change.endedAt = endedAt;
      else await delay(random.between(50, 300));
    }
  }
}

/** Sends, repeats, recalls, one after the other. */
async function runSender(
  world: World,
  name: string,
  sends: Map<string, Send>,
  dataById: Map<string, string>,
  signal: AbortSignal,
) {
  const random = createRandom(seed, name);

  const attempt = async (send: Send, door: Door) => {
    const { data, clientMsgId, recvUserId, recvGroupId, level, sendMsg } = send;
    const request = { sendUserId: "system", key: "test", data, clientMsgId, recvUserId, recvGroupId, sendMsg };
    const call = await world.call(name, door, async (options) => {
      const reply = await door.msg.sendBusinessNotification({ ...request, reliabilityLevel: level }, options);
      dataById.set(reply.serverMsgId, data);
      return reply.serverMsgId;
    });
    send.attempts.push(call);
    return call.outcome;
  };

  /** As callers should: what is not known is sent again under its id. */
  const sendUntilAnswered = async (send: Send) => {
    let outcome = await attempt(send, world.pickDoor(random));
    for (let tries = 0; outcome === "unknown" && send.clientMsgId !== "" && tries < 50; tries++) {
      if (random.chance(0.1)) return;
      await delay(random.between(20, 300));
      outcome = await attempt(send, world.pickDoor(random));
    }
  };

  const compose = (change: Partial<Send> = {}): Send => {
    const data = `${name}/${sends.size}`;
    const isToGroup = random.chance(0.5);
    const send: Send = {
      data,
      clientMsgId: random.chance(0.6) ? `id of ${data}` : "",
      recvUserId: isToGroup ? "" : random.pick(userIds),
      recvGroupId: isToGroup ? random.pick(groupIds) : "",
      level: random.chance(0.75) ? 2 : 1,
      sendMsg: random.chance(0.15),
      attempts: [],
      recalls: [],
      ...change,
    };
    sends.set(data, send);
    return send;
  };

  const pickSent = (is: (send: Send) => boolean): Send | undefined => {
    const recent = [...sends.values()].slice(-200).filter(is);
    return recent.length === 0 ? undefined : random.pick(recent);
  };

  while (!signal.aborted) {
    await delay(random.between(20, 400));
    const choice = random();
    if (choice < 0.08) {
      const sent = pickSent(({ clientMsgId, attempts }) => clientMsgId !== "" && attempts.length > 0);
      if (sent !== undefined) await sendUntilAnswered(sent);
    } else if (choice < 0.12) {
      const other = pickSent(({ clientMsgId }) => clientMsgId !== "");
      if (other !== undefined) await sendUntilAnswered(compose({ clientMsgId: other.clientMsgId }));
    } else if (choice < 0.15) {
      await sendUntilAnswered(compose({ recvUserId: "", recvGroupId: "no such group" }));
    } else if (choice < 0.18) {
      const send = compose({ clientMsgId: `id of ${name}/${sends.size}` });
      await Promise.all(world.doors().map((door) => attempt(send, door)));
    } else if (choice < 0.24) {
      const sent = pickSent((send) => send.level === 2 && acceptance(send) !== undefined);
      if (sent !== undefined) await recallUntilAnswered(world, name, sent, random);
    } else {
      await sendUntilAnswered(compose());
    }
  }
}

async function recallUntilAnswered(world: World, name: string, send: Send, random: ReturnType<typeof createRandom>) {
  const { serverMsgId = "" } = send.attempts.find(({ outcome }) => outcome === "accepted") ?? {};
  for (let tries = 0; tries < 20; tries++) {
    const door = world.pickDoor(random);
    const call = await world.call(name, door, async (options) => {
      await door.msg.recallBusinessNotification({ serverMsgId }, options);
      return "";
    });
    send.recalls.push(call);
    if (call.outcome !== "unknown") return;
    await delay(random.between(50, 300));
  }
}

/** Kills one after the other, and starts it again soon: each instance and the broker once at least. */
async function runChaos(world: World, { marks }: History, signal: AbortSignal) {
  const random = createRandom(seed, "chaos");
  const mark = (what: string) => marks.push({ at: world.now(), what });
  const crashes = {
    async "instance 0"() {
      await world.killService(0);
      await delay(random.between(0, 1_000));
      await world.startService(0);
    },
    async "instance 1"() {
      await world.killService(1);
      await delay(random.between(0, 1_000));
      await world.startService(1);
    },
    async "the broker"() {
      await world.killBroker();
      await delay(random.between(0, 3_000));
      await world.startBroker();
    },
    async "instance 0, gently"() {
      await world.killService(0, "SIGTERM");
      await world.startService(0);
    },
    // What was answered while the broker was away would be lost with the instance.
    async "the broker, then instance 0"() {
      await world.killBroker();
      await delay(random.between(0, 800));
      await world.killService(0);
      await delay(random.between(0, 1_000));
      await Promise.all([world.startBroker(), world.startService(0)]);
    },
  };
  const names = Object.keys(crashes) as (keyof typeof crashes)[];
  const first = names
    .map((name) => ({ name, rank: random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ name }) => name);
  await delay(random.between(500, 2_000));
  while (!signal.aborted) {
    const name = first.shift() ?? random.pick(names);
    mark(`crash of ${name}`);
    await crashes[name]();
    mark(`${name} is back`);
    await delay(random.between(500, 4_000));
  }
}

function summarize({ sends, groups, devices, marks }: History): string {
  const attempts = [...sends.values()].flatMap((send) => send.attempts);
  const recalls = [...sends.values()].flatMap((send) => send.recalls);
  const codes = Map.groupBy(attempts, ({ outcome, errCode }) => `${outcome}${errCode ? ` ${errCode}` : ""}`);
  const sessions = devices.flatMap((device) => device.sessions);
  const changes = [...groups.values()].flatMap((group) => group.changes);
  const crashes = Map.groupBy(
    marks.filter(({ what }) => what.startsWith("crash")),
    ({ what }) => what,
  );
  return [
    `model: ${sends.size} notifications in ${attempts.length} sends`,
    [...codes].map(([code, { length }]) => `${length} ${code}`).join(", "),
    `${recalls.length} recalls, ${changes.length} membership changes`,
    `${devices.length} devices with ${sessions.length} sessions got ${sessions.reduce((sum, { events }) => sum + events.length, 0)} events`,
    [...crashes].map(([what, { length }]) => `${length} × ${what}`).join(", "),
  ].join("; ");
}
