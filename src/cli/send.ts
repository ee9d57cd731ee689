import { Command, InvalidArgumentError, Option } from "commander";
import { adminPlatform } from "../auth/platform.ts";
import { createSender } from "../client/index.ts";
import { adminUserId, findToken, positiveNumber, serviceUrl, tokenOption, urlOption } from "./options.ts";
import { print } from "./print.ts";

interface SendFlags {
  readonly to?: readonly string[];
  readonly group?: string;
  readonly from?: string;
  readonly key: string;
  readonly data: string;
  readonly mustReach?: boolean;
  readonly id?: string;
  readonly ttl?: number;
  readonly at?: number;
  readonly chat?: boolean;
  readonly report?: boolean;
  readonly scope?: "device" | "user";
  readonly device?: string;
  readonly exceptDevice?: string;
  readonly collapse?: string;
  readonly url?: string;
  readonly token?: string;
}

/** `send`: sends one notification and prints what was accepted as a line of JSON. */
export function sendCommand(): Command {
  return new Command("send")
    .description("send a notification")
    .addOption(new Option("--to <user...>", "the receiving user, or several: one send to all").conflicts("group"))
    .option("--group <group>", "the receiving group")
    .requiredOption("--key <key>", "the kind of business event")
    .requiredOption("--data <text>", "the business payload")
    .option("--must-reach", "store it until each device has acknowledged it (default: online push)")
    .option("--from <user>", "the sending user (default: the first admin)")
    .option("--id <clientMsgID>", "idempotency key (default: generated)")
    .option("--ttl <seconds>", "expire it after this many seconds", positiveNumber)
    .option("--at <time>", "deliver it then, such as 2027-01-31T09:00:00Z", toTime)
    .option("--collapse <key>", "replace an earlier one of this key to the same user or group")
    .option("--chat", "store a chat copy in the conversation as well")
    .option("--report", "report what becomes of it, with --must-reach")
    .addOption(
      new Option("--scope <whose>", "whose acknowledgement settles it, with --must-reach").choices(["device", "user"]),
    )
    .addOption(new Option("--device <name>", "only to this device of the user").conflicts("exceptDevice"))
    .option("--except-device <name>", "to all devices of the user but this one")
    .addOption(urlOption())
    .addOption(tokenOption())
    .action(async (flags: SendFlags, command: Command) => {
      if (flags.to === undefined && flags.group === undefined)
        command.error("error: give --to <user> or --group <group>");
      const sender = createSender({
        baseUrl: serviceUrl(flags.url),
        token: await findToken(flags.token, adminUserId(), adminPlatform),
      });
      const sent = await sender.send({
        sendUserID: flags.from ?? adminUserId(),
        ...(flags.to?.length === 1 ? { recvUserID: flags.to[0] } : { recvUserIDs: flags.to }),
        recvGroupID: flags.group,
        key: flags.key,
        data: flags.data,
        mustReach: flags.mustReach,
        clientMsgID: flags.id,
        ttlSeconds: flags.ttl,
        sendAt: flags.at,
        sendMsg: flags.chat,
        report: flags.report,
        ackScope: flags.scope,
        recvDeviceID: flags.device,
        exceptDeviceID: flags.exceptDevice,
        collapseKey: flags.collapse,
      });
      print(sent);
    });
}

function toTime(value: string): number {
  const timeMs = Date.parse(value);
  if (Number.isNaN(timeMs)) throw new InvalidArgumentError("expected a time such as 2027-01-31T09:00:00Z");
  return timeMs;
}
