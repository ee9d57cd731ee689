import type { Addressing } from "../addressing.ts";
import type { Broker } from "../broker/connect.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { findSurely } from "../broker/reads/leader.ts";
import { AckScope } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { decodeNotification, isTombstone, readItemHeaders } from "../inbox/items.ts";
import { inboxStream, parseInboxPartition } from "../inbox/layout.ts";
import { type ItemPlace, placeToken, toPlaceIds } from "../inbox/place-id.ts";
import { fingerprint, type SendRecord } from "./record.ts";

const allDevices: Addressing = { recvDeviceId: "", exceptDeviceId: "" };

/**
 * Creates the look-up of sends whose ids are the place of their notification: what their record would say is stored
 * there. Undefined when the notification is not, or no longer, at that place.
 *
 * The result throws NetworkError (90004) when the broker does not answer in time.
 */
export function createFindPlaced(
  broker: Broker,
  get: DirectGet,
  partitions: number,
): (place: ItemPlace) => Promise<SendRecord | undefined> {
  return async (place) => {
    const { partition, sequence, random } = place;
    if (partition >= partitions || sequence === 0) return undefined;
    const message = await findSurely(broker, get, inboxStream(partition), { sequence });
    // A restored store gives sequences again, and anybody may make an id up: only what is random says that it is this one.
    const isIt = message !== undefined && parseInboxPartition(message.subject) === partition;
    if (!isIt || !message.subject.endsWith(`.${placeToken(random)}`) || isTombstone(message)) return undefined;
    const { sendUserId, recvUserId, key, data, ...notification } = decodeNotification(message);
    const isUserScoped = notification.ackScope === AckScope.USER;
    const { expiresAtMs = 0, escalateAfterMs, devices = allDevices, report } = readItemHeaders(message);
    const sendTime = Number(notification.sendTime);
    const body = {
      ...{ sendUserId, recvUserId, recvGroupId: "", recvUserIds: [], key, data, sendMsg: false, mustReach: true },
      ...{ ttlMs: expiresAtMs === 0 ? 0 : expiresAtMs - sendTime, sendAtMs: 0, escalateAfterMs, collapseKey: "" },
      report: report === "send",
      isUserScoped,
      ...devices,
    };
    return {
      ...toPlaceIds(place),
      sendTime,
      fingerprint: fingerprint(body),
      ...{ mustReach: true, recvUserId, recvGroupId: "", recvUserIds: [], groupVersion: 0 },
      ...{ expiresAtMs, deliverAtMs: 0, collapseKey: "" },
      reportKey: report && key,
      isUserScoped,
      ...devices,
    };
  };
}
