import { Command } from "commander";
import { loadConfig } from "../config.ts";
import { operatorUrl } from "./health.ts";
import { serviceUrl, tokenOption, urlOption } from "./options.ts";
import { print } from "./print.ts";

interface DoctorFlags {
  readonly url?: string;
  readonly adminUrl?: string;
  readonly token?: string;
  readonly json?: boolean;
}

const signs = { ok: "ok     ", warning: "warning", problem: "PROBLEM" } as const;

/** `doctor`: looks at a deployment, and says what to do about what it finds. */
export function doctorCommand(): Command {
  return new Command("doctor")
    .description("check a deployment: exit code 0 when all is well, 1 with warnings, 2 with problems")
    .addOption(urlOption())
    .option(
      "--admin-url <url>",
      "where the operator's port answers (default: from the settings, unless there is --url)",
    )
    .addOption(tokenOption())
    .option("--json", "a line of JSON for each finding")
    .action(async ({ url, adminUrl, token, json = false }: DoctorFlags) => {
      const config = loadConfig(process.env);
      // Loaded here: the other commands do without.
      const { diagnose } = await import("../doctor/diagnose.ts");
      const { exitCodeOf } = await import("../doctor/finding.ts");
      const findings = await diagnose(config, {
        url: serviceUrl(url),
        adminUrl: adminUrl ?? (url === undefined && config.adminPort ? operatorUrl() : undefined),
        token: token ?? config.token,
      });
      for (const finding of findings) {
        if (json) print(finding);
        else process.stdout.write(`${signs[finding.level]} ${finding.check}: ${finding.found}\n`);
        if (!json && finding.todo !== undefined) process.stdout.write(`        ${finding.todo}\n`);
      }
      process.exitCode = exitCodeOf(findings);
    });
}
