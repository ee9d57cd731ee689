import type { Cursor } from "./wire/cursor.ts";

/**
 * Keeps how far a device has handled its notifications. A device whose store survives a restart sees each must-reach
 * notification exactly once, unless the process dies between the end of a listener and the save.
 */
export interface CursorStore {
  /** What was saved, or undefined for a device that has nothing. A sequence alone is one without an epoch. */
  load(deviceKey: string): Promise<Cursor | bigint | undefined>;

  /**
   * Saves a cursor, durably before it resolves. Called after the listeners have resolved and before the service is
   * told. A smaller sequence than the saved one must change nothing when the epoch is the same: it comes from a session
   * that was superseded. One of another epoch replaces what is saved.
   */
  save(deviceKey: string, sequence: bigint, epoch?: string): Promise<void>;
}

/** A store for the life of the process: after a restart the service's own cursor decides. */
export function memoryCursorStore(): CursorStore {
  const cursors = new Map<string, Cursor>();
  return {
    async load(deviceKey) {
      return toSaved(cursors.get(deviceKey));
    },
    async save(deviceKey, sequence, epoch = "") {
      const cursor = { sequence, epoch };
      if (replaces(cursor, cursors.get(deviceKey))) cursors.set(deviceKey, cursor);
    },
  };
}

/**
 * A store in the browser.
 *
 * @param storage localStorage. With sessionStorage each tab is a device of its own, and so needs a deviceId of its own.
 * @param prefix what the names of its items begin with. Default `mustreach.cursor.`.
 */
export function webStorageCursorStore(
  storage: Pick<Storage, "getItem" | "setItem">,
  prefix = "mustreach.cursor.",
): CursorStore {
  function read(deviceKey: string): Cursor | undefined {
    // Anything else was written by another program.
    const [, sequence, epoch = ""] =
      /^(\d{1,20})(?: ([\w-]{1,32}))?$/.exec(storage.getItem(prefix + deviceKey) ?? "") ?? [];
    return sequence === undefined ? undefined : { sequence: BigInt(sequence), epoch };
  }
  return {
    async load(deviceKey) {
      return toSaved(read(deviceKey));
    },
    async save(deviceKey, sequence, epoch = "") {
      const cursor = { sequence, epoch };
      if (!replaces(cursor, read(deviceKey))) return;
      storage.setItem(prefix + deviceKey, epoch === "" ? String(sequence) : `${sequence} ${epoch}`);
    },
  };
}

/** What a store gave, as a cursor. */
export function toCursor(saved: Cursor | bigint | undefined): Cursor | undefined {
  return typeof saved === "bigint" ? { sequence: saved, epoch: "" } : saved;
}

/** The reverse of {@link toCursor}. */
export function toSaved(cursor: Cursor | undefined): Cursor | bigint | undefined {
  return cursor?.epoch === "" ? cursor.sequence : cursor;
}

/** Whether a cursor takes the place of the one that is saved. */
export function replaces(cursor: Cursor, saved: Cursor | undefined): boolean {
  return saved === undefined || saved.epoch !== cursor.epoch || cursor.sequence > saved.sequence;
}
