import { type CursorStore, replaces, toSaved } from "./cursor-store.ts";
import type { Cursor } from "./wire/cursor.ts";

const storeName = "cursors";

/**
 * A store in the browser's IndexedDB, which workers have, too. Tabs save in turn: none undoes what another one has saved.
 *
 * @param name of the database. Default `mustreach`.
 */
export function indexedDbCursorStore(name = "mustreach"): CursorStore {
  let opening: Promise<IDBDatabase> | undefined;

  function open(): Promise<IDBDatabase> {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(storeName);
    return toPromise(request).then((database) => {
      database.onversionchange = () => database.close();
      // Whoever clears the data of the site closes it.
      database.onclose = forget;
      return database;
    });
  }

  function forget() {
    opening = undefined;
  }

  /** One transaction, on a connection that may have been closed since the last one. */
  async function begin(mode: IDBTransactionMode): Promise<IDBTransaction> {
    opening ??= open();
    try {
      return (await opening).transaction(storeName, mode, { durability: "strict" });
    } catch {
      opening = open();
      return (await opening).transaction(storeName, mode, { durability: "strict" });
    }
  }

  return {
    async load(deviceKey) {
      const transaction = await begin("readonly");
      const saved = await toPromise<Cursor | undefined>(transaction.objectStore(storeName).get(deviceKey));
      return toSaved(saved);
    },
    async save(deviceKey, sequence, epoch = "") {
      const transaction = await begin("readwrite");
      const cursors = transaction.objectStore(storeName);
      const request: IDBRequest<Cursor | undefined> = cursors.get(deviceKey);
      request.onsuccess = () => {
        const cursor = { sequence, epoch };
        if (replaces(cursor, request.result)) cursors.put(cursor, deviceKey);
      };
      await new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(transaction.error);
      });
    },
  };
}

function toPromise<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
