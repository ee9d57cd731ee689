import type { BaseLogger } from "pino";
import type { DirectGet } from "../broker/direct-get.ts";
import { createLimit } from "../in-flight.ts";
import { decodeNotification, readItemHeaders } from "../inbox/items.ts";
import { locateInbox } from "../inbox/layout.ts";
import { type Finding, type Reports, toReported } from "./reports.ts";

export interface DeliveredDeps {
  readonly reports: Pick<Reports, "tell">;
  readonly get: Pick<DirectGet, "at">;
  readonly partitions: number;
  readonly log: BaseLogger;
}

/**
 * Reports that a device has acknowledged notifications, by their sequences. Nobody waits for it: what it cannot report
 * now is reported by the watch.
 */
export type ReportDelivered = (userId: string, deviceId: string, sequences: readonly number[]) => void;

/** Acknowledgements that are being reported at a time, on this instance, and those that wait; the watch has the others. */
const maxUnderWay = 64;
const maxWaiting = 10_000;

export function createReportDelivered({ reports, get, partitions, log }: DeliveredDeps): ReportDelivered {
  const limit = createLimit(maxUnderWay);
  let waiting = 0;

  const report = async (userId: string, deviceId: string, sequence: number): Promise<void> => {
    const message = await get.at(locateInbox(userId, partitions).stream, sequence);
    if (message === undefined) return;
    const facts = readItemHeaders(message);
    // In a store that was replaced, its place may be that of something else, of anybody.
    if (facts.userId !== userId || facts.kind !== "notification" || facts.report === undefined) return;
    const finding: Finding = {
      notification: toReported(decodeNotification(message)),
      userId,
      state: "delivered",
      deviceId,
    };
    await reports.tell([finding]);
  };

  return (userId, deviceId, sequences) => {
    for (const sequence of sequences) {
      if (waiting >= maxWaiting) return;
      waiting++;
      limit(1, () => report(userId, deviceId, sequence))
        .catch((err: unknown) => log.warn({ err }, "cannot report a delivery now; it is reported later"))
        .finally(() => waiting--);
    }
  };
}
