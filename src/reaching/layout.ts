import type { ConsumerSpec } from "../broker/consumers/declare.ts";
import type { StreamSpec } from "../broker/declare.ts";
import { inboxPartitionFilter, inboxStream } from "../inbox/layout.ts";

/** How long a dead letter is kept, in milliseconds: 30 days. */
const deadLetterMs = 30 * 86_400_000;

/** The stream of the notifications that are to be looked at later. */
export const laterStream = "LATER_LOOKS";

/** All looks that wait for their time. */
export const laterFilter = "later.*";

/** All looks that are due. */
export const lookFilter = "look.*";

/** Where a job of looks waits for its time. */
export function laterSubject(id: string): string {
  return `later.${id}`;
}

/** Where it is when its time has come. */
export function lookSubject(id: string): string {
  return `look.${id}`;
}

/** The stream of the notifications that wait for the webhook. */
export const escalationStream = "ESCALATIONS";

/** All notifications that wait for the first attempt to hand them to the webhook. */
export const escalationFilter = "escalation.*.*";

/** All notifications that wait for another attempt. */
export const retryFilter = "retry.*.*";

/** Where a notification waits for the webhook, by its place in the inboxes. */
export function escalationSubject(partition: number, sequence: number): string {
  return `escalation.${partition}.${sequence}`;
}

/** Where it waits for another attempt. */
export function retrySubject(partition: number, sequence: number): string {
  return `retry.${partition}.${sequence}`;
}

/** The stream of the notifications that the webhook has not taken. */
export const deadLetterStream = "DEAD_LETTERS";

/** Everything in {@link deadLetterStream}. */
export const deadLetterFilter = "dead.*.*";

/** Where a notification is kept that the webhook has not taken, by its place in the inboxes. */
export function deadLetterSubject(partition: number, sequence: number): string {
  return `dead.${partition}.${sequence}`;
}

/** Reads the place from an {@link escalationSubject}, a {@link retrySubject} or a {@link deadLetterSubject}. */
export function parsePlace(subject: string): { partition: number; sequence: number } {
  const [, partition, sequence] = subject.split(".");
  return { partition: Number(partition), sequence: Number(sequence) };
}

/**
 * The durable consumer of each inbox stream. Beyond 50,000 entries that are held or nak'ed, it gets no newer ones: so many
 * cost the broker nothing measurable while they wait.
 */
export function reachConsumer(partition: number): ConsumerSpec {
  return {
    stream: inboxStream(partition),
    durable: "reach",
    description: "holds each must-reach notification until a device has acknowledged it",
    filter: inboxPartitionFilter(partition),
    maxAckPending: 50_000,
    headersOnly: true,
  };
}

/** Delivers what is due. */
export const lookConsumer: ConsumerSpec = {
  stream: laterStream,
  durable: "look",
  description: "delivers must-reach notifications that are to be looked at again",
  filter: lookFilter,
};

const escalating = {
  stream: escalationStream,
  description: "hands notifications to the escalation webhook",
  maxAckPending: 10_000,
} as const;

/** Delivers notifications for the first attempt to hand them to the webhook, and for further ones. */
export const escalateConsumer: ConsumerSpec = { ...escalating, durable: "escalate", filter: escalationFilter };
export const retryConsumer: ConsumerSpec = { ...escalating, durable: "retry", filter: retryFilter };

interface ReachingSettings {
  /** How long notifications are kept in the inboxes, and so what waits to reach, in milliseconds. */
  readonly retentionMs: number;
  /** Space for what waits for the webhook, and again for what it has not taken, in bytes. */
  readonly maxStoreBytes: number;
}

/** The notifications that have not reached yet. */
export function reachingSpecs({ retentionMs, maxStoreBytes }: ReachingSettings): readonly StreamSpec[] {
  return [
    {
      name: laterStream,
      description: "must-reach notifications that are to be looked at later",
      subjects: [laterFilter, lookFilter],
      isQueue: true,
      hasSchedules: true,
      // No limit of its size: it is a fraction of the inboxes.
      maxAgeMs: retentionMs,
    },
    {
      name: escalationStream,
      description: "must-reach notifications that wait for the escalation webhook",
      subjects: [escalationFilter, retryFilter],
      isQueue: true,
      // One subject is one notification in one inbox. When it is full, what should go there waits in `reach`.
      isWriteOnce: true,
      maxAgeMs: retentionMs,
      maxBytes: maxStoreBytes,
    },
    {
      name: deadLetterStream,
      description: "must-reach notifications that the escalation webhook has not taken",
      subjects: [deadLetterFilter],
      // The oldest make room.
      maxAgeMs: deadLetterMs,
      maxBytes: maxStoreBytes,
    },
  ];
}
