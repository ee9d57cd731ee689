import { create, fromBinary } from "@bufbuild/protobuf";
import { AckPolicy, DeliverPolicy, type JsMsg, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, nanos } from "@nats-io/transport-node";
import { toNetworkError } from "../../client/wire/error.ts";
import type { SessionEvent } from "../../client/wire/event.ts";
import {
  MessageSchema,
  NotificationSchema,
  ReadySchema,
  RecallSchema,
} from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import { inboxFilter, locateInbox } from "../../inbox/layout.ts";
import type { ReceiveDoor } from "../doors/receive-doors.ts";

/** Options of {@link nativeDoor}. */
export interface NativeOptions {
  /** Addresses of the brokers. */
  readonly servers: readonly string[];
  /** The partitions of the service. */
  readonly partitions: number;
}

/** How often it asks how much is left, in milliseconds. */
const askMs = 1_000;

/** After how long the broker delivers again what is not acknowledged, in milliseconds: later than it begins anew. */
const ackWaitMs = 3_600_000;

/** How long the broker gets for an answer, in milliseconds. */
const timeoutMs = 5_000;

/**
 * A program with access to the broker that has a durable consumer of its own for a user, as docs/nats-layout.md has it:
 * the service has no part in it.
 */
export function nativeDoor({ servers, partitions }: NativeOptions): (userId: string) => ReceiveDoor {
  return (userId) => ({
    name: "a consumer at the broker",
    record: "never",
    isAckAnswered: true,
    open(_baseUrl, { deviceId }, { signal }) {
      const unacknowledged: JsMsg[] = [];
      const events = receive();
      return {
        async next() {
          const { done, value } = await events.next();
          return done === true ? undefined : value;
        },
        async acknowledge({ sequence }) {
          const count = unacknowledged.findLastIndex(({ seq }) => seq <= Number(sequence)) + 1;
          const handled = unacknowledged.splice(0, count);
          const last = handled.pop();
          for (const message of handled) message.ack();
          if (last !== undefined && !(await last.ackAck({ timeout: timeoutMs }))) {
            throw toNetworkError("no answer from the broker");
          }
        },
      };

      async function* receive(): AsyncGenerator<SessionEvent> {
        const nc = await connect({ servers: [...servers], reconnect: false, timeout: timeoutMs });
        const close = () => void nc.close();
        signal.addEventListener("abort", close, { once: true });
        try {
          if (signal.aborted) throw signal.reason;
          const { stream, user, partition } = locateInbox(userId, partitions);
          const { consumers } = await jetstreamManager(nc, { timeout: timeoutMs });
          const durable = `verify-${user}-${deviceId}`;
          // What was delivered and not acknowledged would come again later than what is newer: it begins anew behind its floor.
          const known = await consumers.info(stream, durable).catch(toAbsent);
          if (known !== undefined) await consumers.delete(stream, durable);
          const resumed = known?.ack_floor.stream_seq ?? 0;
          await consumers.add(stream, {
            durable_name: durable,
            filter_subject: inboxFilter(partition, user),
            // Not All: to the broker, what is recalled is acknowledged, and with that all that came before it.
            ack_policy: AckPolicy.Explicit,
            ack_wait: nanos(ackWaitMs),
            deliver_policy: DeliverPolicy.StartSequence,
            opt_start_seq: resumed + 1,
          });
          const consumer = await jetstream(nc, { timeout: timeoutMs }).consumers.get(stream, durable);
          yield { case: "ready", value: create(ReadySchema, { deviceId, resumeSequence: BigInt(resumed) }) };
          for (let delivered = 0; ; ) {
            const messages = await consumer.fetch({ max_messages: 100, expires: askMs });
            let count = 0;
            for await (const message of messages) {
              count++;
              // Between the nodes of a cluster; it would come again behind what is newer.
              if (message.info.deliverySequence !== ++delivered) throw toNetworkError("a message was lost on its way");
              unacknowledged.push(message);
              const event = toEvent(message);
              if (event !== undefined) yield event;
            }
            if (count === 0) yield { case: "heartbeat", value: alive };
          }
        } finally {
          signal.removeEventListener("abort", close);
          await nc.close();
        }
      }
    },
  });
}

/** Of what is not one of these it takes no notice. */
function toEvent({ headers, data, seq }: JsMsg): SessionEvent | undefined {
  const sequence = BigInt(seq);
  switch (headers?.get("Mustreach-Kind") || "notification") {
    case "notification":
      return { case: "notification", value: { ...fromBinary(NotificationSchema, data), sequence } };
    case "message": {
      const message = fromBinary(MessageSchema, data);
      const notification = message.notification && { ...message.notification, sequence };
      return { case: "message", value: { ...message, notification } };
    }
    case "recall":
      return { case: "recall", value: { ...fromBinary(RecallSchema, data), sequence } };
    default:
      return undefined;
  }
}

/** That there is none; anything else is thrown. */
function toAbsent(error: unknown): undefined {
  if (error instanceof Error && error.message.includes("consumer not found")) return undefined;
  throw error;
}

const alive = { latestSequence: 0n, droppedOnlinePushes: 0n, brokerAway: false };
