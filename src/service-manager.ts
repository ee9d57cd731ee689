import { execFile } from "node:child_process";
import type { BaseLogger } from "pino";
import type { Environment } from "./config.ts";

/** What a look at the service has found. */
export interface Soundness {
  /** Whether it need not be restarted. */
  readonly isSound: boolean;
  /** One line for people, such as `ready`. */
  readonly status: string;
}

/** The service manager that has started this process, as far as it asks to be told: systemd, with `Type=notify`. */
export interface ServiceManager {
  /** The start, or a reload, is over. */
  ready(status: string): void;
  reloading(): void;
  stopping(): void;
  /**
   * Tells that the service lives, three times within WATCHDOG_USEC, as long as `look` finds it sound: a service that is
   * not, or whose event loop stands still, is silent, and restarted for that. Nothing where nobody watches.
   */
  watch(look: () => Promise<Soundness>): void;
  /** Ends {@link watch}. */
  close(): void;
}

/** How long systemd-notify may take, in milliseconds: it waits until systemd has read what it says, up to 5 s. */
const timeoutMs = 6_000;

/** How often the service is looked at within the time after which it would be restarted. */
const looksWithin = 3;

/**
 * Connects to the manager that NOTIFY_SOCKET names. Node has no datagram sockets of that kind, so that what is said is
 * said by systemd's own `systemd-notify`, a process for each time: the unit needs `NotifyAccess=all`.
 */
export function connectServiceManager(env: Environment, log: Pick<BaseLogger, "warn">): ServiceManager {
  const { NOTIFY_SOCKET = "", WATCHDOG_USEC, WATCHDOG_PID, PATH } = env;
  let told = Promise.resolve();
  let hasFailed = false;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;

  const run = (variables: readonly string[]) =>
    new Promise<void>((resolve) => {
      execFile("systemd-notify", variables, { env: { NOTIFY_SOCKET, PATH }, timeout: timeoutMs }, (err) => {
        // Once: the next one is a few seconds away.
        if (err && !hasFailed) log.warn({ err }, "systemd-notify cannot tell systemd how the service is");
        hasFailed = err !== null;
        resolve();
      });
    });

  /** In order: what comes last is what counts. */
  const tell = (...variables: readonly string[]): Promise<void> => {
    if (NOTIFY_SOCKET !== "") told = told.then(() => run(variables));
    return told;
  };

  const isForUs = WATCHDOG_PID === undefined || WATCHDOG_PID === String(process.pid);
  const watchdogMs = NOTIFY_SOCKET !== "" && isForUs ? Number(WATCHDOG_USEC ?? 0) / 1_000 : 0;

  return {
    ready: (status) => void tell("READY=1", `STATUS=${status}`),
    // When, by the clock of the whole machine: with Type=notify-reload it is required.
    reloading: () => void tell("RELOADING=1", `MONOTONIC_USEC=${process.hrtime.bigint() / 1_000n}`),
    stopping: () => void tell("STOPPING=1", "STATUS=stopping"),
    watch(look) {
      if (!(watchdogMs > 0)) return;
      const lookAgain = async () => {
        const { isSound, status } = await look().catch(() => ({ isSound: false, status: "cannot be looked at" }));
        if (closed) return;
        await tell(...(isSound ? ["WATCHDOG=1"] : []), `STATUS=${status}`);
        if (!closed) timer = setTimeout(lookAgain, watchdogMs / looksWithin).unref();
      };
      void lookAgain();
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
