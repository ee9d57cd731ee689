import { ConnectError } from "@connectrpc/connect";
import { Command, CommanderError } from "commander";
import { fromConnectError } from "../client/connect/error.ts";
import { MustreachClientError } from "../client/index.ts";
import { ConfigError } from "../config.ts";
import { version } from "../version.ts";
import { deadLettersCommand } from "./admin/dead-letters.ts";
import { groupCommand } from "./admin/group.ts";
import { recallCommand } from "./admin/recall.ts";
import { statusCommand } from "./admin/status.ts";
import { backupCommand, restoreCommand } from "./backup.ts";
import { benchCommand } from "./bench.ts";
import { clusterCommand } from "./cluster.ts";
import { doctorCommand } from "./doctor.ts";
import { healthCommand } from "./health.ts";
import { listenCommand } from "./listen.ts";
import { sendCommand } from "./send.ts";
import { serveCommand } from "./serve.ts";
import { tokenCommand } from "./token.ts";
import { verifyCommand } from "./verify.ts";

/** The command line. Exit code 0, 1 when a command failed, 2 when it was called wrongly or a setting is bad. */
const program = new Command("mustreach")
  .description("Business notifications that reach.")
  .version(version, "-V, --version", "print the version")
  .addCommand(serveCommand())
  .addCommand(tokenCommand())
  .addCommand(sendCommand())
  .addCommand(listenCommand())
  .addCommand(groupCommand())
  .addCommand(statusCommand())
  .addCommand(recallCommand())
  .addCommand(deadLettersCommand())
  .addCommand(benchCommand())
  .addCommand(healthCommand())
  .addCommand(doctorCommand())
  .addCommand(verifyCommand())
  .addCommand(clusterCommand())
  .addCommand(backupCommand())
  .addCommand(restoreCommand());
prepare(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    process.stderr.write(`${describe(error)}\n`);
    process.exitCode = error instanceof ConfigError ? 2 : 1;
  }
}

/** Commander's settings are not inherited by subcommands that were made elsewhere. */
function prepare(command: Command): void {
  command.exitOverride().showHelpAfterError("(add --help for the options)");
  for (const subcommand of command.commands) prepare(subcommand);
}

function describe(thrown: unknown): string {
  const error = thrown instanceof ConnectError ? fromConnectError(thrown) : thrown;
  if (error instanceof MustreachClientError) return `${error.errCode} ${error.errMsg}: ${error.errDlt}`;
  return error instanceof Error ? error.message : "the command failed";
}
