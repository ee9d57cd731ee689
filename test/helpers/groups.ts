import { pino } from "pino";
import { afterAll } from "vitest";
import { type Broker, connectBroker } from "../../src/broker/connect.ts";
import { declare } from "../../src/broker/declare.ts";
import { createDirectGet } from "../../src/broker/reads/create-direct-get.ts";
import { type Ask, type DirectGet, type DirectGetRequest, readsOver } from "../../src/broker/reads/direct-get.ts";
import {
  createGroups,
  type Group,
  type Groups,
  type GroupsOptions,
  type MembershipChange,
} from "../../src/groups/groups.ts";
import { groupsSpecs } from "../../src/groups/layout.ts";
import type { TestBroker } from "./broker.ts";

/** What a test may choose, and what it may put between the groups and the broker. */
export interface InstanceOptions extends Partial<Omit<GroupsOptions, "onMembershipChange">> {
  readonly onMembershipChange?: (change: MembershipChange) => void;
  readonly wrapBroker?: (broker: Broker) => Broker;
  readonly wrapGet?: (get: DirectGet) => DirectGet;
}

/** One instance's groups. */
export interface GroupsInstance extends Groups {
  readonly broker: Broker;
  /** Every signal so far. */
  readonly changes: MembershipChange[];
  /** Every read so far that did not go to the leader. */
  readonly reads: DirectGetRequest[];
  /** The user ids of a group's members, sorted; at the version that is given, or now. */
  memberIds(groupId: string, version?: number): Promise<string[]>;
  /** The ids of a user's groups. */
  joinedIds(userId: string): Promise<string[]>;
  /** Creates a group with members, or throws. */
  open(groupId: string, userIds?: readonly string[]): Promise<Group>;
}

/** Opens instances on a broker, each with its own connection; all are closed after the last test. */
export function useGroups(server: TestBroker): (options?: InstanceOptions) => Promise<GroupsInstance> {
  const opened: (() => Promise<void>)[] = [];
  afterAll(async () => {
    for (const close of opened) await close();
  });
  return async (instance: InstanceOptions = {}) => {
    const { wrapBroker = (broker: Broker) => broker, wrapGet = (get: DirectGet) => get, ...options } = instance;
    const broker = await connectBroker({
      servers: [server.url],
      dial: server.dial,
      requestTimeoutMs: options.timeoutMs ?? 20_000,
      log: pino({ level: "silent" }),
    });
    opened.push(() => broker.close());
    const reads: DirectGetRequest[] = [];
    const direct = wrapGet(createDirectGet(broker, { timeoutMs: options.timeoutMs ?? 20_000 }));
    const ask: Ask = (stream, request) => {
      reads.push(request);
      return direct.ask(stream, request);
    };
    const get = readsOver(ask, () => {});
    const changes: MembershipChange[] = [];
    await declare(broker, groupsSpecs, 1);
    const groups = createGroups(wrapBroker(broker), get, {
      timeoutMs: 20_000,
      ...options,
      onMembershipChange(change) {
        changes.push(change);
        options.onMembershipChange?.(change);
      },
    });
    return {
      ...groups,
      broker,
      changes,
      reads,
      async memberIds(groupId, version) {
        const at = version ?? (await groups.find(groupId))?.version ?? 0;
        return (await groups.membersAt(groupId, at)).map(({ userId }) => userId).sort();
      },
      joinedIds: async (userId) => (await groups.joined(userId)).map(({ groupId }) => groupId),
      async open(groupId, userIds = []) {
        const members = userIds.map((userId) => ({ userId, role: 20 }) as const);
        const group = { groupId, groupName: "", ex: "", ownerUserId: "owner", creatorUserId: "imAdmin", members };
        const created = await groups.create(group);
        if (created === undefined) throw new Error(`${groupId} exists`);
        return created;
      },
    };
  };
}

/** `count` user ids. */
export function userIds(count: number, prefix = "user"): string[] {
  return Array.from({ length: count }, (_, n) => `${prefix}${n}`);
}
