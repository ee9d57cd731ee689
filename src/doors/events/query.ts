import { create } from "@bufbuild/protobuf";
import { wrongField } from "../../errors.ts";
import { Start, type SubscribeRequest, SubscribeRequestSchema } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Target } from "../../http/target.ts";

/** What a query gives, by name in lower case: `deviceID` is `deviceid`. */
export type Query = ReadonlyMap<string, string>;

export function readQuery({ url }: Pick<Target, "url">): Query {
  return new Map([...new URL(url).searchParams].map(([name, value]) => [name.toLowerCase(), value]));
}

const starts: Readonly<Record<string, Start>> = {
  "": Start.UNSPECIFIED,
  resume: Start.RESUME,
  new: Start.NEW,
  all: Start.ALL,
};

/**
 * Reads what a device asks for in a query: the fields of SubscribeRequest.
 *
 * @param lastEventId the {@link toEventId} up to which it has handled everything, as EventSource says it when it connects
 * again; wins over that of the query.
 * @throws ArgsError (1001) for one that is wrong.
 */
export function toSubscribeRequest(query: Query, lastEventId: string | undefined): SubscribeRequest {
  const request = create(SubscribeRequestSchema, { deviceId: query.get("deviceid") ?? "" });
  const start = starts[(query.get("start") ?? "").toLowerCase()];
  if (start === undefined) throw wrongField("start", "start must be resume, new or all");
  request.start = start;
  request.window = Number(readDigits("window", query.get("window"), 9) ?? 0);
  const eventId = lastEventId || query.get("lasteventid");
  if (eventId) {
    const { epoch, sequence } = readEventId(eventId);
    request.afterSequence = sequence;
    request.epoch = epoch;
  } else {
    const after = readDigits("afterSequence", query.get("aftersequence"), 20);
    if (after !== undefined) request.afterSequence = BigInt(after);
    request.epoch = query.get("epoch") ?? "";
  }
  return request;
}

/** The place of an event in one text. */
export function toEventId(epoch: string, sequence: bigint): string {
  return `${epoch}.${sequence}`;
}

function readEventId(id: string): { epoch: string; sequence: bigint } {
  const dot = id.lastIndexOf(".");
  const sequence = readDigits("Last-Event-ID", id.slice(dot + 1), 20);
  if (dot === -1 || sequence === undefined)
    throw wrongField("Last-Event-ID", "Last-Event-ID must be the id of an event");
  return { epoch: id.slice(0, dot), sequence: BigInt(sequence) };
}

function readDigits(name: string, text: string | undefined, maxDigits: number): string | undefined {
  if (text === undefined || text === "") return undefined;
  if (text.length > maxDigits || !/^\d+$/.test(text)) throw wrongField(name, `${name} must be a whole number`);
  return text;
}
