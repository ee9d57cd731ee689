import { Command } from "commander";
import {
  type DeliveryState,
  DeliveryStateSchema,
  type GetDeliveryStatusResponse,
  type RecipientStatus,
} from "../../gen/mustreach/msg/v1/msg_pb.ts";
import { tokenOption, urlOption } from "../options.ts";
import { print } from "../print.ts";
import { callAbout, type NotificationFlags } from "./notification-id.ts";

/** Recipients in one answer of the service: the most that it gives. */
const pageSize = 1_000;

/** `status`: prints each recipient of a notification as a line of JSON, then the counts. */
export function statusCommand(): Command {
  return new Command("status")
    .description("print who has got a must-reach notification, one line of JSON for each recipient, then the counts")
    .requiredOption("--id <id>", "its serverMsgID or clientMsgID")
    .addOption(urlOption())
    .addOption(tokenOption())
    .action(async (flags: NotificationFlags) => {
      for (let pageNumber = 1; ; pageNumber++) {
        const page = await callAbout(flags, (service, reference, options) =>
          service.getDeliveryStatus({ ...reference, pageNumber, showNumber: pageSize }, options),
        );
        for (const recipient of page.recipients) print(toLine(recipient));
        if (page.recipients.length === pageSize) continue;
        return print(toSummary(page));
      }
    });
}

function toLine({ userId, state, devices }: RecipientStatus) {
  return {
    userID: userId,
    state: toName(state),
    devices: devices.map((device) => ({
      deviceID: device.deviceId,
      state: toName(device.state),
      acknowledgedTime: Number(device.acknowledgedTime),
    })),
  };
}

function toSummary({ serverMsgId, clientMsgId, sendTime, counts }: GetDeliveryStatusResponse) {
  const { total, delivered, pending, expired, recalled, scheduled, collapsed } = counts ?? {};
  return {
    serverMsgID: serverMsgId,
    clientMsgID: clientMsgId,
    sendTime: Number(sendTime),
    counts: { total, delivered, pending, expired, recalled, scheduled, collapsed },
  };
}

/** A state as REST writes it. */
function toName(state: DeliveryState): string {
  return DeliveryStateSchema.values.find(({ number }) => number === state)?.localName.toLowerCase() ?? String(state);
}
