import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import type { Caller } from "../auth/caller.ts";
import { isRevoked, type RevokedAtMs } from "../auth/revocations.ts";
import { type TokenSecrets, verifyingSecrets } from "../auth/secret.ts";
import type { Broker } from "../broker/connect.ts";
import { isOvertaken, toFailure, toRefusal } from "../broker/faults.ts";
import { write } from "../broker/write.ts";
import { failure } from "../errors.ts";
import { ticketSubject } from "./layout.ts";

/** How long a ticket is good for, in milliseconds. */
const ticketTtlMs = 30_000;

/** How long the broker may take to record that one was used, in milliseconds. */
const timeoutMs = 5_000;

/** What a ticket's key is made with, so that no ticket is a token, and no token a ticket. */
const purpose = "mustreach ticket, version 1";

/** A ticket, and how long it is good for from now. */
export interface Ticket {
  readonly ticket: string;
  readonly expireTimeSeconds: number;
}

/**
 * Tickets: what stands in for a token where that would be in a URL, as a browser's EventSource needs it. Each is good once,
 * on whatever instance: it says itself whose it is and is signed, and its use is recorded in the broker.
 */
export interface Tickets {
  issue(caller: Caller): Ticket;
  /**
   * The caller of a ticket, which is used up.
   *
   * @throws TokenMalformedError (1503) for what is none, TokenUnknownError (1505) for a bad signature, TokenExpiredError
   * (1501) for one that was used or is older than {@link ticketTtlMs}, or whose token has expired, TokenKickedError (1506)
   * when that was revoked; NetworkError (90004) when the broker does not answer.
   */
  redeem(ticket: string): Promise<Caller>;
}

export interface TicketOptions {
  /** The token secrets in force. */
  readonly secrets: () => TokenSecrets;
  readonly revokedAtMs: RevokedAtMs;
  /** Records a use; false when it has been recorded before. */
  readonly use: (id: string) => Promise<boolean>;
}

const claims = z.object({
  id: z.string(),
  untilMs: z.number(),
  userId: z.string(),
  platformId: z.number(),
  isAdmin: z.boolean(),
  issuedAtMs: z.number(),
  expiresAtMs: z.number(),
});

export function createTickets({ secrets, revokedAtMs, use }: TicketOptions): Tickets {
  return {
    issue(caller) {
      const id = randomBytes(16).toString("base64url");
      const text = toBase64Url(JSON.stringify({ ...caller, id, untilMs: Date.now() + ticketTtlMs }));
      const ticket = `${text}.${sign(text, secrets().current).toString("base64url")}`;
      return { ticket, expireTimeSeconds: ticketTtlMs / 1_000 };
    },

    async redeem(ticket) {
      const [text = "", signature = ""] = ticket.split(".");
      const given = Buffer.from(signature, "base64url");
      const signatures = verifyingSecrets(secrets()).map((secret) => sign(text, secret));
      if (signatures.some(({ length }) => length !== given.length))
        throw failure("TokenMalformedError", "the ticket is none");
      if (!signatures.some((expected) => timingSafeEqual(given, expected))) {
        throw failure("TokenUnknownError", "the ticket's signature is invalid");
      }
      const { id, untilMs, ...caller } = claims.parse(JSON.parse(Buffer.from(text, "base64url").toString()));
      if (untilMs <= Date.now() || caller.expiresAtMs <= Date.now()) {
        throw failure("TokenExpiredError", "the ticket has expired");
      }
      if (isRevoked(caller, revokedAtMs)) throw failure("TokenKickedError", "the token was revoked");
      if (!(await use(id))) throw failure("TokenExpiredError", "the ticket was used before");
      return caller;
    },
  };
}

/** Creates what records the uses of tickets for all instances. */
export function createTicketUses(broker: Broker): TicketOptions["use"] {
  return async (id) => {
    // In doubt it was used, perhaps by this very try whose answer was lost: the client gets another ticket.
    const stored = await write(
      broker,
      [{ subject: ticketSubject(id), payload: new Uint8Array(), replaces: 0 }],
      timeoutMs,
    ).catch((error: unknown) => {
      throw toFailure(error);
    });
    if (stored.kind === "stored") return true;
    if (isOvertaken(stored)) return false;
    throw toRefusal(stored);
  };
}

function sign(text: string, secret: string): Buffer {
  const key = createHmac("sha256", secret).update(purpose).digest();
  return createHmac("sha256", key).update(text).digest();
}

function toBase64Url(text: string): string {
  return Buffer.from(text).toString("base64url");
}
