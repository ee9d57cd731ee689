import { failure } from "../errors.ts";
import { type DirectGet, tooManyResults } from "./direct-get.ts";
import type { Publisher } from "./publish.ts";
import { claimSubject, inboxStream, toPartition, toToken } from "./subjects.ts";

/** What the first use of a client message id was. */
export interface Claim {
  readonly serverMsgId: string;
  /** Epoch milliseconds. */
  readonly sendTime: number;
  /** Of the body that was sent. */
  readonly fingerprint: string;
}

/** The client message ids that callers chose, each with its first use, for the whole retention. */
export interface Claims {
  /**
   * Records the first use of an id, and returns it: `claim` itself, or what was recorded earlier.
   *
   * @throws NetworkError (90004) when the broker did not acknowledge in time, or the store is full.
   */
  claim(clientMsgId: string, claim: Claim): Promise<{ first: Claim; isRepeat: boolean }>;
}

/** Creates the claims, which share the inbox streams. */
export function createClaims(publisher: Publisher, get: DirectGet, partitions: number): Claims {
  return {
    async claim(clientMsgId, claim) {
      const id = toToken(clientMsgId);
      const partition = toPartition(id, partitions);
      const subject = claimSubject(partition, id);
      const stream = inboxStream(partition);
      const stored = await publisher.store(stream, {
        subject,
        payload: Buffer.from(JSON.stringify(claim)),
        headers: {},
      });
      if (stored.kind === "stored") return { first: claim, isRepeat: false };
      const found = await get(stream, { last_by_subj: subject });
      const message = found === tooManyResults ? undefined : found.messages[0];
      if (message === undefined)
        throw failure("NetworkError", `the notification store refused the write: ${stored.reason}`);
      const first: Claim = JSON.parse(Buffer.from(message.payload).toString("utf8"));
      // An earlier try of this very claim may have been stored without its acknowledgement reaching us.
      return { first, isRepeat: first.serverMsgId !== claim.serverMsgId };
    },
  };
}
