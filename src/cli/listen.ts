import { Command, Option } from "commander";
import { requirePlatform } from "../auth/platform.ts";
import { createClient } from "../client/index.ts";
import { findToken, positiveNumber, serviceUrl, tokenOption, urlOption } from "./options.ts";

interface ListenFlags {
  readonly user: string;
  readonly device: string;
  readonly platform: number;
  readonly start: "resume" | "new" | "all";
  readonly url?: string;
  readonly token?: string;
}

/** `listen`: prints each notification (and chat copy, recall and settlement, marked by `event`) as a line of JSON, acknowledges it, and goes on until Ctrl-C. */
export function listenCommand(): Command {
  return new Command("listen")
    .description("print a user's notifications, one line of JSON each, and acknowledge them")
    .requiredOption("--user <id>", "the user")
    .option("--device <name>", "the device's own stable name", "cli")
    .option("--platform <number>", "the platform of the token", positiveNumber, 5)
    .addOption(
      new Option("--start <where>", "where a new device begins").choices(["resume", "new", "all"]).default("resume"),
    )
    .addOption(urlOption())
    .addOption(tokenOption())
    .action(async (flags: ListenFlags) => {
      const token = () => findToken(flags.token, flags.user, requirePlatform(flags.platform));
      await new Promise<void>((resolve, reject) => {
        const client = createClient({
          baseUrl: serviceUrl(flags.url),
          token,
          deviceId: flags.device,
          start: flags.start,
          onError: (error) => tell(error instanceof Error ? error.message : "an error"),
          onStatus: (status, error) => {
            tell(status);
            // Closed with an error: the service refused us for good.
            if (status === "closed" && error !== undefined) reject(error);
          },
        });
        client.onRecvCustomBusinessMessage(async (notification) => {
          await print({ ...notification, sequence: Number(notification.sequence) });
        });
        client.onRecvNewMessage(async ({ sequence, conversationSequence, ...message }) => {
          const place = { conversationSequence: Number(conversationSequence), sequence: Number(sequence) };
          await print({ event: "message", ...message, ...place });
        });
        client.onRecall(async ({ sequence, ...recalled }) => {
          await print({ event: "recall", ...recalled, sequence: Number(sequence) });
        });
        client.onSettled(async ({ sequence, ...settled }) => {
          await print({ event: "settled", ...settled, sequence: Number(sequence) });
        });
        client.onGap((gap) => tell(`gap from ${gap.from} to ${gap.to}: ${gap.reason}`));
        for (const signal of ["SIGINT", "SIGTERM"] as const)
          process.once(signal, () => client.close().then(resolve, reject));
        client.connect().catch(reject);
      });
    });
}

/** Resolves when the line has been handed over: what it tells of is acknowledged then. */
function print(line: object): Promise<void> {
  return new Promise((written) => process.stdout.write(`${JSON.stringify(line)}\n`, () => written()));
}

function tell(text: string): void {
  process.stderr.write(`mustreach listen: ${text}\n`);
}
