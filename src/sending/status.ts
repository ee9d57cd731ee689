import { isFor } from "../addressing.ts";
import { type Clock, systemClock } from "../clock.ts";
import type { Cursors } from "../cursors/cursors.ts";
import { type DeviceCursor, hasGot } from "../cursors/device-cursors.ts";
import { wrongField } from "../errors.ts";
import { DeliveryState, type GetDeliveryStatusRequest } from "../gen/mustreach/msg/v1/msg_pb.ts";
import type { Inbox } from "../inbox/inbox.ts";
import { chunksOf, type RecallFindings, type Recalls } from "../recalling/findings.ts";
import { type FindSendDeps, findSend, requireReference } from "./find-send.ts";
import type { SendRecord, SendReference } from "./record.ts";

/** A request for a status, with defaults filled in. */
export interface StatusQuery {
  readonly reference: SendReference;
  /** Only recipients in this state; undefined: all. */
  readonly state: State | undefined;
  /** From 1. */
  readonly pageNumber: number;
  /** Recipients on a page. */
  readonly showNumber: number;
}

/** How far a notification has come with one device. */
export interface DeviceDelivery {
  readonly deviceId: string;
  readonly state: State | typeof DeliveryState.SETTLED;
  /** Epoch milliseconds; 0 when it is not known. */
  readonly acknowledgedTime: number;
}

/** How far a notification has come with one user. */
export interface RecipientDelivery {
  readonly userId: string;
  /** The best state of the devices; of a user without any, the notification's own. */
  readonly state: State;
  /** By id. */
  readonly devices: readonly DeviceDelivery[];
}

/** Recipients, all and by state. */
export type DeliveryCount = Record<"total" | StateName, number>;

/** Who has got a notification. */
export interface DeliveryStatus {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
  /** Epoch milliseconds. */
  readonly sendTime: number;
  readonly counts: DeliveryCount;
  /** The page, in the order of the user ids. */
  readonly recipients: readonly RecipientDelivery[];
}

export interface DeliveryStatusDeps extends FindSendDeps {
  readonly recalls: Pick<Recalls, "find" | "open">;
  readonly inbox: Pick<Inbox, "find">;
  readonly cursors: Pick<Cursors, "ofUsers">;
  /** How long notifications are kept, in milliseconds. */
  readonly retentionMs: number;
  /** Default: the system's. */
  readonly clock?: Clock;
}

/** What each state is called in a request and in the counts. */
const states = {
  delivered: DeliveryState.DELIVERED,
  pending: DeliveryState.PENDING,
  expired: DeliveryState.EXPIRED,
  recalled: DeliveryState.RECALLED,
  scheduled: DeliveryState.SCHEDULED,
  collapsed: DeliveryState.COLLAPSED,
} as const;

type StateName = keyof typeof states;
type State = (typeof states)[StateName];
const stateNames = Object.keys(states) as StateName[];

const maxShowNumber = 1_000;

/** Parts of a group that are looked at together. */
const chunksAtOnce = 4;

/**
 * Checks a request for a status.
 *
 * @throws ArgsError (1001) for the first rule that is broken.
 */
export function requireStatusQuery(request: GetDeliveryStatusRequest): StatusQuery {
  const reference = requireReference(request);
  const { state, pageNumber, showNumber } = request;
  const name = stateNames.find((known) => known === state);
  if (state !== "" && name === undefined) throw wrongField("state", `state must be one of ${stateNames.join(", ")}`);
  if (pageNumber < 0) throw wrongField("pageNumber", "pageNumber must be 1 or more");
  if (showNumber < 0 || showNumber > maxShowNumber) {
    throw wrongField("showNumber", `showNumber must be 1 to ${maxShowNumber}`);
  }
  return {
    reference,
    state: name && states[name],
    pageNumber: pageNumber || 1,
    showNumber: showNumber || 100,
  };
}

/**
 * Tells who has got a notification: the sequence of the notification in each inbox, compared with the cursors of the user's devices as
 * they are stored. Nothing is kept for each delivery, but for what a recall found, which it removes.
 *
 * @throws as {@link findSend}.
 */
