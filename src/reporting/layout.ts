import type { ConsumerSpec } from "../broker/consumers/declare.ts";
import type { StreamSpec } from "../broker/declare.ts";

/** The stream of all reports. */
export const reportStream = "REPORTS";

/** All reports. */
export const reportFilter = "report.>";

/** Where the broker tells that a report was stored, without its payload. */
export const toldFilter = "reported.>";

/** What a report says of a notification, as its subject has it. */
export type StateToken = "delivered" | "expired" | "recalled" | "escalated" | "collapsed";

/** Where it is reported what has become of a notification, by its token, for one user. */
export function reportSubject(partition: number, user: string, id: string, state: StateToken): string {
  return `report.${partition}.${user}.${id}.${state}`;
}

/** The stream of what is to be done for reports. */
export const reportJobStream = "REPORT_JOBS";

/** All that wait for a look. */
export const laterFilter = "report_later.*";

/** Notifications that wait for the next look at what has become of them. */
export function laterSubject(id: string): string {
  return `report_later.${id}`;
}

/** Those whose time has come. */
export function lookSubject(id: string): string {
  return `report_look.${id}`;
}

/** All that are due. */
export const lookFilter = "report_look.*";

/** Who holds this posts to the webhook: one instance at a time. */
export const turnSubject = "report_turn.webhook";

/** How far the webhook has taken the reports. */
export const placeSubject = "report_place.webhook";

/** Delivers what is due. */
export const reportLookConsumer: ConsumerSpec = {
  stream: reportJobStream,
  durable: "report_look",
  description: "delivers notifications whose end is to be reported, for another look",
  filter: lookFilter,
};

/** The jobs of whoever posts to the webhook: there is one. */
export const reportTurnJobs = { stream: reportJobStream, durable: "report_turn", filter: turnSubject } as const;

interface ReportingSettings {
  /** How long reports are kept, in milliseconds. */
  readonly retentionMs: number;
  /** Space for them, in bytes. */
  readonly maxBytes: number;
}

/** Reports, and what is to be done for them. */
export function reportingSpecs({ retentionMs, maxBytes }: ReportingSettings): readonly StreamSpec[] {
  return [
    {
      name: reportStream,
      description: "what has become of notifications, by recipient",
      subjects: [reportFilter],
      // The oldest make room: nothing that is sent waits for who reads reports.
      maxAgeMs: retentionMs,
      maxBytes,
      republish: { src: reportFilter, dest: toldFilter, headersOnly: true },
    },
    {
      name: reportJobStream,
      description: "notifications whose end is to be reported, and how far the report webhook is",
      subjects: [laterFilter, lookFilter, turnSubject, placeSubject],
      isQueue: true,
      hasSchedules: true,
    },
  ];
}
