import type { Broker } from "../connect.ts";

/** The names of all streams of the account. */
export async function listStreams({ jsm }: Pick<Broker, "jsm">): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const name of jsm.streams.names()) names.push(name);
  return names;
}

/** Whether somebody waits for messages of a stream's consumers, as running instances do. */
export async function isConsumed({ jsm }: Pick<Broker, "jsm">, stream: string): Promise<boolean> {
  for await (const { num_waiting: waiting, push_bound: isPushed } of jsm.consumers.list(stream)) {
    if (waiting > 0 || isPushed) return true;
  }
  return false;
}

/** Removes a stream with all that is in it. */
export async function removeStream({ jsm }: Pick<Broker, "jsm">, stream: string): Promise<void> {
  await jsm.streams.delete(stream);
}

/** What a stream holds and may hold, and how many of its copies are away or behind. */
export interface StreamRoom {
  readonly name: string;
  readonly bytes: number;
  /** -1: no limit of its own. */
  readonly maxBytes: number;
  readonly missing: number;
}

/** Reads streams as far as they are there, with the broker's time, in epoch milliseconds, at each answer. */
export async function readStreams({ jsm }: Pick<Broker, "jsm">, names: readonly string[]) {
  const streams: StreamRoom[] = [];
  const timesMs: number[] = [];
  for (const name of names) {
    const info = await jsm.streams.info(name).catch((error: unknown) => {
      if (error instanceof Error && error.name === "StreamNotFoundError") return undefined;
      throw error;
    });
    if (info === undefined) continue;
    const missing = (info.cluster?.replicas ?? []).filter(({ current, offline }) => offline || !current).length;
    streams.push({ name, bytes: info.state.bytes, maxBytes: info.config.max_bytes, missing });
    const timeMs = Date.parse(info.ts ?? "");
    if (!Number.isNaN(timeMs)) timesMs.push(timeMs);
  }
  return { streams, timesMs };
}

/** What the account holds in files, and may hold; -1: no limit of its own. */
export async function readAccount({ jsm }: Pick<Broker, "jsm">): Promise<{ bytes: number; maxBytes: number }> {
  const { storage, limits } = await jsm.getAccountInfo();
  return { bytes: storage, maxBytes: limits.max_storage };
}
