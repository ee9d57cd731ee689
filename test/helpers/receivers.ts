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

/** Has receivers open their stream by one door after the other, and close it when they have heard that it is ready. */
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
      const first = await session.next();
      if (first === undefined) throw new Error(`${door.name} ended at once`);
      closing.abort();
      // It ends with what it was closed by.
      await session.next().catch(() => {});
      onProgress?.(++closed);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, openInTurn));
}
