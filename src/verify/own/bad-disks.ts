import { setTimeout as delay } from "node:timers/promises";
import type { Fault } from "../deployment.ts";
import type { Random } from "../random.ts";
import type { Breakable } from "./parts.ts";

/** How long a disk does badly, in milliseconds. */
const [minBadMs, maxBadMs] = [1_000, 6_000];

/** What is left on a disk that is to be full, in bytes, and how long each sync of a slow one takes at most, in milliseconds. */
const maxLeftBytes = 200_000;
const maxSyncMs = 400;

/** How long a broker is away after it was killed, in milliseconds. */
const maxAwayMs = 2_000;

const never = Number.MAX_SAFE_INTEGER;

/** What the disk of a broker does, where it has one of ours. */
export function diskFaults({ brokers: [broker], disk }: Pick<Breakable, "brokers" | "disk">): Fault[] {
  if (broker === undefined || disk === undefined) return [];
  const badly = (random: Random) => delay(random.between(minBadMs, maxBadMs));
  const restart = async (random: Random, whileDown: () => Promise<unknown>) => {
    await broker.kill();
    await whileDown();
    await delay(random.between(0, maxAwayMs));
    await broker.start();
  };
  return [
    {
      name: "the disk of a broker is full",
      hits: ["brokers"],
      async happen(random) {
        await disk.limit(random.between(0, maxLeftBytes));
        await badly(random);
        // nats-server writes again only when it is started again.
        await restart(random, () => disk.limit());
      },
    },
    {
      name: "the disk of a broker is full when it starts",
      hits: ["brokers"],
      async happen(random) {
        await broker.kill();
        await disk.limit(random.between(0, maxLeftBytes));
        // It may refuse to: then it is down for as long.
        await broker.start().catch(() => {});
        await badly(random);
        await restart(random, () => disk.limit());
      },
    },
    {
      name: "the disk of a broker is slow",
      hits: ["brokers"],
      async happen(random) {
        const max = random.between(20, maxSyncMs);
        await disk.slow({ min: Math.floor(max / 4), max, seed: random.between(0, never) });
        await badly(random);
        await disk.slow({ min: 0, max: 0, seed: 0 });
      },
    },
    {
      name: "the disk of a broker hangs",
      hits: ["brokers"],
      happen: (random) => disk.hang(random.between(minBadMs, maxBadMs)),
    },
    {
      name: "the power of a broker fails",
      hits: ["brokers"],
      happen: (random) => restart(random, () => disk.cut(random.between(0, never))),
    },
    {
      // What was answered must have been synced before, however long that takes.
      name: "the power of a broker with a slow disk fails",
      hits: ["brokers"],
      async happen(random) {
        await disk.slow({ min: maxSyncMs / 4, max: maxSyncMs, seed: random.between(0, never) });
        await delay(random.between(0, minBadMs));
        await restart(random, async () => {
          await disk.slow({ min: 0, max: 0, seed: 0 });
          await disk.cut(random.between(0, never));
        });
      },
    },
  ];
}
