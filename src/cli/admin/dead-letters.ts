import { Command, Option } from "commander";
import { toBusinessNotification } from "../../client/notification.ts";
import { type DeadLetter, DeadLetterService } from "../../gen/mustreach/delivery/v1/dead_letter_pb.ts";
import { tokenOption, urlOption } from "../options.ts";
import { print } from "../print.ts";
import { type AdminFlags, openAdminService } from "./admin.ts";

interface ReplayFlags extends AdminFlags {
  readonly all?: boolean;
  readonly id?: string[];
}

/** `dead-letters`: shows what the escalation webhook has not taken, and hands it over again. */
export function deadLettersCommand(): Command {
  return new Command("dead-letters")
    .description("notifications that the escalation webhook has not taken")
    .addCommand(listCommand())
    .addCommand(replayCommand());
}

/** `dead-letters list`: prints each as a line of JSON, the oldest first. */
function listCommand(): Command {
  return new Command("list")
    .description("print them, one line of JSON each, the oldest first")
    .addOption(urlOption())
    .addOption(tokenOption())
    .action(async (flags: AdminFlags) => {
      const { service, options } = await openAdminService(DeadLetterService, flags);
      for (let pageToken = ""; ; ) {
        const page = await service.listDeadLetters({ pageToken }, options);
        for (const letter of page.deadLetters) print(toLine(letter));
        pageToken = page.nextPageToken;
        if (pageToken === "") return;
      }
    });
}

/** `dead-letters replay`: prints how many were replayed, as a line of JSON. */
function replayCommand(): Command {
  return new Command("replay")
    .description("hand them to the webhook again")
    .addOption(new Option("--all", "all that there are").conflicts("id"))
    .option("--id <escalationID...>", "these, as `dead-letters list` shows them")
    .addOption(urlOption())
    .addOption(tokenOption())
    .action(async (flags: ReplayFlags, command: Command) => {
      if (!flags.all && flags.id === undefined) command.error("error: give --all or --id <escalationID>");
      const { service, options } = await openAdminService(DeadLetterService, flags);
      const request = { all: flags.all ?? false, escalationIds: flags.id ?? [] };
      const { replayed } = await service.replayDeadLetters(request, options);
      print({ replayed });
    });
}

function toLine({ escalationId, userId, attempts, error, deadTime, notification }: DeadLetter) {
  return {
    escalationID: escalationId,
    userID: userId,
    attempts,
    error,
    deadTime: Number(deadTime),
    ...(notification && { ...toBusinessNotification(notification), sequence: Number(notification.sequence) }),
  };
}
