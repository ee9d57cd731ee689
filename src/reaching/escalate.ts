import type { BaseLogger } from "pino";
import { type Clock, systemClock } from "../clock.ts";
import type { Cursors } from "../cursors/cursors.ts";
import { hasGot } from "../cursors/device-cursors.ts";
import { createPause, type PauseOptions } from "../webhook/pause.ts";
import type { Webhook } from "../webhook/post.ts";
import type { DeadLetters } from "./dead-letters.ts";
import type { Escalation, EscalationAttempt, Escalations } from "./escalations.ts";
import { createSlots } from "./slots.ts";
import { toWebhookBody } from "./webhook-body.ts";

export interface EscalateOptions {
  readonly escalations: Pick<Escalations, "consume" | "consumeRetries" | "isWithdrawn">;
  readonly deadLetters: Pick<DeadLetters, "add">;
  readonly cursors: Pick<Cursors, "ofUsers">;
  readonly webhook: Webhook;
  /** Reports that the webhook has taken one whose end is reported. Default: nobody is told. */
  readonly report?: (escalation: Escalation) => Promise<void>;
  /**
   * First attempts at a time, on this instance, that are answered promptly. Default 16. Retries may be half as many, as
   * of {@link maxUnderWay}.
   */
  readonly maxConcurrent?: number;
  /** How long an attempt is under way before it makes room for another, in milliseconds. Default 1,000. */
  readonly slowMs?: number;
  /** First attempts at a time, on this instance, answered promptly or not. Default 128. */
  readonly maxUnderWay?: number;
  /** Attempts before an escalation becomes a dead letter. Default 10. */
  readonly maxAttempts?: number;
  /** As of {@link PauseOptions}. Default 1,000. */
  readonly minDelayMs?: number;
  /** As of {@link PauseOptions}. Default 300,000. */
  readonly maxDelayMs?: number;
  /** How long a stop waits for requests under way, in milliseconds. Default 1,500. */
  readonly stopMs?: number;
  /** A number from 0 up to but not including 1. Default Math.random. */
  readonly random?: () => number;
  /** Default: the system's. */
  readonly clock?: Clock;
  readonly log: BaseLogger;
}

/** What has come of escalations since the start, on this instance. */
export interface EscalateCounts {
  /** Taken by the webhook. */
  delivered: number;
  /** Acknowledged by a device in the meantime. */
  reached: number;
  /** Expired in the meantime. */
  expired: number;
  /** Withdrawn in the meantime. */
  withdrawn: number;
  /** Refused, and to be tried again. */
  retried: number;
  /** Given up. */
  dead: number;
}

/** The worker that hands escalations to the webhook. */
export interface Escalate {
  readonly counts: Readonly<EscalateCounts>;
  /** Finishes what is under way, and gives the rest back. */
  stop(): Promise<void>;
}

/** Pause before an attempt is repeated after the broker failed, in milliseconds. */
const brokerRetryMs = 2_000;

export async function startEscalate(options: EscalateOptions): Promise<Escalate> {
  const { escalations, deadLetters, cursors, webhook, log, random = Math.random, clock = systemClock } = options;
  const { maxConcurrent = 16, slowMs = 1_000, maxUnderWay = 128 } = options;
  const { maxAttempts = 10, minDelayMs = 1_000, maxDelayMs = 300_000, stopMs = 1_500 } = options;
  const counts: EscalateCounts = { delivered: 0, reached: 0, expired: 0, withdrawn: 0, retried: 0, dead: 0 };
  const pause = createPause({ minDelayMs, maxDelayMs, random });
  const stopping = new AbortController();

  /** Why the webhook need not be asked any more. */
  const findEnd = async (escalation: Escalation): Promise<"expired" | "reached" | "withdrawn" | undefined> => {
    const { userId, sequence, expiresAtMs, devices } = escalation;
    if (expiresAtMs !== undefined && expiresAtMs <= clock.now()) return "expired";
    const ofUser = (await cursors.ofUsers([userId])).get(userId);
    if (ofUser?.some((cursor) => hasGot(cursor, sequence, devices))) return "reached";
    return (await escalations.isWithdrawn(escalation)) ? "withdrawn" : undefined;
  };

  const tryOnce = async (attempt: EscalationAttempt): Promise<void> => {
    const end = await findEnd(attempt);
    if (end !== undefined) {
      counts[end]++;
      return attempt.ack();
    }
    const { signal } = stopping;
    const answer = await webhook(attempt.id, toWebhookBody(attempt), signal);
    if (answer.kind === "taken") {
      // Before the ack: without it, both happen again.
      if (attempt.isReported) await options.report?.(attempt);
      counts.delivered++;
      return attempt.ack();
    }
    // Cut off by our own stop: the webhook has not refused it.
    if (signal.aborted) return attempt.nak(0);
    const facts = { escalationID: attempt.id, attempt: attempt.attempt, reason: answer.reason };
    if (answer.isFinal || attempt.attempt >= maxAttempts) {
      await deadLetters.add(attempt, attempt.attempt, answer.reason);
      counts.dead++;
      log.error(facts, "the webhook has not taken a notification: it is a dead letter now");
      return attempt.ack();
    }
    counts.retried++;
    log.warn(facts, "the webhook has not taken a notification; it is tried again");
    await attempt.retry(pause(attempt.attempt, answer.retryAfterMs));
  };

  const handle = async (attempt: EscalationAttempt): Promise<void> => {
    try {
      await tryOnce(attempt);
    } catch (err) {
      log.warn({ err, escalationID: attempt.id }, "cannot look after an escalation now; it is tried again");
      attempt.nak(brokerRetryMs);
    }
  };

  const first = createSlots({ maxPrompt: maxConcurrent, slowMs, maxUnderWay });
  const retries = createSlots({
    maxPrompt: Math.ceil(maxConcurrent / 2),
    slowMs,
    maxUnderWay: Math.ceil(maxUnderWay / 2),
  });
  const consumers = [
    await escalations.consume(maxUnderWay, (attempt) => first.run(() => handle(attempt))),
    await escalations.consumeRetries(Math.ceil(maxUnderWay / 2), (attempt) => retries.run(() => handle(attempt))),
  ];

  return {
    counts,
    async stop() {
      await Promise.all(consumers.map((consumer) => consumer.pause()));
      const timer = setTimeout(() => stopping.abort(), stopMs);
      await Promise.all([first.stop(), retries.stop()]);
      clearTimeout(timer);
      await Promise.all(consumers.map((consumer) => consumer.stop()));
    },
  };
}
