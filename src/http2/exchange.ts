/**
 * A request and its answer (RFC 9110, 3.3), whichever protocol and whichever implementation of it carries them: all that
 * who answers needs to know of HTTP.
 *
 * No method throws, and none has an effect once the exchange is over: a peer that has just gone is no special case.
 */
export interface Exchange {
  /**
   * The header fields of the request, by lower-case name. Those of one name are joined by ", "; of one that HTTP allows
   * once, such as `authorization`, the first counts (over HTTP/2, by the list of Node's). With `:method`, `:path`
   * (as it came), `:authority` (or Host) and `:scheme`. Requests with the same fields may share them: not to be changed.
   */
  readonly headers: RequestHeaders;
  /** The connection: the same object for all of its exchanges. */
  readonly connection: Connection;
  /** Sends the header fields of the answer, `:status` first; once. `date` is added. An answer to HEAD has no body then. */
  respond(headers: Fields): void;
  /**
   * Sends a piece of the body. The bytes are sent as they are, perhaps later, and perhaps to others too: they must not
   * be changed any more. False when more waits to be sent than should; {@link Receiver.onDrain} follows.
   */
  write(bytes: Uint8Array): boolean;
  /** Ends the answer, with trailers if any. Without a {@link respond} before it, they are its headers, and all of it. */
  end(trailers?: Fields): void;
  /** A whole answer: {@link respond}, {@link write} and {@link end} in one. */
  answer(headers: Fields, body: Uint8Array, trailers?: Fields): void;
  /** Ends both directions at once, with an error code of HTTP/2 (RFC 9113, 7), over HTTP/1.1 with the connection. */
  reset(code: number): void;
  /** Takes no more of the request's body than what has come, until {@link resume}: the peer has to wait. */
  pause(): void;
  resume(): void;
}

/** Header fields as they go over the wire: lower-case names and their values, in turns. */
export type Fields = readonly string[];

/** The header fields of a request, by name. */
export type RequestHeaders = Readonly<Record<string, string | undefined>>;

/** The connection of exchanges. */
export interface Connection {
  /** The peer's address; empty when it has gone. */
  readonly remoteAddress: string;
  /** Whether it speaks HTTP/2. */
  readonly isHttp2: boolean;
  /** What is known of the peer besides; undefined of most. */
  readonly peer?: Peer | undefined;
}

/** What is known of a peer besides its address. */
export interface Peer {
  /** The certificate that it has shown; verified. */
  readonly certificate: Certificate | undefined;
  /** Finds the client in its `x-forwarded-for`, if it is a proxy whose word counts. */
  readonly clientOf: ((forwardedFor: string) => string) | undefined;
}

/** What a certificate says (RFC 5280). */
export interface Certificate {
  /** Whose it is: `DNS:…` and `URI:…` of its alternative names, and `CN:…` of its subject. */
  readonly names: readonly string[];
  /** In milliseconds since the Unix epoch. */
  readonly validFromMs: number;
  readonly expiresAtMs: number;
}

/** Who answers a request is told of. Once the answer has ended, of nothing but the close. */
export interface Receiver {
  /** A piece of the request's body. Only valid during the call: what is kept is to be copied. */
  onData(bytes: Uint8Array): void;
  /** The request is complete. */
  onEnd(): void;
  /** What waited to be sent is less again. */
  onDrain(): void;
  /**
   * The exchange is over: its last call, once.
   *
   * @param isWhole whether the answer was sent to its end, and the peer has not reset the exchange.
   */
  onClose(isWhole: boolean): void;
}

/**
 * Takes a request whose header fields are complete. Its body comes when this has returned. What it throws, or what its
 * receiver does, is logged, and answered with a bare 500 or, when the answer has begun, a reset.
 */
export type Accept = (exchange: Exchange) => Receiver;
