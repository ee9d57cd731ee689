import { z } from "zod";

/** What a sender may send. What is undefined is not limited. */
export interface SenderRights {
  /** What the key of a notification, and its collapse key, begins with. */
  readonly keys?: readonly string[] | undefined;
  /** What the id of a receiving user or group begins with. */
  readonly recipients?: readonly string[] | undefined;
  /** Notifications in a minute. */
  readonly perMinute?: number | undefined;
}

/** Beginnings in one list, at most. */
const maxBeginnings = 100;

/** The highest rate, in notifications a minute. */
export const maxPerMinute = 1_000_000;

const beginnings = z.array(z.string().min(1)).min(1).max(maxBeginnings).optional();

/** Strict: a name that is misspelt must not leave a sender without the limit that it was to be. */
const claim = z.strictObject({
  send: z.strictObject({
    keys: beginnings,
    recipients: beginnings,
    perMinute: z.number().int().min(1).max(maxPerMinute).optional(),
  }),
});

/** The claim `mustreach` of a token, as {@link SenderRights} are written there. */
export interface SenderClaim {
  readonly mustreach: { readonly send: SenderRights };
}

/**
 * The rights that a token's claim `mustreach` gives.
 *
 * @throws {z.ZodError} for a claim of another form.
 */
export function readSenderRights(given: unknown): SenderRights {
  return claim.parse(given).send;
}
