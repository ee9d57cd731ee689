import type { Broker } from "../broker/connect.ts";
import type { DirectGet, DirectMessage } from "../broker/direct-get.ts";
import { remove } from "../broker/write.ts";
import { cursorFilter, cursorStream } from "./layout.ts";

/** The stored cursors of users, as messages. */
export interface DeviceCursors {
  /**
   * Those of some users, by their tokens.
   *
   * @throws NetworkError (90004) when the broker does not answer in time.
   */
  of(users: readonly string[]): Promise<readonly DirectMessage[]>;
  /**
   * Removes a user's oldest cursors when there are more than the limit: those of devices that have acknowledged nothing
   * for the longest time.
   *
   * @throws NetworkError (90004) when the broker does not answer in time; what is not removed is when the next comes.
   */
  trim(user: string): Promise<void>;
}

/** A read asks for this many users at a time: multi_last looks at most 1,024 cursors up. */
const usersPerRead = 500;

/** Cursors that a trim removes at most, so that it takes no long time; there are more only if the limit was lowered. */
const maxRemoved = 100;

/** Creates the reads of the CURSORS bucket, and the limit of devices for each user. */
export function createDeviceCursors(broker: Broker, get: DirectGet, maxDevices: number): DeviceCursors {
  const readSome = async (users: readonly string[]): Promise<readonly DirectMessage[]> => {
    const indexed = await get.index(cursorStream, users.map(cursorFilter));
    if (indexed?.pending === 0) return indexed.messages;
    return (await Promise.all(users.map((user) => get.under(cursorStream, cursorFilter(user))))).flat();
  };

  const of = async (users: readonly string[]): Promise<readonly DirectMessage[]> => {
    const messages: DirectMessage[] = [];
    for (let start = 0; start < users.length; start += usersPerRead) {
      messages.push(...(await readSome(users.slice(start, start + usersPerRead))));
    }
    return messages;
  };

  return {
    of,
    async trim(user) {
      const cursors = await of([user]);
      const surplus = Math.min(cursors.length - maxDevices, maxRemoved);
      if (surplus <= 0) return;
      // A cursor is stored anew whenever it moves, so the lowest sequences are of the longest idle.
      const oldest = [...cursors].sort((a, b) => a.sequence - b.sequence).slice(0, surplus);
      // By their sequences: a device that has acknowledged something since keeps its new one.
      await Promise.all(oldest.map(({ sequence }) => remove(broker, cursorStream, sequence, false)));
    },
  };
}
