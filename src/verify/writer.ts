import { setTimeout as delay } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { CallOptions } from "../client/wire/delivery.ts";
import { MsgService, SendBusinessNotificationRequestSchema } from "../gen/mustreach/msg/v1/msg_pb.ts";
import { acceptance, type Call, type Send } from "./check/history.ts";
import { type Caller, type Deployment, type Instance, pickInstance, untilAnswered } from "./deployment.ts";
import { perAddress } from "./doors/per-address.ts";
import { type SendDoor, sendDoors } from "./doors/send-doors.ts";
import type { Random } from "./random.ts";

/** Options of {@link runWriter}. */
export interface WriterOptions {
  readonly deployment: Deployment;
  readonly name: string;
  readonly random: Random;
  readonly call: Caller;
  readonly userIds: readonly string[];
  readonly groupIds: readonly string[];
  /** What was sent, by its `data`: of all writers. */
  readonly sends: Map<string, Send>;
  /** The `data` of what was sent, by the service's id of it: of all writers. */
  readonly dataById: Map<string, string>;
  /** The longest pause between two of its calls, in milliseconds. */
  readonly maxPauseMs: number;
}

/** The newest that are repeated, recalled, or whose ids are taken for something else. */
const maxRecent = 200;

/** Sends, repeats, is refused and recalls, one after the other, until `signal` is aborted. */
export async function runWriter(options: WriterOptions, signal: AbortSignal): Promise<void> {
  const { deployment, name, random, call, userIds, groupIds, sends, dataById, maxPauseMs } = options;

  const attempt = async (send: Send, instance = pickInstance(deployment, random)): Promise<Call> => {
    const door = random.pick(sendDoors);
    const made = await call(`${name} (${instance.name} by ${door.name})`, async (signal) => {
      const serverMsgId = await sendBy(door, instance, send, { token: deployment.adminToken, signal });
      dataById.set(serverMsgId, send.data);
      return serverMsgId;
    });
    send.attempts.push(made);
    return made;
  };

  /** As callers should: what is not known is sent again under its id. Now and then a caller gives up. */
  const sendUntilAnswered = (send: Send) =>
    untilAnswered(random, send.clientMsgId === "" || random.chance(0.1) ? 1 : 50, () => attempt(send));

  const compose = (change: Partial<Send> = {}): Send => {
    const data = `${name}/${sends.size}`;
    const isToGroup = random.chance(0.5);
    const send: Send = {
      data,
      clientMsgId: random.chance(0.6) ? `id of ${data}` : "",
      recvUserId: isToGroup ? "" : random.pick(userIds),
      recvGroupId: isToGroup ? random.pick(groupIds) : "",
      level: random.chance(0.75) ? 2 : 1,
      sendMsg: random.chance(0.15),
      attempts: [],
      recalls: [],
      ...change,
    };
    sends.set(data, send);
    return send;
  };

  const pickSent = (is: (send: Send) => boolean): Send | undefined => {
    const recent = [...sends.values()].slice(-maxRecent).filter(is);
    return recent.length === 0 ? undefined : random.pick(recent);
  };

  while (!signal.aborted) {
    await delay(random.between(Math.min(20, maxPauseMs), maxPauseMs));
    const choice = random();
    if (choice < 0.08) {
      const sent = pickSent(({ clientMsgId, attempts }) => clientMsgId !== "" && attempts.length > 0);
      if (sent !== undefined) await sendUntilAnswered(sent);
    } else if (choice < 0.12) {
      const other = pickSent(({ clientMsgId }) => clientMsgId !== "");
      if (other !== undefined) await sendUntilAnswered(compose({ clientMsgId: other.clientMsgId }));
    } else if (choice < 0.15) {
      await sendUntilAnswered(compose({ recvUserId: "", recvGroupId: "no such group" }));
    } else if (choice < 0.18) {
      const send = compose({ clientMsgId: `id of ${name}/${sends.size}` });
      await Promise.all(deployment.instances.map((instance) => attempt(send, instance)));
    } else if (choice < 0.24) {
      const sent = pickSent((send) => send.level === 2 && acceptance(send) !== undefined);
      if (sent !== undefined) await recallUntilAnswered(options, sent);
    } else {
      await sendUntilAnswered(compose());
    }
  }
}

function sendBy(door: SendDoor, { url }: Instance, send: Send, options: CallOptions): Promise<string> {
  const { data, clientMsgId, recvUserId, recvGroupId, sendMsg, level: reliabilityLevel } = send;
  const fields = { sendUserId: "verify", key: "verify", data, clientMsgId, recvUserId, recvGroupId, sendMsg };
  return door.send(url, create(SendBusinessNotificationRequestSchema, { ...fields, reliabilityLevel }), options);
}

async function recallUntilAnswered({ deployment, name, random, call }: WriterOptions, send: Send): Promise<void> {
  const { serverMsgId = "" } = send.attempts.find(({ outcome }) => outcome === "accepted") ?? {};
  const token = deployment.adminToken;
  await untilAnswered(random, 20, async () => {
    const instance = pickInstance(deployment, random);
    const { recallBusinessNotification } = msgAt(instance.url);
    const made = await call(`${name} (${instance.name})`, async (signal) => {
      await recallBusinessNotification({ serverMsgId }, { headers: { token }, signal });
      return "";
    });
    send.recalls.push(made);
    return made;
  });
}

const msgAt = perAddress((baseUrl) => createClient(MsgService, createGrpcTransport({ baseUrl })));
