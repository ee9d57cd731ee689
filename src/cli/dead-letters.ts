import { createClient } from "@connectrpc/connect";
import { Command, Option } from "commander";
import { adminPlatform } from "../auth/platform.ts";
import { toClientError } from "../client/error.ts";
import { createFetchTransport } from "../client/transport.ts";
import { type DeadLetter, DeadLetterService } from "../gen/mustreach/delivery/v1/dead_letter_pb.ts";
import { adminUserId, mintToken, serviceUrl, tokenOption, urlOption } from "./options.ts";

interface ServiceFlags {
  readonly url?: string;
  readonly token?: string;
}

interface ReplayFlags extends ServiceFlags {
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
    .action(async (flags: ServiceFlags) => {
      const { service, headers } = await openService(flags);
      for (let pageToken = ""; ; ) {
        const page = await service.listDeadLetters({ pageToken }, { headers }).catch(rethrow);
        for (const letter of page.deadLetters) process.stdout.write(`${JSON.stringify(toLine(letter))}\n`);
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
      const { service, headers } = await openService(flags);
      const request = { all: flags.all ?? false, escalationIds: flags.id ?? [] };
      const { replayed } = await service.replayDeadLetters(request, { headers }).catch(rethrow);
      process.stdout.write(`${JSON.stringify({ replayed })}\n`);
    });
}

async function openService({ url, token }: ServiceFlags) {
  return {
    service: createClient(DeadLetterService, createFetchTransport(serviceUrl(url))),
    headers: { token: token ?? (await mintToken(adminUserId(), adminPlatform)) },
  };
}

function toLine({ escalationId, userId, attempts, error, deadTime, notification }: DeadLetter) {
  return {
    escalationID: escalationId,
    userID: userId,
    attempts,
    error,
    deadTime: Number(deadTime),
    ...(notification !== undefined && {
      sequence: Number(notification.sequence),
      serverMsgID: notification.serverMsgId,
      clientMsgID: notification.clientMsgId,
      sendTime: Number(notification.sendTime),
      sendUserID: notification.sendUserId,
      recvUserID: notification.recvUserId,
      recvGroupID: notification.recvGroupId,
      key: notification.key,
      data: notification.data,
    }),
  };
}

function rethrow(thrown: unknown): never {
  throw toClientError(thrown);
}
