import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { MustreachClientError, networkErrCode } from "../../client/wire/error.ts";
import { AckScope } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import {
  MsgService,
  type SendBusinessNotificationRequest,
  SendBusinessNotificationRequestSchema,
} from "../../gen/mustreach/msg/v1/msg_pb.ts";
import type { Call, Send } from "../check/history.ts";
import { type Caller, type Deployment, type Instance, pickInstance, untilAnswered } from "../deployment.ts";
import { perAddress } from "../doors/per-address.ts";
import { type BatchResult, sendDoors } from "../doors/send-doors.ts";
import type { Random } from "../random.ts";

/** Who calls, and what with. */
export interface Sender {
  readonly deployment: Deployment;
  readonly name: string;
  readonly random: Random;
  readonly call: Caller;
  /** The `data` of what was sent, by the service's id of it: of all writers. */
  readonly dataById: Map<string, string>;
}

/** Sends by any door, and records how it came out. */
export async function attempt(sender: Sender, send: Send, instance = pick(sender)): Promise<Call> {
  const { deployment, name, random, call, dataById } = sender;
  const door = random.pick(sendDoors);
  return call(`${name} (${instance.name} by ${door.name})`, send.attempts, async (signal) => {
    const options = { token: deployment.adminToken, signal };
    const serverMsgId = await door.send(instance.url, toRequest(send), options);
    dataById.set(serverMsgId, send.data);
    return serverMsgId;
  });
}

/** As callers should: what is not known is sent again under its id. Now and then a caller gives up. */
export async function sendUntilAnswered(sender: Sender, send: Send): Promise<void> {
  const { random } = sender;
  const tries = send.clientMsgId === "" || random.chance(0.1) ? 1 : 50;
  await untilAnswered(random, tries, () => attempt(sender, send));
}

/** Sends several in one call, and each that is not known by itself. `batch` is in no other's name. */
export async function sendTogether(sender: Sender, batch: string, sends: readonly Send[]): Promise<void> {
  const { deployment, name, random, call, dataById } = sender;
  const instance = pick(sender);
  const door = random.pick(sendDoors);
  const by = `${name} (${instance.name} by ${door.name}, ${sends.length} together)`;
  const answer = Promise.withResolvers<readonly BatchResult[]>();
  // Each is a call of its own, and all are one.
  const calls = sends.map((send, index) => {
    const made = call(by, send.attempts, async () => {
      const { errCode = networkErrCode, serverMsgId = "" } = (await answer.promise)[index] ?? {};
      if (errCode !== 0) throw new MustreachClientError({ errCode, errMsg: "refused", errDlt: "in a batch" });
      dataById.set(serverMsgId, send.data);
      return serverMsgId;
    });
    return made.then((ended) =>
      send.attempts.splice(send.attempts.indexOf(ended), 1, { ...ended, batch: { name: batch, index } }),
    );
  });
  const whole = call(by, [], async (signal) => {
    const options = { token: deployment.adminToken, signal };
    await door.sendBatch(instance.url, sends.map(toRequest), options).then(answer.resolve, answer.reject);
    return "";
  });
  await Promise.all([whole, ...calls]);
  const unknown = sends.filter(({ attempts }) => attempts.at(-1)?.outcome === "unknown");
  await Promise.all(
    unknown.filter(({ clientMsgId }) => clientMsgId !== "").map((send) => sendUntilAnswered(sender, send)),
  );
}

/** Recalls what was accepted, until that is answered. */
export async function recallUntilAnswered(sender: Sender, send: Send): Promise<void> {
  const { deployment, name, random, call } = sender;
  const { serverMsgId = "" } = send.attempts.find(({ outcome }) => outcome === "accepted") ?? {};
  await untilAnswered(random, 20, async () => {
    const instance = pick(sender);
    const { recallBusinessNotification } = msgAt(instance.url);
    return call(`${name} (${instance.name})`, send.recalls, async (signal) => {
      await recallBusinessNotification({ serverMsgId }, { headers: { token: deployment.adminToken }, signal });
      return "";
    });
  });
}

function pick({ deployment, random }: Sender): Instance {
  return pickInstance(deployment, random);
}

function toRequest(send: Send): SendBusinessNotificationRequest {
  const { level: reliabilityLevel, isSettledByOne, sendAt, recvUserIds, attempts, recalls, dueAt, ...fields } = send;
  return create(SendBusinessNotificationRequestSchema, {
    sendUserId: "verify",
    key: "verify",
    ...fields,
    reliabilityLevel,
    recvUserIds: [...recvUserIds],
    sendAt: BigInt(sendAt),
    ackScope: isSettledByOne ? AckScope.USER : AckScope.UNSPECIFIED,
  });
}

const msgAt = perAddress((baseUrl) => createClient(MsgService, createGrpcTransport({ baseUrl })));
