import { type Clock, systemClock } from "../clock.ts";
import type { Cursors } from "../cursors/cursors.ts";
import { type DeviceCursor, hasGot } from "../cursors/device-cursors.ts";
import type { Outstanding, ReportLooks } from "./looks.ts";
import type { Finding, ReportedNotification, Reports } from "./reports.ts";

/** A notification that the watch is given, of which nothing but its place and its id is known. */
export type NewlyStored = Omit<Outstanding, "notification"> & { readonly serverMsgId: string };

/** How a send was withdrawn, and when, in epoch milliseconds. */
interface Withdrawal {
  readonly state: "recalled" | "collapsed";
  readonly atMs: number;
}

export interface ReportWatchDeps {
  readonly reports: Pick<Reports, "tell" | "settled">;
  readonly looks: Pick<ReportLooks, "add">;
  readonly cursors: Pick<Cursors, "ofUsers">;
  /** How a send was withdrawn; undefined if it was not. */
  readonly findWithdrawal: (serverMsgId: string) => Promise<Withdrawal | undefined>;
  /** What was sent under an id, from its record or its place; undefined when neither is there any more. */
  readonly find: (serverMsgId: string) => Promise<ReportedNotification | undefined>;
  /** How long notifications are kept, in milliseconds. */
  readonly retentionMs: number;
  /** The longest time between two looks at a notification, in milliseconds. Default 3,600,000. */
  readonly maxPauseMs?: number;
  /** Default: the system's. */
  readonly clock?: Clock;
}

/** What finds out what has become of each notification, if nobody else has told it. */
export interface ReportWatch {
  /**
   * Takes notifications over from the watch over what is stored: when this resolves, their end is reported, or they are
   * kept for a later look.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  begin(stored: readonly NewlyStored[]): Promise<void>;
  /** Looks at notifications again. Throws as {@link begin}. */
  look(outstanding: readonly Outstanding[]): Promise<void>;
}

/** A look comes at this many times the age of the last. */
const growth = 3;

/** The shortest time between two looks, in milliseconds. */
const minPauseMs = 1_000;

/** An acknowledgement is stored within about a second, so one that is stored this long after the expiry may be of before. */
const cursorLagMs = 2_000;

/** The last look is this long before the retention ends, in milliseconds, or a tenth of the retention. */
const maxMarginMs = 60_000;

/** Sends whose records are read at a time. */
const maxReads = 64;

/**
 * Creates the watch. Acknowledgements, recalls and escalations are reported where they happen; what is lost with an
 * instance between the two is found here: at an age of about 5 s, then at ages that triple, an hour apart at most, and
 * when it expires.
 */
export function createReportWatch(deps: ReportWatchDeps): ReportWatch {
  const { reports, looks, cursors, findWithdrawal, retentionMs, maxPauseMs = 3_600_000, clock = systemClock } = deps;
  const marginMs = Math.min(maxMarginMs, retentionMs / 10);

  const endOf = ({ storedAtMs, expiresAtMs }: Outstanding) => {
    const keptUntilMs = storedAtMs + retentionMs - marginMs;
    const isByTtl = expiresAtMs !== undefined && expiresAtMs <= keptUntilMs;
    return isByTtl
      ? ({ atMs: expiresAtMs, reason: "ttl" } as const)
      : ({ atMs: keptUntilMs, reason: "retention" } as const);
  };

  /** The device that was first to acknowledge it in time, as far as the cursors tell. */
  const firstDevice = (
    one: Outstanding,
    devices: readonly DeviceCursor[],
    withdrawnMs = Number.POSITIVE_INFINITY,
  ): DeviceCursor | undefined => {
    const end = endOf(one);
    // Later, a device may have passed it because it was told that it had expired, or with what followed it.
    const untilMs = Math.min(end.reason === "ttl" ? end.atMs : Number.POSITIVE_INFINITY, withdrawnMs) + cursorLagMs;
    const past = devices.filter((cursor) => hasGot(cursor, one.sequence, one.devices) && cursor.storedAtMs <= untilMs);
    return past.toSorted((a, b) => a.storedAtMs - b.storedAtMs)[0];
  };

  const look = async (outstanding: readonly Outstanding[]): Promise<void> => {
    if (outstanding.length === 0) return;
    const settled = await reports.settled(
      outstanding.map(({ userId, notification: { serverMsgId } }) => ({ userId, serverMsgId })),
    );
    const open = outstanding.filter((_, place) => !settled.has(place));
    if (open.length === 0) return;
    const devices = await cursors.ofUsers([...new Set(open.map(({ userId }) => userId))]);
    const withdrawals = await ofEach(open, ({ notification }) => notification.serverMsgId, findWithdrawal);
    const now = clock.now();
    const findings: Finding[] = [];
    const waiting: { readonly one: Outstanding; readonly second: number }[] = [];
    for (const one of open) {
      const { notification, userId } = one;
      const end = endOf(one);
      const withdrawal = withdrawals.get(notification.serverMsgId);
      const device = firstDevice(one, devices.get(userId) ?? [], withdrawal?.atMs);
      const finding = { notification, userId };
      if (device !== undefined) {
        findings.push({ ...finding, state: "delivered", deviceId: device.deviceId });
      } else if (withdrawal !== undefined) {
        findings.push({ ...finding, state: withdrawal.state });
      } else if (end.atMs <= now) {
        findings.push({ ...finding, state: "expired", reason: end.reason });
      } else {
        const pauseMs = Math.max(minPauseMs, Math.min(maxPauseMs, (growth - 1) * (now - one.storedAtMs)));
        // By the second in which all of them are due: many share a job.
        waiting.push({ one, second: Math.ceil(Math.min(now + pauseMs, end.atMs) / 1_000) });
      }
    }
    await reports.tell(findings);
    for (const [second, group] of Map.groupBy(waiting, (each) => each.second)) {
      await looks.add(
        group.map(({ one }) => one),
        second * 1_000,
      );
    }
  };

  return {
    look,
    async begin(stored) {
      // Most were reported by then, and need no more than this.
      const settled = await reports.settled(stored);
      const open = stored.filter((_, place) => !settled.has(place));
      const found = await ofEach(open, ({ serverMsgId }) => serverMsgId, deps.find);
      await look(
        open.map(({ serverMsgId, ...one }) => {
          // Never silent: what has no record any more is told by its id.
          const notification = found.get(serverMsgId) ?? unknown(serverMsgId, one.storedAtMs);
          return { ...one, notification };
        }),
      );
    },
  };
}

/** Reads something once for all that have an id in common. */
async function ofEach<T, R>(
  items: readonly T[],
  idOf: (item: T) => string,
  read: (id: string) => Promise<R>,
): Promise<ReadonlyMap<string, R>> {
  const ids = [...new Set(items.map(idOf))];
  const found = new Map<string, R>();
  const remaining = ids.values();
  await Promise.all(
    Array.from({ length: Math.min(maxReads, ids.length) }, async () => {
      for (const id of remaining) found.set(id, await read(id));
    }),
  );
  return found;
}

function unknown(serverMsgId: string, storedAtMs: number): ReportedNotification {
  return { serverMsgId, clientMsgId: "", key: "", sendTimeMs: storedAtMs };
}
