import { setMaxListeners } from "node:events";
import { Command, InvalidArgumentError, Option } from "commander";
import { adminPlatform } from "../auth/platform.ts";
import { quick, toMaxPauseMs } from "../verify/quick.ts";
import { adminUserId, findToken, positiveNumber, tokenOption } from "./options.ts";

interface VerifyFlags {
  readonly url?: string[];
  readonly token?: string;
  readonly seed: number;
  readonly seconds?: number;
  readonly quick?: boolean;
  readonly soak?: boolean;
  readonly brokers: 1 | 3;
  readonly disk: boolean;
  readonly instances: number;
  readonly workers: number;
  readonly upgradeFrom?: string;
  readonly writers: number;
  readonly users?: number;
  readonly groups?: number;
  readonly maxPause?: number;
  readonly rate?: number;
  readonly keepGoing?: boolean;
  readonly out: string;
}

/** How long, and a round of it, in seconds, and among how many: by default, and with `--soak`. */
const usual = { seconds: 300, roundSeconds: 60, users: 20, groups: 10 } as const;
const soak = { ...usual, seconds: 3_600, roundSeconds: 120 } as const;

/** The longest pause of a caller by default, in milliseconds. */
const usualPauseMs = 400;

/** What it may take longer in all than it was asked for, in milliseconds: each part of it has ended by itself by then. */
const graceMs = 900_000;

/** How long its own deployment may take to end, in milliseconds. */
const stopMs = 120_000;

/** `verify`: has everything happen at once, and compares what each device has got with what the answers promised. */
export function verifyCommand(): Command {
  return new Command("verify")
    .description(
      "prove who got what: writers and devices by every door, faults, and a check of every promise. Without --url against instances of its own, which it breaks; with it against yours, which it does not break",
    )
    .option("--url <url...>", "a deployment to use as it is, by one or more addresses: an acceptance test")
    .addOption(tokenOption())
    .option("--seed <number>", "makes the choices, and not their timing", positiveNumber, 1)
    .option("--seconds <number>", `how long (default: ${usual.seconds})`, positiveNumber)
    .addOption(
      new Option("--quick", `${quick.seconds} seconds of many faults, with ${quick.rate} calls a second`).conflicts([
        "seconds",
        "soak",
      ]),
    )
    .addOption(new Option("--soak", `${soak.seconds} seconds`).conflicts("seconds"))
    .option("--brokers <1|3>", "one broker that syncs each write, or a cluster", oneOrThree, 1)
    .option(
      "--no-disk",
      "let the one broker write to the disk of this machine, where nothing breaks it: many more calls",
    )
    .option("--instances <number>", "instances of its own", positiveNumber, 2)
    .option("--workers <number>", "processes of each of them", positiveNumber, 1)
    .option(
      "--upgrade-from <dir>",
      "where another version is installed (a checkout, or an npm package): its instances begin, and are replaced by ours under load and back; no send has a field that it does not know",
    )
    .option("--writers <number>", "callers that send", positiveNumber, 50)
    .option(
      "--users <number>",
      `users, each with one to four devices (default: ${usual.users}, --quick: ${quick.users})`,
      positiveNumber,
    )
    .option("--groups <number>", `groups (default: ${usual.groups}, --quick: ${quick.groups})`, positiveNumber)
    .option(
      "--max-pause <ms>",
      `the longest pause of a caller between two calls (default: ${usualPauseMs})`,
      positiveNumber,
    )
    .addOption(
      new Option("--rate <number>", "calls a second of all callers, in the place of --max-pause")
        .argParser(positiveNumber)
        .conflicts("maxPause"),
    )
    .option("--keep-going", "go on after a promise was broken")
    .option(
      "--out <dir>",
      "where history.jsonl, timeline.svg and the logs of its own instances and brokers are written",
      "verify-results",
    )
    .action(async (flags: VerifyFlags) => {
      try {
        await run(flags);
      } finally {
        // A socket that is reset while it is being shut down keeps Node 24 from ending by itself. An error is told first.
        setImmediate(() => process.exit());
      }
    });
}

async function run(flags: VerifyFlags): Promise<void> {
  // Loaded here: the other commands do without.
  const { verify } = await import("../verify/verify.ts");
  const { toLines } = await import("../verify/summary.ts");
  say("starting");
  const deployment = await open(flags);
  // One signal ends all devices and callers of a round.
  setMaxListeners(0);
  let isStopping = false;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (isStopping) return;
      isStopping = true;
      void deployment.stop().finally(() => process.exit(130));
    });
  }
  const size = flags.quick ? quick : flags.soak ? soak : usual;
  const { seconds = size.seconds, users = size.users, groups = size.groups } = flags;
  const ending = endAfter(seconds * 1_000 + graceMs, "it has not ended by itself");
  try {
    say(`seed ${flags.seed}, ${seconds} s, ${deployment.instances.map(({ name }) => name).join(", ")}`);
    const { totals, violations } = await verify({
      ...flags,
      deployment,
      seconds,
      users,
      groups,
      roundSeconds: size.roundSeconds,
      maxPauseMs: pauseOf(flags),
      say,
    });
    say(toLines(totals).join("\n"));
    say(`written to ${flags.out}`);
    if (violations.length > 0) {
      say(violations.join("\n\n"));
      process.exitCode = 1;
    }
  } finally {
    clearTimeout(ending);
    const stopping = endAfter(stopMs, "what it has started has not ended");
    await deployment.stop();
    clearTimeout(stopping);
  }
}

async function open({ url, token, instances, workers, brokers, disk, upgradeFrom, out }: VerifyFlags) {
  if (url === undefined) {
    const { startOwn } = await import("../verify/own/start.ts");
    return startOwn({ instances, workers, brokers, hasDisk: disk, upgradeFrom, logDir: out, say });
  }
  const { reachRemote } = await import("../verify/remote.ts");
  return reachRemote(url, await findToken(token, adminUserId(), adminPlatform));
}

function pauseOf({ maxPause, rate, quick: isQuick, writers }: VerifyFlags): number {
  if (maxPause !== undefined) return maxPause;
  const wanted = rate ?? (isQuick ? quick.rate : undefined);
  return wanted === undefined ? usualPauseMs : toMaxPauseMs(wanted, writers);
}

/** Ends the process by then, as failed; it does not end by itself before. */
function endAfter(ms: number, why: string): NodeJS.Timeout {
  return setTimeout(() => {
    say(`FAILED: ${why}`);
    process.exit(1);
  }, ms);
}

function oneOrThree(value: string): 1 | 3 {
  if (value === "1" || value === "3") return value === "1" ? 1 : 3;
  throw new InvalidArgumentError("expected 1 or 3");
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
