import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import {
  AckRequestSchema,
  type AckResponse,
  AckResponseSchema,
  type DeliveryService,
  Start,
  type SubscribeRequest,
  SubscribeRequestSchema,
  type SubscribeResponse,
  SubscribeResponseSchema,
} from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { createLane } from "./lane.ts";
import { runSession, type SessionEnd } from "./session.ts";
import { type LeaderMessage, packError, packEvent, sequenceOf, type TabMessage } from "./tab-message.ts";
import { withDeadline } from "./wait.ts";

/** The part of the service that tabs share. */
export type Delivery = Pick<Client<typeof DeliveryService>, "subscribe" | "ack">;

/** What {@link createLeader} needs. */
export interface LeaderOptions {
  /** The service itself. */
  readonly service: Delivery;

  /** Tells all tabs, this one as well. */
  readonly post: (message: LeaderMessage) => void;

  /** As of a client. */
  readonly idleTimeoutMs: number;

  /** How long an acknowledgement may take, in milliseconds. */
  readonly ackTimeoutMs: number;

  /** Ends the leading. */
  readonly ended: AbortSignal;
}

/** The last events are kept for tabs that are a little behind, so that the stream need not begin anew for them. */
const maxKeptEvents = 1_000;
const maxKeptBytes = 4 * 1024 * 1024;

type Subscribe = Extract<TabMessage, { kind: "subscribe" }>;

/** A stream to the service that is ready. */
interface Upstream {
  readonly ready: Extract<SubscribeResponse["event"], { case: "ready" }>;
  readonly stop: AbortController;
}

/**
 * Leads the tabs of a device: holds the one stream to the service, tells its events to all, and takes their
 * acknowledgements there. A tab that is behind what is kept has the stream begin anew at its place; those that are
 * further on drop what they have had.
 */
