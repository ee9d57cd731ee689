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
