import { Start } from "../../src/gen/mustreach/delivery/v1/delivery_pb.ts";
import { receiveDoors } from "../../src/verify/doors/receive-doors.ts";

/** Options of {@link openAndClose}. */
export interface Receivers {
  readonly url: string;
  /** How many there are in all, of them how many at a time. */
  readonly count: number;
  readonly atOnce: number;
  /** Whose they are: each user has five devices. */
  readonly tokenOf: (userId: string) => Promise<string>;
  readonly onProgress?: (closed: number) => void;
}

/** Devices of a user. */
const devicesPerUser = 5;

/** How long a receiver may take until it is ready, in milliseconds: then it is stuck, and not slow. */
const maxReadyMs = 120_000;

/**
 * Has receivers open their stream by one door after the other, and close it when they have heard that it is ready. Each has
 * a connection of its own, but for those that subscribe by gRPC, which share one.
 *
 * @throws which door did not let one in.
 */
export async function openAndClose({ url, count, atOnce, tokenOf, onProgress }: Receivers): Promise<void> {
  let opened = 0;
  let closed = 0;
  const openInTurn = async () => {
    while (opened < count) {
      const index = opened++;
      const door = receiveDoors[index % receiveDoors.length];
      if (door === undefined) throw new Error("there is no door");
      const token = await tokenOf(`user-${Math.floor(index / devicesPerUser)}`);
      const closing = new AbortController();
      const request = { deviceId: `device-${index}`, window: 0, start: Start.UNSPECIFIED };
      const session = door.open(url, request, { token, signal: closing.signal });
      const stuck = setTimeout(() => closing.abort(new Error(`not ready within ${maxReadyMs} ms`)), maxReadyMs);
      try {
        if ((await session.next()) === undefined) throw new Error("it ended at once");
      } catch (cause) {
        opened = count;
        throw new Error(`${door.name} did not let in receiver ${index}: ${cause}`, { cause });
      } finally {
        clearTimeout(stuck);
        closing.abort();
      }
      // It ends with what it was closed by.
      await session.next().catch(() => {});
      onProgress?.(++closed);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, openInTurn));
}
