import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTokenMinter } from "../../auth/mint-token.ts";
import { adminPlatform } from "../../auth/platform.ts";
import type { Deployment, Fault } from "../deployment.ts";
import { mountDisk } from "../disk/disk.ts";
import { clockFaults } from "./bad-clocks.ts";
import { diskFaults } from "./bad-disks.ts";
import { type Broker, startBrokers } from "./brokers.ts";
import { type Clock, createClock } from "./clock.ts";
import { type Breakable, faultsOf } from "./faults.ts";
import { createInstance, type OwnInstance } from "./instance.ts";
import { type Link, openLink } from "./link.ts";

/** Options of {@link startOwn}. */
export interface OwnOptions {
  /** Instances of the service. */
  readonly instances: number;
  /** Processes of each; 1 is an instance without workers. */
  readonly workers: number;
  /** 1, which syncs each write to disk, or a cluster of 3. */
  readonly brokers: 1 | 3;
  /** Settings of the instances, without their prefix, that go before ours. */
  readonly settings?: Readonly<Record<string, string>>;
  /** What the Node of the instances is started with. Default: nothing. */
  readonly nodeOptions?: readonly string[];
  /** Is told, for people, what cannot happen here, and why. */
  readonly say?: (line: string) => void;
}

const tokenTtlMs = 86_400_000;

/** The platform of devices: OpenIM's Web. */
const devicePlatform = 5;

/** A deployment of our own, and what it is made of. */
export interface OwnDeployment extends Deployment {
  readonly parts: Breakable;
}

/** Starts a deployment of our own, on loopback and in a temporary directory: all of it ends and goes with it. */
export async function startOwn({
  instances: count,
  workers,
  brokers,
  settings,
  nodeOptions = [],
  say = () => {},
}: OwnOptions): Promise<OwnDeployment> {
  const dir = await mkdtemp(join(tmpdir(), "mustreach-verify-"));
  const secret = randomBytes(32).toString("base64url");
  const instances: OwnInstance[] = [];
  const nodes: Broker[] = [];
  const brokerLinks: Link[] = [];
  const clocks: Clock[] = [];
  const ofDisks: Fault[] = [];
  const ends: (() => Promise<unknown>)[] = [() => rm(dir, { recursive: true, force: true })];
  const stop = async () => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    const disk =
      brokers === 1
        ? await mountDisk(dir).catch((error: Error) => say(`no disk fails, and no power: ${error.message}`))
        : undefined;
    if (disk) ends.push(disk.remove);
    const started = await startBrokers(brokers, dir, disk || undefined);
    ends.push(started.stop);
    nodes.push(...started.nodes);
    const [node] = nodes;
    if (disk && node !== undefined) ofDisks.push(...diskFaults(node, disk));
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
        settings: {
          NATS_URL: own.map((port) => `nats://127.0.0.1:${port}`).join(","),
          TOKEN_SECRET: secret,
          DATA_DIR: join(dir, `instance-${index}`),
          PORT: "0",
          ADMIN_PORT: "off",
          HEARTBEAT: "1s",
          SEND_TIMEOUT: "2s",
          WORKERS: String(workers),
          PARTITIONS: "2",
          REPLICAS: String(brokers),
          LOG_LEVEL: "info",
          ...settings,
        },
      });
      ends.push(instance.remove);
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
  const parts = { instances, brokers: nodes, brokerLinks, hasWorkers: workers > 1 };
  return {
    instances,
    parts,
    faults: [...faultsOf(parts), ...clockFaults(clocks), ...ofDisks],
    adminToken: await mintFor("imAdmin", adminPlatform),
    userToken(userId) {
      const token = tokens.get(userId) ?? mintFor(userId, devicePlatform);
      tokens.set(userId, token);
      return token;
    },
    errors: () => instances.flatMap((instance) => instance.errors()),
    stop,
  };
}
