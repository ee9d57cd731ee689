import type { AckRequest } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import { type Cursor, placeOf } from "../wire/cursor.ts";
import { createDeferred, type Deferred } from "../wire/deferred.ts";
import type { Delivery, Subscription } from "../wire/delivery.ts";
import type { MustreachClientError } from "../wire/error.ts";
import type { Plain, Received } from "../wire/event.ts";
import { createLeader, type LeaderOptions } from "./lead.ts";
import { isStoreChange, type LeaderMessage, type Message, unpackError } from "./tab-message.ts";

export interface ShareOptions extends Omit<LeaderOptions, "post"> {
  /** Names the device: tabs of one name share a stream. */
  readonly name: string;
}

/** A stream as this tab sees it. */
interface Stream {
  readonly token: string;
  readonly request: Subscription;
  /** Up to where it has got everything, once it has begun. */
  received: Cursor | undefined;
  /** Whether the leader of now knows of it. */
  joined: boolean;
  readonly waiting: Received[];
  end: { readonly error?: MustreachClientError } | undefined;
  wake: () => void;
}

interface Call {
  readonly token: string;
  readonly request: Plain<AckRequest>;
  readonly settle: Deferred<{ readonly sequence: bigint }>;
}

/** Whether this is a page or a worker of a browser that has what sharing takes. */
export function canShare(): boolean {
  const hasOrigin = typeof location === "object";
  return hasOrigin && typeof BroadcastChannel === "function" && typeof navigator === "object" && "locks" in navigator;
}

/**
 * The service, through one stream for all tabs of a device: a browser opens six HTTP/1.1 connections to a host, and where
 * there are no WebSockets six streams would leave none for an acknowledgement. The tab that holds a Web Lock leads; when it closes or crashes the
 * browser gives the lock to the next one, and the streams of the others go on there after what they have got.
 */
export function shareDelivery({ name, ...options }: ShareOptions): Delivery {
  const { ended } = options;
  const streams = new Map<string, Stream>();
  const calls = new Map<string, Call>();
  const channel = openChannel((message) => {
    if (message.kind !== "subscribe" && message.kind !== "ack") take(message);
  });

  function openChannel(onMessage: (message: Message) => void): { post: (message: Message) => void } {
    const opened = new BroadcastChannel(name);
    opened.onmessage = ({ data }: MessageEvent<Message>) => onMessage(data);
    ended.addEventListener("abort", () => opened.close());
    return {
      post(message) {
        if (!ended.aborted) opened.postMessage(message);
      },
    };
  }

  /** Leads until the client ends. */
  async function lead(): Promise<void> {
    if (ended.aborted) return;
    // A channel of its own, since one does not hear itself: so the tab that leads follows as the others do.
    const own = openChannel((message) => {
      if (message.kind === "subscribe" || message.kind === "ack") leader.take(message);
    });
    const leader = createLeader({ ...options, post: own.post });
    await new Promise((resolve) => ended.addEventListener("abort", resolve));
  }

  // An origin that has no locks, such as that of a sandboxed frame, has no tabs to share with either.
  void navigator.locks.request(name, { signal: ended }, lead).catch(lead);

  function take(message: LeaderMessage) {
    switch (message.kind) {
      case "leading":
        for (const [id, stream] of streams) {
          stream.joined = false;
          join(id, stream);
        }
        for (const [id, call] of calls) ask(id, call);
        return;
      case "begun":
        return begin(streams.get(message.stream), message.events);
      case "event":
        for (const stream of streams.values()) if (stream.joined) put(stream, message.event);
        return;
      case "ended": {
        const one = message.stream === undefined ? undefined : streams.get(message.stream);
        const all = message.stream === undefined ? [...streams.values()].filter(({ joined }) => joined) : [];
        for (const stream of one === undefined ? all : [one]) end(stream, message);
        return;
      }
      case "acked":
        return calls.get(message.call)?.settle.resolve({ sequence: message.sequence });
      case "refused":
        return calls.get(message.call)?.settle.reject(unpackError(message.error));
    }
  }

  function join(id: string, { token, request, received }: Stream) {
    const place = { received: received?.sequence, epoch: received?.epoch };
    channel.post({ kind: "subscribe", stream: id, token, request, ...place });
  }

  function ask(id: string, { token, request }: Call) {
    channel.post({ kind: "ack", call: id, token, request });
  }

  function begin(stream: Stream | undefined, [ready, ...events]: readonly Received[]) {
    if (stream === undefined || stream.joined || ready?.event.case !== "ready") return;
    stream.joined = true;
    if (stream.received === undefined) {
      const { resumeSequence: sequence, epoch } = ready.event.value;
      stream.received = { sequence, epoch };
      stream.waiting.push(ready);
    }
    for (const event of events) put(stream, event);
    stream.wake();
  }

  function put(stream: Stream, event: Received) {
    const place = placeOf(event);
    if (place.sequence > 0n && !isStoreChange(event)) {
      const isHad = place.sequence <= (stream.received?.sequence ?? 0n);
      // That one is settled is news of what was had.
      if (isHad && event.event.case !== "settled") return;
      if (!isHad) stream.received = { sequence: place.sequence, epoch: place.epoch };
    }
    stream.waiting.push(event);
    stream.wake();
  }

  function end(stream: Stream, { reconnectAfterMs, error }: Extract<LeaderMessage, { kind: "ended" }>) {
    if (reconnectAfterMs !== undefined) {
      stream.waiting.push({ event: { case: "reconnect", value: { afterMs: reconnectAfterMs } } });
    }
    stream.end = error === undefined ? {} : { error: unpackError(error) };
    stream.wake();
  }

  return {
    async *subscribe(request, { token, signal }) {
      const id = crypto.randomUUID();
      const stream: Stream = {
        token,
        request,
        received: undefined,
        joined: false,
        waiting: [],
        end: undefined,
        wake: () => undefined,
      };
      const wake = () => stream.wake();
      signal.addEventListener("abort", wake);
      streams.set(id, stream);
      try {
        join(id, stream);
        while (!signal.aborted) {
          const event = stream.waiting.shift();
          if (event !== undefined) yield event;
          else if (stream.end?.error !== undefined) throw stream.end.error;
          else if (stream.end !== undefined) return;
          else {
            await new Promise<void>((resolve) => {
              stream.wake = resolve;
            });
          }
        }
      } finally {
        streams.delete(id);
        signal.removeEventListener("abort", wake);
      }
    },

    async ack(request, { token, signal }) {
      const id = crypto.randomUUID();
      const call: Call = {
        token,
        request,
        settle: createDeferred<{ readonly sequence: bigint }>(),
      };
      const abort = () => call.settle.reject(signal.reason);
      signal.addEventListener("abort", abort);
      calls.set(id, call);
      try {
        ask(id, call);
        return await call.settle.promise;
      } finally {
        calls.delete(id);
        signal.removeEventListener("abort", abort);
      }
    },
  };
}
