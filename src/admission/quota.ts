import { createRateLimits, type RateLimits } from "../rate-limit.ts";
import { createRefusals } from "../refusals.ts";

/** How much may be sent, in notifications a minute; 0 is no quota. */
export interface QuotaOptions {
  /** By one caller, whoever receives them. */
  readonly quotaCaller: number;
  /** To one user, or to one group as a whole, whoever sends them. */
  readonly quotaRecipient: number;
}

/** What a call is to send. */
export interface QuotaAsk {
  readonly callerId: string;
  /** For each notification whom it is for: `u:` and a user, or `g:` and a group. */
  readonly recipients: readonly (readonly string[])[];
}

/** The quotas of an instance, counted in this process or, with promises, in another. */
export interface Quota {
  /**
   * Counts a call, all of it or nothing. One of more than a quota passes when none of that is used, and is paid off.
   *
   * @throws TooManyRequestsError (429) over a quota, with the time after which to try again; nothing was counted.
   */
  take(ask: QuotaAsk): void | Promise<void>;
}

/** A {@link Quota} of this process. */
export interface LocalQuota extends Quota {
  take(ask: QuotaAsk): void;
}

export function hasQuota({ quotaCaller, quotaRecipient }: QuotaOptions): boolean {
  return quotaCaller > 0 || quotaRecipient > 0;
}

/** Creates the quotas; undefined when there are none. */
export function createQuota(options: QuotaOptions): LocalQuota | undefined {
  if (!hasQuota(options)) return undefined;
  const { quotaCaller, quotaRecipient } = options;
  const callers = openLimits(quotaCaller);
  const recipients = openLimits(quotaRecipient);
  const refuseCaller = refusalsOf("caller", quotaCaller);
  const refuseRecipient = refusalsOf("recipient", quotaRecipient);

  return {
    take(ask) {
      const count = ask.recipients.length;
      requireRoom(refuseCaller, callers?.waitMs(ask.callerId, count));
      const each = recipients && countEach(ask.recipients.flat());
      for (const [key, times] of each ?? []) requireRoom(refuseRecipient, recipients?.waitMs(key, times));
      callers?.take(ask.callerId, count);
      for (const [key, times] of each ?? []) recipients?.take(key, times);
    },
  };
}

/** A minute's worth may be sent at once. */
function openLimits(perMinute: number): RateLimits | undefined {
  return perMinute === 0 ? undefined : createRateLimits({ burst: perMinute, perSecond: perMinute / 60 });
}

function countEach(keys: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}

function refusalsOf(whose: "caller" | "recipient", perMinute: number) {
  const errDlt = `the quota of this ${whose} is ${perMinute} notifications a minute; none of this was sent`;
  return createRefusals("TooManyRequestsError", errDlt);
}

function requireRoom(refuse: ReturnType<typeof createRefusals>, retryAfterMs = 0): void {
  if (retryAfterMs > 0) throw refuse(retryAfterMs);
}
