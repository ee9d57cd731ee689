import type { BaseLogger } from "pino";
import { createLimit } from "../in-flight.ts";
import type { Finding, ReportedNotification, Reports } from "./reports.ts";

export interface DeliveredDeps {
  readonly reports: Pick<Reports, "tell" | "settled">;
  readonly log: BaseLogger;
}

/**
 * Reports that a device has acknowledged notifications for its user, unless something was reported of them that nothing
 * follows. Nobody waits for it: what it cannot report now is reported by the watch.
 */
export type ReportDelivered = (
  userId: string,
  deviceId: string,
  notifications: readonly ReportedNotification[],
) => void;

/** Acknowledgements that are being reported at a time, on this instance. */
const maxUnderWay = 64;

/** Notifications that wait to be reported at a time, on this instance; the watch has those beyond. */
export const maxWaitingReports = 10_000;

export function createReportDelivered({ reports, log }: DeliveredDeps): ReportDelivered {
  const limit = createLimit(maxUnderWay);
  let waiting = 0;

  const report = async (findings: readonly Finding[]): Promise<void> => {
    const told = await reports.settled(
      findings.map(({ userId, notification: { serverMsgId } }) => ({ userId, serverMsgId })),
    );
    await reports.tell(findings.filter((_, place) => !told.has(place)));
  };

  return (userId, deviceId, notifications) => {
    const taken = notifications.slice(0, maxWaitingReports - waiting);
    if (taken.length === 0) return;
    waiting += taken.length;
    limit(1, () =>
      report(taken.map((notification) => ({ notification, userId, state: "delivered" as const, deviceId }))),
    )
      .catch((err: unknown) => log.warn({ err }, "cannot report deliveries now; they are reported later"))
      .finally(() => {
        waiting -= taken.length;
      });
  };
}
