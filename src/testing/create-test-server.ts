import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { adminPlatform, webPlatform } from "../auth/platform.ts";
import { createSender, type OutgoingNotification, type SentNotification } from "../client/index.ts";
import { loadConfig } from "../config.ts";
import { createLog } from "../observe/log.ts";
import { startServer } from "../server.ts";
import { createJumpingClock } from "./jumping-clock.ts";
import { openDevice, type ReceiveOptions, type TestDevice } from "./test-device.ts";

export interface TestServerOptions {
  /**
   * Settings by the names of their environment variables, such as `{ MUSTREACH_ESCALATION_DELAY: "1s" }`. The process's
   * own environment is not read, but for MUSTREACH_NATS_SERVER. Default: one process, free ports, a temporary data
   * directory, no operator's port.
   */
  readonly settings?: Readonly<Record<string, string>> | undefined;

  /** What of its log goes to standard error. Default `silent`. */
  readonly logLevel?: "debug" | "info" | "warn" | "error" | "silent" | undefined;
}

/** A service in this process, with a broker of its own. */
export interface TestServer extends AsyncDisposable {
  /** Where it answers, such as `http://127.0.0.1:49152`: gRPC, Connect, REST, as any service. */
  readonly url: string;

  /** A token of the first admin, `imAdmin`. */
  adminToken(): Promise<string>;

  /** A token of a user; `platformID` as OpenIM has it. Default 5, a browser. */
  userToken(userID: string, platformID?: number): Promise<string>;

  /** Sends as the first admin. */
  send(
    notification: Omit<OutgoingNotification, "sendUserID"> & { readonly sendUserID?: string },
  ): Promise<SentNotification>;

  /**
   * Opens a device of a user, which is closed with the server. What must reach reaches it also when it was sent before;
   * an online push does not.
   */
  receive(userID: string, options?: ReceiveOptions): Promise<TestDevice>;

  /** What its clock shows, in epoch milliseconds: what a `sendAt` is to be reckoned from. */
  now(): number;

  /**
   * Moves its clock forward, at once: as if `ms` milliseconds had passed in which nobody did anything. What has ended by
   * then has expired; sends whose `sendAt` has come go out, then; what has not reached in time is escalated, and what has
   * become of it reported. It resolves when that is done, but for what waits for others: a webhook that does not answer,
   * a device.
   *
   * Not moved: the time of tokens and of connections, the pause before a webhook is tried again, and the retention, after
   * which the broker removes what it has stored. Nothing moves of a server with `MUSTREACH_NATS_URL` or more than one of
   * `MUSTREACH_WORKERS`.
   *
   * @param ms 0 to a year of 365 days.
   * @throws {RangeError} for another number; {Error} where nothing moves.
   */
  advance(ms: number): Promise<void>;

  /** Stops the service and its broker, and removes what they have stored. */
  close(): Promise<void>;
}

/** The furthest that time is moved at once, in milliseconds. */
const maxAdvanceMs = 365 * 86_400_000;

/**
 * Starts a service for the tests of what uses it: the real one, with a real broker, on a port of its own.
 *
 * @throws {ConfigError} for a setting that is none, and when there is no nats-server and none can be installed.
 */
export async function createTestServer(options: TestServerOptions = {}): Promise<TestServer> {
  const { settings = {}, logLevel = "silent" } = options;
  const dataDir = await mkdtemp(join(tmpdir(), "mustreach-"));
  const remove = () => rm(dataDir, { recursive: true, force: true });
  try {
    const { MUSTREACH_NATS_SERVER } = process.env;
    const clock = createJumpingClock();
    const config = loadConfig({ MUSTREACH_NATS_SERVER, ...defaults, MUSTREACH_DATA_DIR: dataDir, ...settings });
    const server = await startServer(config, createLog(logLevel), clock);
    const [admin = "imAdmin"] = config.adminUserIds;
    const token = async (userId: string, platformId: number) => (await server.mint({ userId, platformId })).token;
    const sender = createSender({ baseUrl: server.url, token: () => token(admin, adminPlatform) });
    const devices: TestDevice[] = [];
    let closing: Promise<void> | undefined;

    const stop = async () => {
      await Promise.all(devices.map((device) => device.close()));
      await server.stop();
      await remove();
    };
    const close = () => {
      closing ??= stop();
      return closing;
    };

    return {
      url: server.url,
      adminToken: () => token(admin, adminPlatform),
      userToken: (userID, platformID = webPlatform) => token(userID, platformID),
      send: (notification) => sender.send({ sendUserID: admin, ...notification }),
      async receive(userID, deviceOptions) {
        const device = await openDevice(server.url, await token(userID, webPlatform), deviceOptions);
        devices.push(device);
        return device;
      },
      now: clock.now,
      async advance(ms) {
        if (!(Number.isSafeInteger(ms) && ms >= 0 && ms <= maxAdvanceMs)) {
          throw new RangeError(`time is moved by 0 to ${maxAdvanceMs} whole milliseconds, not ${ms}`);
        }
        if (config.natsUrl !== undefined || config.workers !== 1) {
          throw new Error("time is moved only of one process with a broker of its own");
        }
        await clock.advance(ms);
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** What differs from a service of its own. */
const defaults = {
  MUSTREACH_PORT: "0",
  MUSTREACH_ADMIN_PORT: "off",
  MUSTREACH_WORKERS: "1",
  // Who waits for a test does not wait for what is under way.
  MUSTREACH_DRAIN_TIMEOUT: "1s",
};
