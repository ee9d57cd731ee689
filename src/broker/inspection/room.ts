import type { Broker } from "../connect.ts";

/** What a stream holds and may hold, and how many of its copies are away or behind. */
export interface StreamRoom {
  readonly name: string;
  readonly bytes: number;
  readonly messages: number;
  /** -1: no limit of its own. */
  readonly maxBytes: number;
  readonly consumers: number;
  /** -1: none of its own, which is the server's default. */
  readonly maxConsumers: number;
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
    const { state, config } = info;
    streams.push({
      name,
      bytes: state.bytes,
      messages: state.messages,
      maxBytes: config.max_bytes,
      consumers: state.consumer_count,
      maxConsumers: config.max_consumers,
      missing: (info.cluster?.replicas ?? []).filter(({ current, offline }) => offline || !current).length,
    });
    const timeMs = Date.parse(info.ts ?? "");
    if (!Number.isNaN(timeMs)) timesMs.push(timeMs);
  }
  return { streams, timesMs };
}

/** What an account uses of something, and may use; -1: no limit of its own. */
export interface Use {
  readonly used: number;
  readonly most: number;
}

/** What the account holds and may hold: bytes in files and in memory, and how many streams and consumers. */
export async function readAccount({ jsm }: Pick<Broker, "jsm">): Promise<{
  readonly files: Use;
  readonly memory: Use;
  readonly streams: Use;
  readonly consumers: Use;
}> {
  const { storage, memory, streams, consumers, limits } = await jsm.getAccountInfo();
  return {
    files: { used: storage, most: limits.max_storage },
    memory: { used: memory, most: limits.max_memory },
    streams: { used: streams, most: limits.max_streams },
    consumers: { used: consumers, most: limits.max_consumers },
  };
}
