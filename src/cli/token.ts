import { Command, Option } from "commander";
import { adminPlatform, requirePlatform } from "../auth/platform.ts";
import { adminUserId, mintToken, positiveNumber } from "./options.ts";

/** `token`: prints a token on standard output. */
export function tokenCommand(): Command {
  return new Command("token")
    .description("print a token, minted with the secret of this machine")
    .addOption(new Option("--admin", "a token of the first admin").conflicts("user"))
    .option("--user <id>", "a token of this user")
    .option(
      "--platform <number>",
      "its platform: 1 iOS, 2 Android, 3 Windows, 4 OSX, 5 Web, 7 Linux …",
      positiveNumber,
      5,
    )
    .action(async (options: { admin?: boolean; user?: string; platform: number }, command: Command) => {
      if (!options.admin && options.user === undefined) command.error("error: give --admin or --user <id>");
      const token =
        options.user === undefined
          ? await mintToken(adminUserId(), adminPlatform)
          : await mintToken(options.user, requirePlatform(options.platform));
      process.stdout.write(`${token}\n`);
    });
}