export async function getDeliveryStatus(deps: DeliveryStatusDeps, query: StatusQuery): Promise<DeliveryStatus> {
  const { recalls, inbox, cursors, retentionMs, clock = systemClock } = deps;
  const { reference, state, pageNumber, showNumber } = query;
  const { record, recipients } = await findSend(deps, reference);
  const recalled = await recalls.find(record.serverMsgId);
  const findings = recalled && (await recalls.open(record.serverMsgId));
  const withdrawn = recalled && (recalled.replacedBy === "" ? DeliveryState.RECALLED : DeliveryState.COLLAPSED);
  const ownState = withdrawn ?? toOwnState(record, retentionMs, clock.now());

  const ofChunk = async (userIds: readonly string[]): Promise<RecipientDelivery[]> => {
    const [sequences, devices] = await Promise.all([inbox.find(userIds, record.serverMsgId), cursors.ofUsers(userIds)]);
    return userIds.map((userId) => {
      const { isUserScoped = false } = record;
      const at = { userId, sequence: sequences.get(userId), ownState, findings, isUserScoped };
      return toRecipient(at, devices.get(userId)?.filter(({ deviceId }) => isFor(record, deviceId)) ?? []);
    });
  };

  const counts: DeliveryCount = {
    total: 0,
    delivered: 0,
    pending: 0,
    expired: 0,
    recalled: 0,
    scheduled: 0,
    collapsed: 0,
  };
  const page: RecipientDelivery[] = [];
  let skipped = 0;
  for (const chunks of groupsOf(chunksAtOnce, chunksOf(recipients))) {
    for (const recipient of (await Promise.all(chunks.map(ofChunk))).flat()) {
      counts.total++;
      for (const name of stateNames) if (states[name] === recipient.state) counts[name]++;
      if (state !== undefined && recipient.state !== state) continue;
      if (skipped < (pageNumber - 1) * showNumber) skipped++;
      else if (page.length < showNumber) page.push(recipient);
    }
  }
  const { serverMsgId, clientMsgId, sendTime } = record;
  return { serverMsgId, clientMsgId, sendTime, counts, recipients: page };
}

interface Place {
  readonly userId: string;
  /** Of the notification in the user's inbox; undefined when it is not there. */
  readonly sequence: number | undefined;
  /** What holds for a device that has not acknowledged it. */
  readonly ownState: State;
  /** Of a recall, which has removed it from the inbox. */
  readonly findings: RecallFindings | undefined;
  /** Whether the first acknowledgement settles it for the other devices. */
  readonly isUserScoped: boolean;
}

function toRecipient(place: Place, cursors: readonly DeviceCursor[]): RecipientDelivery {
  const { userId, sequence, ownState, findings, isUserScoped } = place;
  const { DELIVERED, SETTLED } = DeliveryState;
  const isDelivered = (cursor: DeviceCursor) =>
    (sequence !== undefined && hasGot(cursor, sequence, undefined)) ||
    findings?.hasAcknowledged(userId, cursor.deviceId) === true;
  const delivered = new Set(cursors.filter(isDelivered));
  const otherState = isUserScoped && sequence !== undefined && delivered.size > 0 ? SETTLED : ownState;
  const devices: DeviceDelivery[] = cursors
    // One that began after it is not sent it.
    .filter(({ began = 0 }) => sequence === undefined || began < sequence)
    .map((cursor) => ({
      deviceId: cursor.deviceId,
      state: delivered.has(cursor) ? DELIVERED : otherState,
      acknowledgedTime: cursor.sequence === sequence ? cursor.storedAtMs : 0,
    }))
    .sort((a, b) => (a.deviceId < b.deviceId ? -1 : 1));
  const isAny = delivered.size > 0 || findings?.hasAcknowledged(userId) === true;
  return { userId, state: isAny ? DELIVERED : ownState, devices };
}

/**
 * What holds for who has not acknowledged it. One that is not in an inbox and not past its time is pending too: a group
 * send is still being expanded, or the write failed and the sender may repeat it.
 */
function toOwnState(record: SendRecord, retentionMs: number, nowMs: number): State {
  const { deliverAtMs, sendTime, expiresAtMs } = record;
  if (deliverAtMs > nowMs) return DeliveryState.SCHEDULED;
  const endsAtMs = expiresAtMs || (deliverAtMs || sendTime) + retentionMs;
  return endsAtMs <= nowMs ? DeliveryState.EXPIRED : DeliveryState.PENDING;
}

function* groupsOf<T>(size: number, items: Iterable<T>): Generator<T[]> {
  let group: T[] = [];
  for (const item of items) {
    group.push(item);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}
