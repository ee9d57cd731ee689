import { type DescMessage, fromBinary, type Message, type MessageShape } from "@bufbuild/protobuf";
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
  [Symbol.asyncIterator](): AsyncGenerator<M, void, undefined>;
}

/** Bytes of a frame before its message. */
const prefixBytes = 5;

/**
 * The answers of a stream as messages, for a door that asks for them: one at a time, each when the one before has been
 * taken.
 */
export async function* pull<D extends DescMessage>(
  schema: D,
  pipe: (sink: FrameSink) => Pick<FrameSource, "resume" | "cancel">,
): AsyncGenerator<MessageShape<D>, void, undefined> {
  const frames: Uint8Array[] = [];
  let ended: { readonly error: ConnectError | undefined } | undefined;
  let wake = () => {};
  const source = pipe({
    write(frame) {
      frames.push(frame);
      wake();
      return false;
    },
    end(error) {
      ended = { error };
      wake();
    },
  });
  try {
    for (;;) {
      const frame = frames.shift();
      if (frame !== undefined) {
        yield fromBinary(schema, frame.subarray(prefixBytes));
        if (frames.length === 0) source.resume();
      } else if (ended !== undefined) {
        if (ended.error !== undefined) throw ended.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    source.cancel();
  }
}
