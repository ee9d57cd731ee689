import { errorTable, failure } from "../errors.ts";
import { createRateLimit } from "../rate-limit.ts";

export interface AdmissionOptions {
  /** Sessions that this instance holds at a time. */
  readonly maxSessions: number;
  /** Sessions of one user here at a time; as many again while those that were replaced have not gone. */
  readonly maxSessionsPerUser: number;
  /** Sessions from one address at a time; 0 is no limit, as behind a proxy. */
  readonly maxSessionsPerAddress: number;
}

/** Who wants to open a session. */
export interface Applicant {
  readonly userId: string;
  /** The address of the connection. */
  readonly peer: string;
  /** The device's token. */
  readonly device: string;
  /** Whether the device has a session here, which the new one ends. */
  readonly isTakeover: boolean;
}

/** Counts the sessions of an instance, with those being opened. */
export interface Admission {
  /**
   * Lets a session in. Returns how to count it out again, which is to be called once. A promise, when it is another
   * process that counts.
   *
   * @throws ConnOverMaxNumLimit (1601) over a limit, with the time after which to try again.
   */
  enter(applicant: Applicant): (() => void) | Promise<() => void>;
  /** How many sessions there are. */
  size(): number;
}

/** An {@link Admission} of this process. */
export interface LocalAdmission extends Admission {
  enter(applicant: Applicant): () => void;
}

/** A user whose devices all connect at once can do so twice in a row, and then once in this time, in seconds. */
const refillSeconds = 10;

export function createAdmission(options: AdmissionOptions): LocalAdmission {
  const { maxSessions, maxSessionsPerUser, maxSessionsPerAddress } = options;
  const perUser = new Map<string, number>();
  const perAddress = new Map<string, number>();
  const takeOpening = createRateLimit({
    burst: 2 * maxSessionsPerUser,
    perSecond: maxSessionsPerUser / refillSeconds,
  });
  let size = 0;

  return {
    enter({ userId, peer, isTakeover }) {
      const ofUser = perUser.get(userId) ?? 0;
      if (size >= maxSessions) throw tooMany(`this instance holds its maximum of ${maxSessions} sessions`);
      if (ofUser >= (isTakeover ? 2 : 1) * maxSessionsPerUser) {
        throw tooMany(`this user has the maximum of ${maxSessionsPerUser} sessions here`);
      }
      if (maxSessionsPerAddress > 0 && (perAddress.get(peer) ?? 0) >= maxSessionsPerAddress) {
        throw tooMany(`this address has the maximum of ${maxSessionsPerAddress} sessions here`);
      }
      const retryAfterMs = takeOpening(userId);
      if (retryAfterMs > 0) throw tooMany("this user opens sessions too often", retryAfterMs);

      size++;
      change(perUser, userId, 1);
      change(perAddress, peer, 1);
      return () => {
        size--;
        change(perUser, userId, -1);
        change(perAddress, peer, -1);
      };
    },
    size: () => size,
  };
}

function change(counts: Map<string, number>, key: string, by: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}

/** Thousands are refused at one moment, and are not all to come back at another: half as much more at most, at random. */
function tooMany(errDlt: string, retryAfterMs = errorTable.ConnOverMaxNumLimit.retryAfterMs * (1 + Math.random() / 2)) {
  return failure("ConnOverMaxNumLimit", errDlt, undefined, { retryAfterMs: Math.round(retryAfterMs) });
}
