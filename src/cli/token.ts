import { Command, InvalidArgumentError, Option } from "commander";
import { adminPlatform, requirePlatform } from "../auth/platform.ts";
import { maxPerMinute } from "../senders/rights.ts";
import { adminUserId, mintToken, positiveNumber } from "./options.ts";

interface TokenFlags {
  readonly admin?: boolean;
  readonly user?: string;
  readonly sender?: string;
  readonly keys?: string[];
  readonly recipients?: string[];
  readonly perMinute?: number;
  readonly platform: number;
}

/** `token`: prints a token on standard output. */
export function tokenCommand(): Command {
  return new Command("token")
    .description("print a token, minted with the secret of this machine")
    .addOption(new Option("--admin", "a token of the first admin").conflicts(["user", "sender"]))
    .addOption(new Option("--user <id>", "a token of this user").conflicts("sender"))
    .option("--sender <id>", "a token of this user with which it may send, and nothing else that is for admins")
    .option("--keys <beginning...>", "with --sender: only keys that begin with one of these")
    .option("--recipients <beginning...>", "with --sender: only to users and groups whose ids begin with one of these")
    .option("--per-minute <number>", "with --sender: so many notifications a minute", rate)
    .option(
      "--platform <number>",
      "its platform: 1 iOS, 2 Android, 3 Windows, 4 OSX, 5 Web, 7 Linux …",
      positiveNumber,
      5,
    )
    .action(async (options: TokenFlags, command: Command) => {
      process.stdout.write(`${await mint(options, command)}\n`);
    });
}

function mint({ admin, user, sender, platform, ...rights }: TokenFlags, command: Command): Promise<string> {
  const { keys, recipients, perMinute } = rights;
  if (sender !== undefined) return mintToken(sender, requirePlatform(platform), { keys, recipients, perMinute });
  if ((keys ?? recipients ?? perMinute) !== undefined) {
    command.error("error: --keys, --recipients and --per-minute limit a --sender");
  }
  if (user !== undefined) return mintToken(user, requirePlatform(platform));
  if (!admin) command.error("error: give --admin, --user <id> or --sender <id>");
  return mintToken(adminUserId(), adminPlatform);
}

function rate(value: string): number {
  const number = positiveNumber(value);
  if (number > maxPerMinute) throw new InvalidArgumentError(`expected at most ${maxPerMinute}`);
  return number;
}
