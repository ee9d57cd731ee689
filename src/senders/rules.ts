import { failure } from "../errors.ts";
import { createRateLimit, type RateLimit } from "../rate-limit.ts";
import type { SenderRights } from "./rights.ts";

/** Who sends: admins as they like, senders by their rights. */
export interface Sender {
  readonly userId: string;
  /** Undefined for an admin. */
  readonly sender?: SenderRights | undefined;
}

/** What the rules look at. */
export interface RuledSend {
  readonly sendUserId: string;
  readonly recvUserId: string;
  readonly recvGroupId: string;
  readonly recvUserIds: readonly string[];
  readonly key: string;
  readonly collapseKey: string;
}

/**
 * Lets a send through, or throws NoPermissionError (1002) for what its sender may not, TooManyRequestsError (429) beyond
 * its rate. Of one call: after the first that is beyond the rate, all are, so that none overtakes it.
 */
export type AllowSend = (send: RuledSend) => void;

/** The rules of a process: begins a call of a sender. */
export type SendRules = (sender: Sender) => AllowSend;

/** What a sender may send at once of its rate: that of six seconds. */
const burstPart = 1 / 10;

const anything: AllowSend = () => {};

export function createSendRules(): SendRules {
  /** By notifications a minute; each has a bucket for each user. */
  const limits = new Map<number, RateLimit>();

  const take = (perMinute: number, userId: string): number => {
    let limit = limits.get(perMinute);
    if (limit === undefined) {
      limit = createRateLimit({ burst: Math.max(1, Math.floor(perMinute * burstPart)), perSecond: perMinute / 60 });
      limits.set(perMinute, limit);
    }
    return limit(userId);
  };

  return ({ userId, sender }) => {
    if (sender === undefined) return anything;
    const { perMinute } = sender;
    let waitMs = 0;
    return (send) => {
      requireRight(userId, sender, send);
      if (perMinute !== undefined && waitMs === 0) waitMs = take(perMinute, userId);
      if (waitMs === 0) return;
      const text = `the token lets its sender send ${perMinute} notifications a minute`;
      throw failure("TooManyRequestsError", text, undefined, { retryAfterMs: waitMs });
    };
  };
}

function requireRight(userId: string, { keys, recipients }: SenderRights, send: RuledSend): void {
  // By another name it would also reach that user's devices: what one sends is pushed to one's own.
  if (send.sendUserId !== userId) throw refusal(`sendUserID must be ${JSON.stringify(userId)}, the token's user`);
  requireBeginning("key", send.key, keys);
  // What it replaces may be another sender's.
  if (send.collapseKey !== "") requireBeginning("collapseKey", send.collapseKey, keys);
  if (send.recvGroupId !== "") requireBeginning("recvGroupID", send.recvGroupId, recipients);
  if (send.recvUserId !== "") requireBeginning("recvUserID", send.recvUserId, recipients);
  for (const each of send.recvUserIds) requireBeginning("recvUserIDs", each, recipients);
}

function requireBeginning(field: string, value: string, beginnings: readonly string[] | undefined): void {
  if (beginnings === undefined || beginnings.some((each) => value.startsWith(each))) return;
  const named = beginnings.map((each) => JSON.stringify(each)).join(", ");
  throw refusal(`${field} ${JSON.stringify(value)} is not for this sender: the token allows what begins with ${named}`);
}

function refusal(text: string) {
  return failure("NoPermissionError", text);
}
