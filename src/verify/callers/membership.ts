import { setTimeout as delay } from "node:timers/promises";
import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { GroupService } from "../../gen/mustreach/directory/v1/directory_pb.ts";
import type { Change, GroupHistory } from "../check/history.ts";
import { type Caller, type Deployment, pickInstance, untilAnswered } from "../deployment.ts";
import { perAddress } from "../doors/per-address.ts";
import type { Random } from "../random.ts";

/** Options of {@link createGroup} and {@link runMembership}. */
export interface MembershipOptions {
  readonly deployment: Deployment;
  readonly groupId: string;
  readonly random: Random;
  readonly call: Caller;
  readonly userIds: readonly string[];
}

/** OpenIM's type of a group. */
const workingGroup = 2;

/** What a group is refused with that an attempt has made which was not answered. */
const groupExists = 1202;

/** Creates a group with some of the users in it. */
export async function createGroup(options: MembershipOptions): Promise<GroupHistory> {
  const { groupId, random, userIds } = options;
  const [ownerUserId = "", ...memberUserIds] = userIds.filter((_, i) => i === 0 || random.chance(0.5));
  const groupInfo = { groupId, groupType: workingGroup };
  await change(options, (groups, headers, signal) =>
    groups.createGroup({ ownerUserId, memberUserIds, groupInfo }, { headers, signal }),
  );
  return { firstMembers: new Set([ownerUserId, ...memberUserIds]), changes: [] };
}

/** Adds and removes members of one group, one change after the other, until `signal` is aborted. */
export async function runMembership(
  options: MembershipOptions,
  { firstMembers, changes }: GroupHistory,
  now: () => number,
  signal: AbortSignal,
): Promise<void> {
  const { groupId, random, userIds } = options;
  const [ownerUserId] = firstMembers;
  while (!signal.aborted) {
    await delay(random.between(100, 1_500));
    const joined = random.chance(0.5);
    const users = userIds.filter((userId) => userId !== ownerUserId && random.chance(0.15));
    if (users.length === 0) continue;
    const made: { -readonly [K in keyof Change]: Change[K] } = {
      userIds: users,
      joined,
      startedAt: now(),
      endedAt: Number.POSITIVE_INFINITY,
    };
    changes.push(made);
    await change(options, (groups, headers, signal) =>
      joined
        ? groups.addMembers({ groupId, invitedUserIds: users }, { headers, signal })
        : groups.removeMembers({ groupId, kickedUserIds: users }, { headers, signal }),
    );
    made.endedAt = now();
  }
}

/** Makes a change until it is answered, so that it is known who is a member. Rejects when it is refused. */
async function change(
  { deployment, groupId, random, call }: MembershipOptions,
  work: (groups: Client<typeof GroupService>, headers: { token: string }, signal: AbortSignal) => Promise<unknown>,
): Promise<void> {
  const headers = { token: deployment.adminToken };
  let isUnknown = false;
  const made = await untilAnswered(random, 200, async () => {
    const { url } = pickInstance(deployment, random);
    const answer = await call(groupId, [], async (signal) => {
      await work(groupsAt(url), headers, signal);
      return "";
    });
    isUnknown ||= answer.outcome === "unknown";
    return answer;
  });
  const isMade = made?.outcome === "accepted" || (isUnknown && made?.errCode === groupExists);
  if (!isMade) throw new Error(`a change of ${groupId} was refused with ${made?.errCode}`);
}

const groupsAt = perAddress((baseUrl) => createClient(GroupService, createGrpcTransport({ baseUrl })));