export function createLeader({ service, post, idleTimeoutMs, ackTimeoutMs, ended }: LeaderOptions) {
  let upstream: Upstream | undefined;
  /** Everything after `base` up to `received` has come, and is kept here. */
  let base = 0n;
  let received = 0n;
  const kept: { readonly sequence: bigint; readonly event: Uint8Array }[] = [];
  let keptBytes = 0;
  /** Up to here some tab has handled everything, as far as is known: where a new tab begins. */
  let acked: bigint | undefined;
  /** The highest acknowledgement that this stream was told of. */
  let newest: { readonly sequence: bigint; readonly answer: Promise<AckResponse> } | undefined;

  function keep(sequence: bigint, event: Uint8Array) {
    if (sequence <= received) return;
    received = sequence;
    kept.push({ sequence, event });
    keptBytes += event.length;
    while (kept.length > maxKeptEvents || keptBytes > maxKeptBytes) {
      const oldest = kept.shift();
      if (oldest === undefined) return;
      base = oldest.sequence;
      keptBytes -= oldest.event.length;
    }
  }

  /** Begins the stream anew, and tells when it is ready; resolves to its end when that comes before. */
  function open(request: SubscribeRequest, token: string, onReady: () => void): Promise<SessionEnd | undefined> {
    if (ended.aborted) return Promise.resolve({ ready: false });
    const stop = new AbortController();
    const { promise: opened, resolve } = Promise.withResolvers<SessionEnd | undefined>();
    upstream?.stop.abort();
    upstream = undefined;
    const own: { upstream?: Upstream } = {};

    function onEvent(event: SubscribeResponse["event"]) {
      if (stop.signal.aborted) return;
      const response = create(SubscribeResponseSchema, { event });
      if (event.case === "ready") {
        own.upstream = { ready: event, stop };
        begin(own.upstream, request);
        onReady();
        return resolve(undefined);
      }
      const bytes = packEvent(response);
      const sequence = sequenceOf(response);
      if (sequence > 0n) keep(sequence, bytes);
      post({ kind: "event", event: bytes });
    }

    void runSession({
      open: async (signal) => service.subscribe(request, { headers: { token }, signal }),
      onEvent,
      idleTimeoutMs,
      ended: AbortSignal.any([ended, stop.signal]),
    }).then((end) => {
      resolve(end);
      if (own.upstream === undefined || own.upstream !== upstream) return;
      upstream = undefined;
      post({ kind: "ended", ...toReason(end) });
    });
    return opened;
  }

  function begin(next: Upstream, request: SubscribeRequest) {
    const { resumeSequence } = next.ready.value;
    upstream = next;
    newest = undefined;
    if (request.afterSequence === undefined && request.start !== Start.ALL) {
      acked = acked !== undefined && acked > resumeSequence ? acked : resumeSequence;
    }
    if (resumeSequence >= base && resumeSequence <= received) return;
    // Between what was received and this lies what no tab has got.
    if (resumeSequence > received) post({ kind: "ended" });
    base = resumeSequence;
    received = resumeSequence;
    kept.length = 0;
    keptBytes = 0;
  }

  /** One at a time: the next one may fit into the stream that this one has opened. */
  const joining = createLane<Subscribe>(async ({ stream, token, request: bytes, received: had }) => {
    const request = fromBinary(SubscribeRequestSchema, bytes);
    const { deviceId, window } = request;
    let place = had ?? request.afterSequence;
    let hasBegun = false;

    /** Begins the stream of the tab, if all that it has not got is kept or still to come. */
    function join() {
      const after = place ?? acked;
      if (upstream === undefined || after === undefined || after < base) return;
      hasBegun = true;
      const value = { ...upstream.ready.value, resumeSequence: after };
      const ready = packEvent(create(SubscribeResponseSchema, { event: { case: "ready", value } }));
      const events = kept.filter(({ sequence }) => sequence > after).map(({ event }) => event);
      post({ kind: "begun", stream, events: [ready, ...events] });
    }

    async function openAt(asked: SubscribeRequest): Promise<SessionEnd | undefined> {
      return open(asked, token, () => {
        // Where the service says: it may not know the place that was asked for.
        if (asked === request) place = upstream?.ready.value.resumeSequence;
        join();
      });
    }

    const resume = create(SubscribeRequestSchema, { deviceId, window, start: Start.RESUME });
    const isFirst = received === 0n && acked === undefined;
    let end: SessionEnd | undefined;
    if (upstream !== undefined) join();
    // Not after what a tab has received: the service would take that as handled.
    else end = await openAt(had === undefined && (isFirst || place !== undefined) ? request : resume);
    if (!hasBegun && end === undefined) {
      const known = acked ?? 0n;
      const afterSequence = had !== undefined && had > known ? known : place;
      end = await openAt(afterSequence === undefined ? resume : { ...request, afterSequence });
    }
    if (hasBegun) return;
    post({ kind: "ended", stream, ...toReason(end) });
    // The others have lost their stream by it.
    post({ kind: "ended" });
  });

  async function ack({ call, token, request: bytes }: Extract<TabMessage, { kind: "ack" }>) {
    const request = fromBinary(AckRequestSchema, bytes);
    const { sequence } = request;
    // Each tab acknowledges what it has handled. One that tells no news waits for the answer to the news; if that is
    // refused, it may be for a token that is not its own.
    const isNews = newest === undefined || sequence > newest.sequence;
    let response = isNews ? undefined : await newest?.answer.catch(() => undefined);
    try {
      if (response === undefined) {
        const answer = withDeadline(ackTimeoutMs, ended, (signal) =>
          service.ack(request, { headers: { token }, signal }),
        );
        newest = { sequence, answer };
        response = await answer;
      }
      if (sequence > (acked ?? 0n)) acked = sequence;
      post({ kind: "acked", call, response: toBinary(AckResponseSchema, response) });
    } catch (thrown) {
      post({ kind: "refused", call, error: packError(thrown) });
    }
  }

  post({ kind: "leading" });
  return {
    /** Takes what a tab asks. */
    take(message: TabMessage) {
      if (message.kind === "subscribe") joining.push(message);
      else void ack(message);
    },
  };
}

function toReason(end: SessionEnd | undefined) {
  const error = end?.error === undefined ? undefined : packError(end.error);
  return { reconnectAfterMs: end?.reconnectAfterMs, error };
}
