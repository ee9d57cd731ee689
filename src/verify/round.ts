import { setTimeout as delay } from "node:timers/promises";
import type { GroupHistory, History, Send } from "./check/history.ts";
import { type Finding, inspect } from "./check/inspect.ts";
import { inspectLateness } from "./check/lateness.ts";
import { createCaller, type Deployment, type Fault } from "./deployment.ts";
import { createDevice } from "./device.ts";
import { createGroup, runMembership } from "./membership.ts";
import { createRandom, type Random } from "./random.ts";
import { runWriter } from "./writer.ts";

/** How much happens in a round. */
export interface RoundOptions {
  readonly deployment: Deployment;
  /** Makes the choices, and not their timing. */
  readonly seed: number;
  /** Which one it is: its users and groups are no other round's. */
  readonly round: number;
  readonly seconds: number;
  readonly writers: number;
  readonly users: number;
  readonly groups: number;
  /** The longest pause of a writer between two calls, in milliseconds. */
  readonly maxPauseMs: number;
  /** What is missing when everything is quiet may still come for this long, in milliseconds. Default 90,000. */
  readonly patienceMs?: number;
  /** The faults that are left to happen once before any happens again: over all rounds. */
  readonly due: Fault[];
}

/** What a round has shown. */
export interface Round {
  readonly history: History;
  readonly findings: readonly Finding[];
  /** When the last fault was over and nothing more was sent, by the history's clock. */
  readonly quietAt: number;
}

/** Pause between two faults, in milliseconds. */
const [minCalmMs, maxCalmMs] = [300, 3_000];

/** How often a fault does not happen alone. */
const togetherShare = 0.25;

/**
 * Everything at once, by chance: sends, repeats, refusals, recalls, changes of groups, devices that come and go by all
 * doors, and faults. Then devices read what there is, and what each has is compared with what the answers promised.
 */
export async function runRound(options: RoundOptions): Promise<Round> {
  const { deployment, seed, round, seconds, patienceMs = 90_000 } = options;
  const beganAt = performance.now();
  const now = () => performance.now() - beganAt;
  const call = createCaller(now);
  const randomOf = (name: string) => createRandom(seed, `${round}/${name}`);
  const nameAll = (kind: string, count: number) =>
    Array.from({ length: count }, (_, n) => `${kind}-${seed}-${round}-${n}`);
  const userIds = nameAll("user", options.users);
  const groupIds = nameAll("group", options.groups);
  const sends = new Map<string, Send>();
  const dataById = new Map<string, string>();
  const dataOf = (serverMsgId: string) => dataById.get(serverMsgId) ?? `unknown ${serverMsgId}`;
  const choices = randomOf("devices");
  const devices = userIds.flatMap((userId) =>
    Array.from({ length: choices.between(1, 2) }, (_, n) => {
      const deviceId = `device-${n}`;
      const random = randomOf(`${userId}/${deviceId}`);
      const device = createDevice({ deployment, userId, deviceId, random, now, dataOf });
      return { ...device, isOnline: choices.chance(0.7) };
    }),
  );
  const memberships = groupIds.map((groupId) => ({ deployment, groupId, random: randomOf(groupId), call, userIds }));
  const groups = new Map<string, GroupHistory>();
  for (const membership of memberships) groups.set(membership.groupId, await createGroup(membership));
  const history: History = { sends, groups, devices: devices.map((device) => device.history), marks: [] };

  const stopping = new AbortController();
  const { signal } = stopping;
  const writer = { deployment, call, userIds, groupIds, sends, dataById, maxPauseMs: options.maxPauseMs };
  const actors = [
    ...nameAll("writer", options.writers).map((name) => runWriter({ ...writer, name, random: randomOf(name) }, signal)),
    ...memberships.flatMap((membership) => {
      const group = groups.get(membership.groupId);
      return group === undefined ? [] : [runMembership(membership, group, now, signal)];
    }),
    ...devices.filter(({ isOnline }) => isOnline).map((device) => device.live(signal)),
    runFaults(options, history, randomOf("faults"), now, signal),
  ];
  // An actor that fails ends it at once.
  await Promise.race([delay(seconds * 1_000, undefined, { ref: false }), Promise.all(actors)]).finally(async () => {
    stopping.abort();
    await Promise.allSettled(actors);
  });
  await Promise.all(actors);

  const quietAt = now();
  const read = async () => {
    await Promise.all(devices.map((device) => device.drain()));
    return [...inspect(history), ...inspectLateness(history)];
  };
  let findings = await read();
  // A send to a group was answered when it was stored, and is expanded after it.
  while (findings.some(({ mayCome }) => mayCome) && now() - quietAt < patienceMs) {
    await delay(500);
    findings = await read();
  }
  return { history, findings, quietAt };
}

/** Lets one fault happen after the other, or two at a time that hit different things: each once before any again. */
async function runFaults(
  { deployment: { faults }, due }: RoundOptions,
  { marks }: History,
  random: Random,
  now: () => number,
  signal: AbortSignal,
): Promise<void> {
  const happen = async (fault: Fault) => {
    const at = now();
    await fault.happen(random);
    marks.push({ at, until: now(), what: fault.name });
  };
  while (faults.length > 0 && !signal.aborted) {
    await delay(random.between(minCalmMs, maxCalmMs), undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
    if (due.length === 0) due.push(...shuffle(faults, random));
    const first = due.shift();
    if (first === undefined) return;
    const other = due.findIndex(({ hits }) => !hits.some((hit) => first.hits.includes(hit)));
    const together = other !== -1 && random.chance(togetherShare) ? due.splice(other, 1) : [];
    await Promise.all([first, ...together].map(happen));
  }
}

function shuffle<T>(all: readonly T[], random: Random): T[] {
  return all
    .map((one) => ({ one, rank: random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ one }) => one);
}
