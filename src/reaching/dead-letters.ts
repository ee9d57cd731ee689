import { toBinary } from "@bufbuild/protobuf";
import type { Broker } from "../broker/connect.ts";
import { toRefusal } from "../broker/faults.ts";
import type { DirectGet, DirectMessage } from "../broker/reads/direct-get.ts";
import { remove } from "../broker/write.ts";
import { NotificationSchema } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Publisher } from "../publishing/publish.ts";
import { attemptsHeader, type Escalation, escalationHeaders, readEscalation } from "./escalations.ts";
import { deadLetterFilter, deadLetterStream, deadLetterSubject } from "./layout.ts";

/** An escalation that the webhook has not taken. */
export interface DeadLetter extends Escalation {
  /** How many attempts were made. */
  readonly attempts: number;
  /** What came of the last one. */
  readonly error: string;
  /** When it was given up, in epoch milliseconds. */
  readonly deadAtMs: number;
  /** Its place among the dead letters. */
  readonly place: number;
}

/** Some dead letters, the oldest first. */
export interface DeadLetterPage {
  readonly letters: readonly DeadLetter[];
  /** How many follow. */
  readonly remaining: number;
}

/**
 * The escalations that the webhook has not taken, each kept for 30 days, or until it is removed. Each method throws
 * NetworkError (90004) when the broker does not answer in time.
 */
export interface DeadLetters {
  /** Keeps an escalation; an earlier dead letter of it is replaced. */
  add(escalation: Escalation, attempts: number, error: string): Promise<void>;
  /** Lists what follows a place. A page ends at `limit` letters, or at about 1 MiB. */
  list(afterPlace: number, limit: number): Promise<DeadLetterPage>;
  /** Finds the dead letter of an escalation. */
  find(escalationId: string): Promise<DeadLetter | undefined>;
  /** Removes a dead letter. */
  remove(letter: DeadLetter): Promise<void>;
}

/** What is kept of the last error, in UTF-16 units. */
const maxErrorLength = 500;

/** A page ends with the letter that reaches this size, in bytes. */
const maxPageBytes = 1_048_576;

const errorHeader = "Mustreach-Error";

export function createDeadLetters(broker: Broker, publisher: Publisher, get: DirectGet): DeadLetters {
  return {
    async add(escalation, attempts, error) {
      const stored = await publisher.store(deadLetterStream, {
        subject: deadLetterSubject(escalation.partition, escalation.sequence),
        payload: toBinary(NotificationSchema, escalation.notification),
        headers: {
          ...escalationHeaders(escalation),
          [attemptsHeader]: String(attempts),
          [errorHeader]: encodeURIComponent(error.slice(0, maxErrorLength).toWellFormed()),
        },
      });
      if (stored.kind === "refused") throw toRefusal(stored);
    },

    async list(afterPlace, limit) {
      const range = { from: afterPlace + 1, count: limit, maxBytes: maxPageBytes };
      const { messages, pending } = await get.along(deadLetterStream, deadLetterFilter, range);
      return { letters: messages.map(toDeadLetter), remaining: pending };
    },

    async find(escalationId) {
      const [, partition, sequence] = /-(\d{1,3})-(\d{1,16})$/.exec(escalationId) ?? [];
      if (partition === undefined || sequence === undefined) return undefined;
      const subject = deadLetterSubject(Number(partition), Number(sequence));
      const found = await get.last(deadLetterStream, subject);
      const letter = found && toDeadLetter(found);
      return letter?.id === escalationId ? letter : undefined;
    },

    async remove({ place }) {
      await remove(broker, deadLetterStream, place);
    },
  };
}

function toDeadLetter(message: DirectMessage): DeadLetter {
  return {
    ...readEscalation(message),
    attempts: Number(message.header(attemptsHeader)),
    error: decodeURIComponent(message.header(errorHeader)),
    deadAtMs: message.timeMs,
    place: message.sequence,
  };
}
