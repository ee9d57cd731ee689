import { Command } from "commander";
import { tokenOption, urlOption } from "../options.ts";
import { print } from "../print.ts";
import { callAbout, type NotificationFlags } from "./notification-id.ts";

/** `recall`: withdraws a notification, and prints what it came to as a line of JSON. */
export function recallCommand(): Command {
  return new Command("recall")
    .description("withdraw a must-reach notification, or cancel a scheduled one")
    .requiredOption("--id <id>", "its serverMsgID or clientMsgID")
    .addOption(urlOption())
    .addOption(tokenOption())
    .action(async (flags: NotificationFlags) => {
      const { withdrawn, delivered } = await callAbout(flags, (service, reference, options) =>
        service.recallBusinessNotification(reference, options),
      );
      print({ withdrawn, delivered });
    });
}
