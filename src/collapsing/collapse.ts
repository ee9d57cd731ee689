import { failure } from "../errors.ts";
import { createTurns } from "../in-flight.ts";
import type { Recalls } from "../recalling/findings.ts";
import type { RecallableSend } from "../recalling/recall.ts";
import type { Candidate, Candidates, Collapsible } from "./candidates.ts";

/** What a send with a collapse key does besides being stored, so that of its key and recipient the newest stays. */
export interface Collapsing {
  /** {@link Candidates.add}, to be done before its notification is stored. */
  announce(notification: Collapsible, groupVersion: number, isReported: boolean): Promise<number>;
  /**
   * Withdraws what it replaces, as a recall does, to be done once its notification is stored; or itself, if a newer one
   * is stored by now. Idempotent: what a send that ended halfway has left is done by its repeat, and by the next of its
   * key.
   *
   * @param since the sequence of the notification in the inbox of a user; to a group, that of its announcement.
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  settle(notification: Collapsible, since: number, operationId: string): Promise<void>;
}

export interface CollapseDeps {
  readonly candidates: Candidates;
  readonly recalls: Pick<Recalls, "recalledAt">;
  readonly membersAt: (groupId: string, version: number) => Promise<readonly string[]>;
  /** Withdraws a send that another has replaced. */
  readonly withdraw: (send: RecallableSend, operationId: string, replacedBy: string) => Promise<unknown>;
}

/** Keys and recipients that are settled at a time. */
const maxSettling = 64;

/** How often sends of a key are looked for, 500 at a time: more must have been sent at the same moment. */
const maxRounds = 20;

/**
 * Creates the collapse of sends. Which is the newest is said by the inbox of a user: the one with the highest sequence.
 * Whoever stores one finds all that are older, since each is announced before it is stored; so whatever was sent at the
 * same moment, on whatever instance, each is withdrawn by the next, and the last by nobody. To a group, whose sends are
 * expanded one after the other, the order is that of the announcements.
 */
export function createCollapsing(deps: CollapseDeps): Collapsing {
  const { candidates, recalls, membersAt, withdraw } = deps;
  const inTurn = createTurns(maxSettling);

  /** The order of those that can be the newest, by server message id; and those whose withdrawal has begun. */
  const orderOf = async (notification: Collapsible, some: readonly Candidate[], since: number) => {
    const order = new Map<string, number>();
    const withdrawn = new Set<string>();
    const isToUser = notification.recvUserId !== "";
    const places = isToUser ? await candidates.placesOf(notification, some, since) : undefined;
    for (const { serverMsgId, sequence } of some) {
      const place = places?.get(serverMsgId);
      if (typeof place === "number") order.set(serverMsgId, place);
      // To a group, a job that is done twice may announce again what was replaced meanwhile: it is not newer for that.
      else if (place === "withdrawn" || (await recalls.recalledAt(serverMsgId)) !== undefined)
        withdrawn.add(serverMsgId);
      else if (!isToUser) order.set(serverMsgId, sequence);
    }
    return { order, withdrawn };
  };

  const recipientsOf = async ({ recvUserId, recvGroupId }: Collapsible, { groupVersion }: Candidate) =>
    recvUserId !== "" ? [recvUserId] : membersAt(recvGroupId, groupVersion);

  const settle: Collapsing["settle"] = async (notification, since, operationId) => {
    for (let rounds = 0; rounds < maxRounds; rounds++) {
      const { candidates: some, isLast } = await candidates.list(notification, since);
      const { order, withdrawn } =
        some.length > 1 ? await orderOf(notification, some, since) : { order: new Map(), withdrawn: new Set() };
      const [newest] = [...order].reduce<[string, number]>((a, b) => (b[1] > a[1] ? b : a), ["", 0]);
      for (const candidate of some) {
        const { serverMsgId, clientMsgId, sendTime } = candidate;
        // The newest, or one that is on its way into the inbox: who stores it looks for itself.
        if (!withdrawn.has(serverMsgId) && (serverMsgId === newest || !order.has(serverMsgId))) continue;
        // Also one whose withdrawal has begun: it may have ended halfway, with that removed, and nobody told.
        const sent = { serverMsgId, clientMsgId, sendTime, reportKey: candidate.reportKey };
        const record = { ...sent, deliverAtMs: 0, recvDeviceId: "", exceptDeviceId: "" };
        const recipients = await recipientsOf(notification, candidate);
        await withdraw({ record, recipients }, operationId, newest);
        await candidates.remove(notification, candidate);
      }
      if (isLast) return;
    }
    throw failure("NetworkError", "too many of this collapseKey are being sent; send it again");
  };

  return {
    announce: candidates.add,
    settle: (notification, since, operationId) =>
      inTurn(JSON.stringify([notification.recvUserId, notification.recvGroupId, notification.collapseKey]), () =>
        settle(notification, since, operationId),
      ),
  };
}
