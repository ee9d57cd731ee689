import { create, toBinary } from "@bufbuild/protobuf";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { createInbox, headers, type NatsConnection } from "@nats-io/transport-node";
import { NotificationSchema } from "../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { payloadBytes } from "./floors/push-frame.ts";
import type { Service } from "./processes.ts";

/** The broker of a service without the service: what its operations are made of. */
export interface BareBroker {
  readonly nc: NatsConnection;
  /** Stores a message under a subject of its own; resolves when it is acknowledged. */
  publish(): Promise<void>;
  /** Stores so many, all or none, in one round trip (ADR-50). */
  publishBatch(count: number): Promise<void>;
  /** How many messages a stream holds. */
  count(stream: string): Promise<number>;
  /** The sequence of a stream's last message. */
  lastSequence(stream: string): Promise<number>;
  /** Reads the messages that match, a page after the other, from a sequence on; resolves to their number. */
  readAll(stream: string, filter: string, from: number): Promise<number>;
}

/** Messages in a page of {@link BareBroker.readAll}. */
const pageCount = 1_000;

/** The bytes of a notification as it is stored, which every bare write has too. */
export const storedBytes = toBinary(
  NotificationSchema,
  create(NotificationSchema, {
    serverMsgId: "8698dd5d163dd79b8fdfa333fee06f40",
    clientMsgId: "1ca0e4cf279ad5cce6b28331b2b42092",
    sendTime: 1679558586210n,
    sendUserId: "imAdmin",
    recvUserId: "user1000",
    key: "order.paid",
    data: "x".repeat(payloadBytes),
    reliabilityLevel: 2,
  }),
);

/** Connects to a service's broker, and has it keep a stream of the kind that inboxes are. */
export async function openBareBroker(service: Service): Promise<BareBroker> {
  const nc = await service.connect();
  const jsm = await jetstreamManager(nc);
  const js = jetstream(nc);
  await jsm.streams.add({
    name: "BARE",
    subjects: ["bare.*"],
    max_msgs_per_subject: 1,
    allow_atomic: true,
    allow_direct: true,
  });
  let next = 0;

  return {
    nc,
    async publish() {
      await js.publish(`bare.${next++}`, storedBytes);
    },

    async publishBatch(count) {
      const batchId = `batch-${next}`;
      for (let sequence = 1; ; sequence++) {
        const hdrs = headers();
        hdrs.set("Nats-Batch-Id", batchId);
        hdrs.set("Nats-Batch-Sequence", String(sequence));
        if (sequence < count) {
          nc.publish(`bare.${next++}`, storedBytes, { headers: hdrs });
          continue;
        }
        hdrs.set("Nats-Batch-Commit", "1");
        const answer = await nc.request(`bare.${next++}`, storedBytes, { headers: hdrs, timeout: 20_000 });
        const { error, count: stored } = answer.json<{ error?: { description: string }; count?: number }>();
        if (error !== undefined || stored !== count) throw new Error(`a bare batch: ${error?.description ?? stored}`);
        return;
      }
    },

    count: async (stream) => (await jsm.streams.info(stream)).state.messages,
    lastSequence: async (stream) => (await jsm.streams.info(stream)).state.last_seq,

    async readAll(stream, filter, from) {
      let count = 0;
      for (let seq = from; ; ) {
        const { messages, last, pending } = await readPage(nc, stream, { next_by_subj: filter, seq, batch: pageCount });
        count += messages;
        if (messages === 0 || pending === 0) return count;
        seq = last + 1;
      }
    },
  };
}

/** One request of the direct get API for many messages (ADR-31). */
async function readPage(nc: NatsConnection, stream: string, request: object) {
  const reply = createInbox();
  const answer = Promise.withResolvers<{ messages: number; last: number; pending: number }>();
  let messages = 0;
  let last = 0;
  const subscription = nc.subscribe(reply, {
    callback(error, { headers: hdrs, data }) {
      if (error !== null) return answer.reject(error);
      if (data.length > 0) {
        messages++;
        last = Number(hdrs?.get("Nats-Sequence"));
      } else if (hdrs?.code === 204 || hdrs?.code === 404) {
        answer.resolve({ messages, last, pending: Number(hdrs.get("Nats-Num-Pending") || 0) });
      } else {
        answer.reject(new Error(`a direct get: ${hdrs?.code} ${hdrs?.description}`));
      }
    },
  });
  nc.publish(`$JS.API.DIRECT.GET.${stream}`, JSON.stringify(request), { reply });
  return answer.promise.finally(() => subscription.unsubscribe());
}
