import { create, toBinary } from "@bufbuild/protobuf";
import type { DirectGet, DirectMessage } from "../broker/reads/direct-get.ts";
import { toPartition, toToken } from "../broker/subjects.ts";
import { type Clock, systemClock } from "../clock.ts";
import { decodeStored } from "../decode-stored.ts";
import type { Notification } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { type Report, ReportSchema, ReportState } from "../gen/mustreach/msg/v1/report_pb.ts";
import { forAll } from "../in-flight.ts";
import type { Publisher } from "../publishing/publish.ts";
import { reportStream, reportSubject, type StateToken } from "./layout.ts";

/** A notification, as reports name it. */
export interface ReportedNotification {
  readonly serverMsgId: string;
  readonly clientMsgId: string;
  readonly key: string;
  /** Epoch milliseconds. */
  readonly sendTimeMs: number;
}

/** What has become of a notification for one recipient. */
export interface Finding {
  readonly notification: ReportedNotification;
  readonly userId: string;
  readonly state: StateToken;
  /** Of `delivered`: the first device, as far as that is known. */
  readonly deviceId?: string | undefined;
  /** Of `expired`: why. */
  readonly reason?: "ttl" | "retention";
}

/** Reports of this instance since the start, by state; those that were told before are not in it. */
export type ReportCounts = Record<StateToken, number>;

/** The reports of all notifications, each told once. */
export interface Reports {
  readonly counts: Readonly<ReportCounts>;
  /**
   * Stores reports, each once for a notification, a recipient and a state: what was told before stays as it is.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time; some are stored then.
   */
  tell(findings: readonly Finding[]): Promise<void>;
  /** Which of these have a report that nothing follows, by their place in the list. */
  settled(of: readonly { readonly userId: string; readonly serverMsgId: string }[]): Promise<ReadonlySet<number>>;
}

/** What each state is in a report. */
const states: Readonly<Record<StateToken, ReportState>> = {
  delivered: ReportState.DELIVERED,
  expired: ReportState.EXPIRED,
  recalled: ReportState.RECALLED,
  escalated: ReportState.ESCALATED,
  collapsed: ReportState.COLLAPSED,
};

/** The name of a state, in JSON; `unspecified` for one of a later version. */
export function toStateToken(state: ReportState): StateToken | "unspecified" {
  return stateTokens.find((token) => states[token] === state) ?? "unspecified";
}

const stateTokens = ["delivered", "expired", "recalled", "escalated", "collapsed"] as const;

/** States after which nothing is looked for. */
const endTokens = ["delivered", "expired", "recalled", "collapsed"] as const;

/** Notifications that are looked up together: multi_last answers 1,024 subjects. */
const maxLookup = 250;

/** Reports that are stored at a time, on this instance, of one call. */
const maxInFlight = 256;

/** @param partitions as of the inboxes: a user's reports have the partition of the user's inbox in their subjects. */
export function createReports(
  publisher: Publisher,
  get: DirectGet,
  partitions: number,
  clock: Clock = systemClock,
): Reports {
  const counts: ReportCounts = { delivered: 0, expired: 0, recalled: 0, escalated: 0, collapsed: 0 };

  const subjectOf = (userId: string, serverMsgId: string, state: StateToken): string => {
    const user = toToken(userId);
    return reportSubject(toPartition(user, partitions), user, toToken(serverMsgId), state);
  };

  const tellOne = async (finding: Finding): Promise<void> => {
    const { userId, notification, state } = finding;
    const subject = subjectOf(userId, notification.serverMsgId, state);
    const payload = toBinary(ReportSchema, toReport(finding, clock.now()));
    // Only where none is: who is second has nothing to add.
    const stored = await publisher.store(reportStream, { subject, payload, headers: {}, replaces: 0 });
    if (stored.kind === "stored") counts[state]++;
  };

  return {
    counts,
    tell: (findings) => forAll(findings, Math.min(maxInFlight, findings.length), tellOne),
    async settled(of) {
      const found = new Set<number>();
      for (let start = 0; start < of.length; start += maxLookup) {
        const places = new Map<string, number>();
        for (const [nth, { userId, serverMsgId }] of of.slice(start, start + maxLookup).entries()) {
          for (const token of endTokens) places.set(subjectOf(userId, serverMsgId, token), start + nth);
        }
        for (const { subject } of await get.lastOf(reportStream, [...places.keys()])) {
          const place = places.get(subject);
          if (place !== undefined) found.add(place);
        }
      }
      return found;
    },
  };
}

/** A notification, as reports name it. */
export function toReported({ serverMsgId, clientMsgId, key, sendTime }: Notification): ReportedNotification {
  return { serverMsgId, clientMsgId, key, sendTimeMs: Number(sendTime) };
}

function toReport({ notification, userId, state, deviceId = "", reason }: Finding, timeMs: number): Report {
  const { serverMsgId, clientMsgId, key, sendTimeMs } = notification;
  const times = { sendTime: BigInt(sendTimeMs), time: BigInt(timeMs) };
  return create(ReportSchema, {
    state: states[state],
    serverMsgId,
    clientMsgId,
    userId,
    deviceId,
    key,
    ...times,
    reason: reason ?? "",
  });
}

/** Reads a stored report, with its place in the order. */
export function readReport({ payload, sequence }: Pick<DirectMessage, "payload" | "sequence">): Report {
  return Object.assign(decodeStored(ReportSchema, payload), { sequence: BigInt(sequence) });
}
