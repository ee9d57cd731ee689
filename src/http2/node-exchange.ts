import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { Accept, Connection, Exchange, Fields, RequestHeaders } from "./exchange.ts";
import { NodeReceiver } from "./node-receiver.ts";
import { type Log, maxWaitingBytes } from "./protocol.ts";

const { NGHTTP2_NO_ERROR, NGHTTP2_INTERNAL_ERROR } = constants;

/** A stream of `node:http2` as an {@link Exchange}. What Node throws at a stream that has just gone ends here. */
export class NodeExchange extends NodeReceiver implements Exchange {
  readonly #stream: ServerHttp2Stream;
  #hasResponded = false;
  #isRequestWhole: boolean;
  #trailers: Fields | undefined;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: Connection, log: Log) {
    super(toRequestHeaders(headers), connection, log);
    this.#stream = stream;
    this.#isRequestWhole = stream.endAfterHeaders;
  }

  /** Hands the request to who answers it. */
  serve(accept: Accept): void {
    const stream = this.#stream;
    try {
      if (this.headers.expect === "100-continue") stream.additionalHeaders({ ":status": 100 });
      this.receiver = accept(this);
    } catch (err) {
      this.fail(err);
      return;
    }
    stream.on("close", () => this.close(this.#isAnswerWhole()));
    if (this.#isRequestWhole) {
      this.endRequest();
      return;
    }
    stream.on("data", (bytes: Buffer) => this.take(bytes));
    stream.on("end", () => {
      // A stream that its peer resets without an error ends like one that is whole.
      if (!stream.aborted) this.endRequest();
    });
    // Node waits with "close" until what has come is read.
    stream.on("aborted", () => stream.resume());
  }

  respond(headers: Fields): void {
    this.#respond(headers, { waitForTrailers: true });
  }

  write(bytes: Uint8Array): boolean {
    const stream = this.#stream;
    if (this.isEnded || stream.writableEnded || stream.destroyed) return true;
    stream.write(bytes);
    if (stream.writableLength <= maxWaitingBytes) return true;
    if (!this.isDrainAwaited) stream.once("drain", () => this.drain());
    this.isDrainAwaited = true;
    return false;
  }

  end(trailers?: Fields): void {
    if (this.isEnded) return;
    if (!this.#hasResponded) this.#respond(trailers ?? [], { endStream: true });
    else this.#end(trailers);
  }

  answer(headers: Fields, body: Uint8Array, trailers?: Fields): void {
    const endStream = body.length === 0 && trailers === undefined;
    // Asking for trailers costs a turn of the event loop.
    this.#respond(headers, { endStream, waitForTrailers: trailers !== undefined || !this.#isRequestWhole });
    this.#end(trailers, body);
  }

  reset(code: number): void {
    const stream = this.#stream;
    this.isEnded = true;
    if (!stream.destroyed && !stream.closed) stream.close(code);
  }

  pause(): void {
    if (!this.isEnded) this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  #respond(headers: Fields, options: { readonly endStream?: boolean; readonly waitForTrailers?: boolean }): void {
    const stream = this.#stream;
    if (this.isEnded || this.#hasResponded || stream.destroyed || stream.closed) return;
    this.#hasResponded = true;
    const endStream = options.endStream === true || this.headers[":method"] === "HEAD";
    const waitForTrailers = options.waitForTrailers === true && !endStream;
    if (waitForTrailers) stream.once("wantTrailers", () => this.#sendTrailers());
    try {
      // A copy: Node adds the date to it.
      stream.respond([...headers], { endStream, waitForTrailers });
    } catch (err) {
      this.log.error({ err }, "the header fields of an answer are none");
      this.reset(NGHTTP2_INTERNAL_ERROR);
      return;
    }
    if (!endStream) return;
    this.isEnded = true;
    this.#leaveRequest();
  }

  #end(trailers: Fields | undefined, body?: Uint8Array): void {
    const stream = this.#stream;
    if (this.isEnded) return;
    this.isEnded = true;
    this.#trailers = trailers;
    if (!stream.writableEnded && !stream.destroyed) stream.end(body);
    // Nobody reads it any more, and Node closes a stream that has been read to its end.
    if (!this.#isRequestWhole) stream.resume();
  }

  /** The last of an answer: Node asks for it when all else is written. */
  #sendTrailers(): void {
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    try {
      stream.sendTrailers(toObject(this.#trailers ?? []));
    } catch (err) {
      this.log.error({ err }, "the trailers of an answer are none");
      stream.close(NGHTTP2_INTERNAL_ERROR);
      return;
    }
    this.#leaveRequest();
  }

  /**
   * A stream lasts until both sides have ended it. What a peer still sends after its answer is nobody's, and costs less
   * to a stream that is closed.
   */
  #leaveRequest(): void {
    const stream = this.#stream;
    if (this.#isRequestWhole) return;
    stream.resume();
    setImmediate(() => {
      if (!this.#isRequestWhole && !stream.destroyed) stream.close(NGHTTP2_NO_ERROR);
    });
  }

  protected override take(bytes: Buffer): void {
    if (!this.#stream.aborted) super.take(bytes);
  }

  protected override endRequest(): void {
    this.#isRequestWhole = true;
    super.endRequest();
  }

  protected abandon(): void {
    if (this.#hasResponded) this.reset(NGHTTP2_INTERNAL_ERROR);
    else this.end([":status", "500"]);
  }

  #isAnswerWhole(): boolean {
    const stream = this.#stream;
    return this.isEnded && stream.writableFinished && stream.rstCode === NGHTTP2_NO_ERROR;
  }
}

function toRequestHeaders(headers: IncomingHttpHeaders): RequestHeaders {
  headers[":authority"] ??= headers.host;
  // The only one of which Node makes a list; of a field that there can be once, such as `authorization`, the first counts.
  const { "set-cookie": cookies } = headers;
  return cookies === undefined
    ? (headers as RequestHeaders)
    : { ...(headers as RequestHeaders), "set-cookie": cookies.join(", ") };
}

function toObject(fields: Fields): Record<string, string | string[]> {
  const object: Record<string, string | string[]> = {};
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const [name = "", value = ""] = [fields[i], fields[i + 1]];
    const earlier = object[name];
    object[name] = earlier === undefined ? value : [earlier, value].flat();
  }
  return object;
}
