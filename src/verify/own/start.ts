import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTokenMinter } from "../../auth/mint-token.ts";
import { adminPlatform } from "../../auth/platform.ts";
import { version } from "../../version.ts";
import { type Deployment, devicePlatform } from "../deployment.ts";
import { type Disk, mountDisk } from "../disk/disk.ts";
import { nativeDoor } from "../native/consumer.ts";
import { findLacking } from "../versions/lacking.ts";
import { findInstallation, versionFault } from "../versions/versions.ts";
import { type Broker, type Route, startBrokers } from "./brokers.ts";
import { type Clock, createClock } from "./clock.ts";
import { faultsOf } from "./faults.ts";
import { createInstance, type OwnInstance, ownProgram } from "./instance.ts";
import { type Link, openLink } from "./link.ts";
import type { Breakable } from "./parts.ts";

/** Options of {@link startOwn}. */
export interface OwnOptions {
  /** Instances of the service. */
  readonly instances: number;
  /** Processes of each; 1 is an instance without workers. */
  readonly workers: number;
  /** 1, which syncs each write to disk, or a cluster of 3. */
  readonly brokers: 1 | 3;
  /** Whether one broker has a disk that we break. Default true. */
  readonly hasDisk?: boolean;
  /** Settings of the instances, without their prefix, that go before ours. */
  readonly settings?: Readonly<Record<string, string>>;
  /** What the Node of the instances is started with. Default: nothing. */
  readonly nodeOptions?: readonly string[];
  /** Where another version is installed, which instances begin with, and change from and to. Default: they have ours. */
  readonly upgradeFrom?: string | undefined;
  /** Where the logs of instances and brokers are written, anew. Default: nowhere. */
  readonly logDir?: string | undefined;
  /** Is told, for people, what cannot happen here, and why. */
  readonly say?: (line: string) => void;
}

const tokenTtlMs = 86_400_000;

const partitions = 2;

/** A deployment of our own, and what it is made of. */
export interface OwnDeployment extends Deployment {
  readonly parts: Breakable;
}

/** Starts a deployment of our own, on loopback and in a temporary directory: all of it ends and goes with it. */
export async function startOwn({
  instances: count,
  workers,
  brokers,
  hasDisk = true,
  settings,
  nodeOptions = [],
  upgradeFrom,
  logDir,
  say = () => {},
}: OwnOptions): Promise<OwnDeployment> {
  const other = upgradeFrom === undefined ? undefined : await findInstallation(upgradeFrom);
  const lacking = other === undefined ? new Set<string>() : await findLacking(other);
  if (lacking.size > 0) say(`no send has ${[...lacking].join(", ")}: ${other?.version} does not know them`);
  const dir = await mkdtemp(join(tmpdir(), "mustreach-verify-"));
  const secret = randomBytes(32).toString("base64url");
  const instances: OwnInstance[] = [];
  const nodes: Broker[] = [];
  const routes: Route[] = [];
  const brokerLinks: Link[] = [];
  const clocks: Clock[] = [];
  let disk: Disk | undefined;
  const toLogFile = (name: string) => (logDir === undefined ? undefined : join(logDir, `${name}.log`));
  const ends: (() => Promise<unknown>)[] = [() => rm(dir, { recursive: true, force: true })];
  const stop = async () => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    if (brokers === 1 && hasDisk) {
      disk = await mountDisk(dir).catch((error: Error) => {
        say(`no disk fails, and no power: ${error.message}`);
        return undefined;
      });
    }
    if (disk !== undefined) ends.push(disk.remove);
    if (logDir !== undefined) await mkdir(logDir, { recursive: true });
    const started = await startBrokers(brokers, dir, { links: true, disk, logFile: toLogFile("brokers") });
    ends.push(started.stop);
    routes.push(...started.routes);
    nodes.push(...started.nodes);
    for (let index = 0; index < count; index++) {
      // Each instance has ways of its own, its nearest node first.
      const links = await Promise.all(nodes.map(({ port }) => openLink(port)));
      ends.push(() => Promise.all(links.map((link) => link.close())));
      brokerLinks.push(...links);
      const own = links.map((_, i) => links[(i + index) % links.length]?.port);
      const clock = createClock(join(dir, `clock-${index}`));
      clocks.push(clock);
      const instance = await createInstance({
        name: `instance ${index}`,
        nodeOptions: [...clock.nodeOptions, ...nodeOptions],
        logFile: toLogFile(`instance-${index}`),
        settings: {
          NATS_URL: own.map((port) => `nats://127.0.0.1:${port}`).join(","),
          TOKEN_SECRET: secret,
          DATA_DIR: join(dir, `instance-${index}`),
          PORT: "0",
          ADMIN_PORT: "off",
          HEARTBEAT: "1s",
          // A cluster begins to elect a leader 4 to 9 s after it has lost one.
          SEND_TIMEOUT: brokers === 1 ? "2s" : "9s",
          WORKERS: String(workers),
          PARTITIONS: String(partitions),
          REPLICAS: String(brokers),
          LOG_LEVEL: "info",
          ...settings,
        },
      });
      ends.push(instance.remove);
      if (other !== undefined) instance.use(other.program);
      instances.push(instance);
    }
    // One after the other: the first declares the streams.
    for (const instance of instances) await instance.start();
  } catch (error) {
    await stop();
    throw error;
  }

  const mint = createTokenMinter({ secret, ttlMs: tokenTtlMs });
  const tokens = new Map<string, Promise<string>>();
  const mintFor = async (userId: string, platformId: number) => (await mint({ userId, platformId })).token;
  const parts = { instances, brokers: nodes, brokerLinks, routes, clocks, disk, hasWorkers: workers > 1 };
  return {
    instances,
    parts,
    native: nativeDoor({ servers: nodes.map(({ port }) => `127.0.0.1:${port}`), partitions }),
    faults: [
      ...(other === undefined ? [] : [versionFault(instances, [other, { version, program: ownProgram }])]),
      ...faultsOf(parts),
    ],
    lacking,
    adminToken: await mintFor("imAdmin", adminPlatform),
    userToken(userId) {
      const token = tokens.get(userId) ?? mintFor(userId, devicePlatform);
      tokens.set(userId, token);
      return token;
    },
    ownFaults: () => instances.flatMap((instance) => instance.ownFaults()),
    stop,
  };
}
