import { create } from "@bufbuild/protobuf";
import { beforeAll, expect, test } from "vitest";
import { failure, toErrorFacts } from "../../src/errors.ts";
import { type Notification, NotificationSchema } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { createServerMsgId } from "../../src/sending/ids.ts";
import { useBroker } from "../helpers/broker.ts";
import { type CollapseParts, type Tracking, useTracking } from "../helpers/tracking.ts";

const instances = useTracking(useBroker());
let tracking: Tracking;

beforeAll(async () => {
  tracking = await instances.open();
});

/** The version of every group. */
const groupVersion = 3;

let made = 0;
/** An id that no other test uses. */
const newId = (kind: string) => `${kind}-${++made}`;

function compose(to: { readonly recvUserId: string } | { readonly recvGroupId: string }): Notification {
  const clientMsgId = newId("order");
  const sendTime = Date.now();
  const serverMsgId = createServerMsgId(sendTime, clientMsgId);
  return create(NotificationSchema, {
    ...{ serverMsgId, clientMsgId, sendTime: BigInt(sendTime), key: "order", collapseKey: "order-77", ...to },
  });
}

/** What a send does, all of it again for a repeat. */
async function send(notification: Notification, recipients: readonly string[], steps = Number.POSITIVE_INFINITY) {
  const { announce, settle } = tracking.collapsing((parts) => endingAfter(steps, parts));
  const item = { kind: "notification", notification } as const;
  const isToUser = notification.recvUserId !== "";
  const announced = await announce(notification, isToUser ? 0 : groupVersion, false);
  if (!isToUser) await tracking.inbox.writeMany(recipients, item, { operationId: "test" });
  const since = isToUser
    ? await tracking.inbox.write(notification.recvUserId, item, { operationId: "test" })
    : announced;
  await settle(notification, since, "test");
}

/** Parts whose calls have no answer any more after so many, and do nothing. */
function endingAfter(steps: number, { recalls, inbox, tombstones, cursors, candidates, ...parts }: CollapseParts) {
  let left = steps;
  const wrap = <T extends object>(part: T): T =>
    new Proxy(part, {
      get(target, name) {
        const own: unknown = Reflect.get(target, name);
        if (typeof own !== "function") return own;
        return (...given: unknown[]) =>
          left-- > 0 ? Reflect.apply(own, target, given) : Promise.reject(failure("NetworkError", "no answer"));
      },
    });
  return {
    ...parts,
    ...{ recalls: wrap(recalls), inbox: wrap(inbox), tombstones: wrap(tombstones) },
    ...{ cursors: wrap(cursors), candidates: wrap(candidates) },
  };
}

const toUser = () => {
  const recvUserId = newId("user");
  return { to: { recvUserId }, recipients: [recvUserId] };
};

const toGroup = () => {
  const recvGroupId = newId("group");
  const recipients = ["a", "b", "c"].map((member) => `${recvGroupId}/${member}`);
  instances.groups.set(`${recvGroupId}@${groupVersion}`, recipients);
  return { to: { recvGroupId }, recipients };
};

test.each([
  ["a user", toUser],
  ["a group", toGroup],
])("a send to %s that ends wherever it may is finished by its repeat, and each device told", async (_, address) => {
  for (let steps = 0, isAnswered = false; !isAnswered; steps++) {
    const { to, recipients } = address();
    const [older, newer] = [compose(to), compose(to)];
    await send(older, recipients);
    const outcome = await send(newer, recipients, steps).catch(toErrorFacts);
    isAnswered = outcome === undefined;
    if (!isAnswered) expect(outcome).toMatchObject({ errCode: 90004 });
    await send(newer, recipients);
    for (const userId of recipients) {
      expect(await tracking.entriesOf(userId), `after ${steps} steps`).toMatchObject([
        { kind: "notification", notification: { serverMsgId: newer.serverMsgId } },
        { kind: "recall", recall: { serverMsgId: older.serverMsgId, replacedByServerMsgId: newer.serverMsgId } },
      ]);
    }
    const { candidates } = await tracking.candidates.list(newer, 0);
    expect(candidates.map(({ serverMsgId }) => serverMsgId)).toEqual([newer.serverMsgId]);
  }
});
