import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { toNetworkError } from "../../client/wire/error.ts";
import type { SessionEvent } from "../../client/wire/event.ts";
import { NotificationSchema, ReadySchema } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import {
  type MsgData,
  PullMessagesBySeqsRequestSchema,
  PullMessagesBySeqsResponseSchema,
  PushMessagesSchema,
} from "../../gen/mustreach/openim/v1/gateway_pb.ts";
import { connectOpenim, type OpenimAnswer, type OpenimConnection, openimKinds } from "./openim-connection.ts";
import type { DoorSession, ReceiveDoor } from "./receive-doors.ts";

/** How often a device asks for a sign of life, in milliseconds: more often than the SDKs do, so that it knows when all is there. */
const pingMs = 1_000;

/** Numbers of two neighbours in an inbox are as far apart, with which the service keeps the Go core from guessing. */
const stride = 1_000n;

/** The contentType of a business notification. */
const businessNotification = 2_001;

/** A device with OpenIM's SDK for JavaScript, on the platform of a token: it keeps no record, and acknowledges nothing. */
export function openimJsDoor(userId: string, platformId: number): ReceiveDoor {
  return {
    name: "OpenIM's JavaScript SDK",
    record: "never",
    isAckAnswered: false,
    open(baseUrl, { deviceId }, { token, signal }) {
      const connection = connectOpenim("js", { baseUrl, userId, token, platformId, signal });
      return toSession(receive(), signal, connection.ping);

      async function* receive(): AsyncGenerator<SessionEvent> {
        // The first frame is the answer to the handshake.
        await connection.next();
        yield ready(deviceId, 0n);
        for (;;) {
          const answer = await connection.next();
          if (answer === undefined) yield { case: "heartbeat", value: alive };
          else if (isPush(answer)) yield* toEvents(readPush(answer));
        }
      }
    },
  };
}

/** Where a device with the Go core is in each conversation. It is its own record, which lasts as long as the door. */
type Disk = Map<string, bigint>;

/** A device with OpenIM's Go core, which keeps numbers of its own, and pulls what is between them and a push. */
export function openimGoDoor(userId: string, platformId: number): ReceiveDoor {
  const disk: Disk = new Map();
  return {
    name: "OpenIM's Go core",
    record: "always",
    isAckAnswered: false,
    open(baseUrl, { deviceId, afterSequence = 0n }, { token, signal }) {
      const connection = connectOpenim("go", { baseUrl, userId, token, platformId, signal });
      const core = new GoCore(connection, userId, disk);
      return toSession(receive(), signal, connection.ping);

      async function* receive(): AsyncGenerator<SessionEvent> {
        await core.ask(openimKinds.maxSeq);
        await core.ask(openimKinds.readSeqs);
        yield ready(deviceId, afterSequence);
        for (;;) yield* core.next();
      }
    },
  };
}

type Conversations = Readonly<Record<string, { readonly msgs: readonly MsgData[] }>>;

class GoCore {
  readonly #connection: OpenimConnection;
  readonly #userId: string;
  readonly #disk: Disk;
  readonly #pushed: OpenimAnswer[] = [];
  #asked = 0;

  constructor(connection: OpenimConnection, userId: string, disk: Disk) {
    this.#connection = connection;
    this.#userId = userId;
    this.#disk = disk;
  }

  async ask(kind: number, data: Uint8Array = new Uint8Array()): Promise<OpenimAnswer> {
    const id = String(++this.#asked);
    this.#connection.ask(kind, id, data);
    for (;;) {
      const answer = await this.#connection.next();
      if (answer?.msgIncr === id) return answer;
      if (answer !== undefined && isPush(answer)) this.#pushed.push(answer);
    }
  }

  /** What the next push brings, or a sign of life. */
  async *next(): AsyncGenerator<SessionEvent> {
    const answer = this.#pushed.shift() ?? (await this.#connection.next());
    if (answer === undefined) yield { case: "heartbeat", value: alive };
    else if (isPush(answer)) yield* this.#take(readPush(answer));
  }

  /** Takes what follows its number, and pulls what is missing before it. */
  async *#take(pushed: Conversations): AsyncGenerator<SessionEvent> {
    for (const [id, { msgs }] of Object.entries(pushed)) {
      const numbered = msgs.filter(({ seq }) => seq !== 0n);
      yield* toEvents({ [id]: { msgs: msgs.filter(({ seq }) => seq === 0n) } });
      const last = numbered.at(-1)?.seq ?? 0n;
      const own = this.#disk.get(id) ?? 0n;
      if (last <= own) continue;
      if (last === own + BigInt(numbered.length)) yield* this.#handOver(id, numbered);
      else yield* this.#pull(id, own + 1n, last);
    }
  }

  async *#pull(conversationId: string, begin: bigint, end: bigint): AsyncGenerator<SessionEvent> {
    const seqRanges = [{ conversationId, begin, end, num: 10n }];
    const request = create(PullMessagesBySeqsRequestSchema, { userId: this.#userId, seqRanges });
    const answer = await this.ask(openimKinds.pull, toBinary(PullMessagesBySeqsRequestSchema, request));
    // It leaves the number where it is, and pulls again with the next push.
    if (answer.errCode !== 0) return;
    const { notificationMsgs } = fromBinary(PullMessagesBySeqsResponseSchema, answer.data);
    for (const [id, { msgs }] of Object.entries(notificationMsgs)) yield* this.#handOver(id, msgs);
    // Also what was not in the answer.
    this.#disk.set(conversationId, end);
  }

  *#handOver(id: string, messages: readonly MsgData[]): Generator<SessionEvent> {
    for (const message of messages) {
      this.#disk.set(id, message.seq);
      yield* toEvents({ [id]: { msgs: [message] } });
    }
  }
}

/** The session of a device that asks for signs of life, and acknowledges nothing. */
function toSession(events: AsyncGenerator<SessionEvent>, signal: AbortSignal, ping: () => void): DoorSession {
  const pinging = setInterval(ping, pingMs);
  signal.addEventListener("abort", () => clearInterval(pinging), { once: true });
  return {
    async next() {
      const { done, value } = await events.next();
      return done === true ? undefined : value;
    },
    acknowledge: async () => {},
  };
}

function isPush({ reqIdentifier }: OpenimAnswer): boolean {
  if (reqIdentifier === openimKinds.kick) throw toNetworkError("kicked");
  return reqIdentifier === openimKinds.push;
}

function readPush({ data }: OpenimAnswer): Conversations {
  return fromBinary(PushMessagesSchema, data).notificationMsgs;
}

/** What an app's callback is told of, with the place that the number stands for. */
function* toEvents(conversations: Conversations): Generator<SessionEvent> {
  for (const { msgs } of Object.values(conversations)) {
    for (const { contentType, content, seq, serverMsgId, clientMsgId } of msgs) {
      if (contentType !== businessNotification || content.length === 0) continue;
      const { key, data } = JSON.parse(JSON.parse(Buffer.from(content).toString()).detail);
      const place = { sequence: seq / stride, reliabilityLevel: seq === 0n ? 1 : 2 };
      yield {
        case: "notification",
        value: create(NotificationSchema, { key, data, serverMsgId, clientMsgId, ...place }),
      };
    }
  }
}

function ready(deviceId: string, resumeSequence: bigint): SessionEvent {
  return { case: "ready", value: create(ReadySchema, { deviceId, resumeSequence }) };
}

const alive = { latestSequence: 0n, droppedOnlinePushes: 0n, brokerAway: false };
