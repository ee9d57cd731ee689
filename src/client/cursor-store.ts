/**
 * Keeps how far a device has handled its notifications. A device whose store survives a restart sees each must-reach
 * notification exactly once, unless the process dies between the end of a listener and the save.
 */
export interface CursorStore {
  /** The saved sequence, or undefined for a device that has none. */
  load(deviceKey: string): Promise<bigint | undefined>;

  /**
   * Saves a sequence, durably before it resolves. Called after the listeners have resolved and before the service is
   * told. A smaller sequence than the saved one must change nothing: it comes from a session that was superseded.
   */
  save(deviceKey: string, sequence: bigint): Promise<void>;
}

/** A store for the life of the process: after a restart the service's own cursor decides. */
export function memoryCursorStore(): CursorStore {
  const cursors = new Map<string, bigint>();
  return {
    async load(deviceKey) {
      return cursors.get(deviceKey);
    },
    async save(deviceKey, sequence) {
      if (sequence > (cursors.get(deviceKey) ?? -1n)) cursors.set(deviceKey, sequence);
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
  function read(deviceKey: string): bigint | undefined {
    const item = storage.getItem(prefix + deviceKey);
    // Anything else was written by another program.
    return item !== null && /^\d{1,20}$/.test(item) ? BigInt(item) : undefined;
  }
  return {
    async load(deviceKey) {
      return read(deviceKey);
    },
    async save(deviceKey, sequence) {
      if (sequence > (read(deviceKey) ?? -1n)) storage.setItem(prefix + deviceKey, String(sequence));
    },
  };
}
