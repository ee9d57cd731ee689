import type { Config } from "../config.ts";
import { storeBounds } from "../store-bounds.ts";
import { type Finding, judgeRoom, makeRoom, ok, tooManyMessages, warning } from "./finding.ts";
import { ask } from "./service.ts";

/**
 * How near its limits an embedded broker is, as its service tells at the operator's port: it lets nobody else in. Whether
 * streams are as declared is told with the readiness; consumers and the account are not looked at, which is said.
 */
export async function inspectEmbedded(config: Config, adminUrl: string | undefined): Promise<Finding[]> {
  if (adminUrl === undefined)
    return [unseen("it lets in nobody but its service, and there is no operator's port to ask")];
  const answer = await ask(`${adminUrl}/metrics`);
  if (answer?.ok !== true) return [unseen(`${adminUrl}/metrics does not answer`)];
  const room = readRoom(await answer.text().catch(() => ""));
  if (room.length === 0) return [unseen(`${adminUrl}/metrics has nothing of it now`)];
  const found = `embedded, ${room.length} streams as its service tells; its consumers were not looked at: it lets in nobody else`;
  return [ok("broker", found), ...room.flatMap((stream) => judge(stream, config))];
}

function unseen(why: string): Finding {
  const todo =
    "Give the operator's port with --admin-url; for a service with another broker, MUSTREACH_NATS_URL as it has it.";
  return warning("broker", `space and streams were not looked at: ${why}`, todo);
}

/** What a stream holds, and may hold: undefined where it has no such limit. */
interface Room {
  readonly name: string;
  readonly bytes: number;
  readonly maxBytes: number | undefined;
  readonly messages: number;
  readonly maxMessages: number | undefined;
}

function readRoom(metrics: string): Room[] {
  const read = (what: string): ReadonlyMap<string, number> => {
    const samples = metrics.matchAll(
      new RegExp(`^mustreach_broker_stream_${what}\\{stream="([^"]+)"\\} (\\S+)$`, "gm"),
    );
    return new Map(Array.from(samples, ([, stream = "", value]) => [stream, Number(value)] as const));
  };
  const [bytes, maxBytes] = [read("bytes"), read("max_bytes")];
  const [messages, maxMessages] = [read("messages"), read("max_messages")];
  return Array.from(bytes, ([name, used]) => ({
    name,
    bytes: used,
    maxBytes: maxBytes.get(name),
    messages: messages.get(name) ?? 0,
    maxMessages: maxMessages.get(name),
  }));
}

function judge({ name, bytes, maxBytes, messages, maxMessages }: Room, config: Config): Finding[] {
  const bound = storeBounds(config).find(({ stream }) => stream === name);
  return [
    ...(maxBytes ? [judgeRoom(`space of ${name}`, bytes, maxBytes, makeRoom(bound?.setting))] : []),
    ...(maxMessages ? [judgeRoom(`messages of ${name}`, messages, maxMessages, tooManyMessages, "messages")] : []),
  ].filter(({ level }) => level !== "ok");
}
