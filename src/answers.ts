import type { Message } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";

/** Where the answers of a stream go when its door can take them encoded. */
export interface FrameSink {
  /**
   * Takes an answer: a message with gRPC's prefix of a zero byte and its length in four, as it is on the wire of gRPC and
   * of Connect's streams. The bytes may be shared with others and are not changed. False when more waits than should;
   * {@link FrameSource.resume} follows.
   */
  write(frame: Uint8Array): boolean;
  /** Ends the stream, with an error or as planned. */
  end(error?: ConnectError): void;
}

/** Where the answers of a stream come from. */
export interface FrameSource {
  /** The sink can take more. */
  resume(): void;
  /** Nobody reads any more: the caller has gone, or its time is up. The sink takes nothing from here on. */
  cancel(): void;
  /** A message of the caller, in a stream of both directions. What it throws ends the stream. */
  take(message: Message): void;
  /** The caller has no more messages. */
  finish(): void;
}

/**
 * The answers of a stream, for whichever door asks: as messages, one after the other, or, without a promise, a generator
 * or an encoding for each, as frames. Only one of the two is asked for.
 */
export interface Answers<M extends Message> extends AsyncIterable<M> {
  /** Begins the stream. What it throws, and what it hands to {@link FrameSink.end}, is its error. */
  pipe(sink: FrameSink): FrameSource;
}
