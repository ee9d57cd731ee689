import {
  ClosedConnectionError,
  DrainingConnectionError,
  InvalidArgumentError,
  InvalidSubjectError,
  type NatsConnection,
} from "@nats-io/transport-node";

/** A message as it goes to the broker. */
export interface Message {
  readonly subject: string;
  readonly payload: Uint8Array;
  /** Its headers' lines, each with its end; "" for none. */
  readonly headers: string;
}

/** The part of the client library's connection that writes. */
interface Outbound {
  readonly noMorePublishing: boolean;
  /** Sends what is written, with everything else of this turn of the event loop. */
  sendCommand(bytes: Uint8Array): void;
}

/**
 * Sends messages. They are encoded at once: the client library, which is told of
 * one after the other, makes five pieces of each and copies all of them together.
 *
 * @param reply where the last of them is to be answered. Default: nowhere.
 * @throws what the client library's own `publish` does, and then none of them is sent.
 */
export function sendMessages(nc: NatsConnection, messages: readonly Message[], reply?: string): void {
  const { protocol }: { readonly protocol?: Outbound } & NatsConnection = nc;
  if (protocol === undefined) throw new TypeError("the client library writes elsewhere");
  if (nc.isClosed()) throw new ClosedConnectionError();
  if (protocol.noMorePublishing) throw new DrainingConnectionError();
  const maxBytes = nc.info?.max_payload ?? Number.POSITIVE_INFINITY;
  const heads: string[] = [];
  let bytes = 0;
  for (const [index, { subject, payload, headers }] of messages.entries()) {
    if (subject === "" || whitespace.test(subject)) throw new InvalidSubjectError(subject);
    const block = headers === "" ? "" : `NATS/1.0\r\n${headers}\r\n`;
    const blockBytes = Buffer.byteLength(block);
    const size = blockBytes + payload.length;
    if (size > maxBytes) throw InvalidArgumentError.format("payload", "max_payload size exceeded");
    const to = reply !== undefined && index === messages.length - 1 ? `${subject} ${reply}` : subject;
    const line = block === "" ? `PUB ${to} ${size}\r\n` : `HPUB ${to} ${blockBytes} ${size}\r\n`;
    heads.push(line + block);
    bytes += Buffer.byteLength(line) + size + lineEnd.length;
  }
  const all = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const [index, { payload }] of messages.entries()) {
    at += all.write(heads[index] ?? "", at);
    all.set(payload, at);
    at += payload.length;
    at += all.write(lineEnd, at);
  }
  protocol.sendCommand(all);
}

const whitespace = /[ \n\r\t]/;
const lineEnd = "\r\n";
