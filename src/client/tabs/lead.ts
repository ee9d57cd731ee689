import { type Cursor, placeOf } from "../wire/cursor.ts";
import { createDeferred } from "../wire/deferred.ts";
import type { Delivery, Subscription } from "../wire/delivery.ts";
import { charsOf, type Received, type SessionEvent } from "../wire/event.ts";
import type { Presence } from "../wire/presence.ts";
import { runSession, type SessionEnd } from "../wire/session.ts";
import { withDeadline } from "../wire/wait.ts";
import { type LeaderMessage, packError, type TabMessage } from "./tab-message.ts";

export interface LeaderOptions {
  /** The service itself. */
  readonly service: Delivery;

  /** Tells all tabs, this one as well. */
  readonly post: (message: LeaderMessage) => void;

  /** As of a client. */
  readonly idleTimeoutMs: number;

  /** How long an acknowledgement may take, in milliseconds. */
  readonly ackTimeoutMs: number;

  /** Whether this device can be reached at all. */
  readonly presence: Presence;

  /** Ends the leading. */
  readonly ended: AbortSignal;
}

/** The last events are kept for tabs that are a little behind, so that the stream need not begin anew for them. */
const maxKeptEvents = 1_000;
const maxKeptChars = 4 * 1024 * 1024;

/** The numbers of mustreach.delivery.v1.Start. */
const starts = { resume: 1, all: 3 } as const;

type Subscribe = Extract<TabMessage, { kind: "subscribe" }>;

/** A stream to the service that is ready. */
interface Upstream {
  readonly ready: Extract<SessionEvent, { case: "ready" }>;
  readonly stop: AbortController;
}

/**
 * Leads the tabs of a device: holds the one stream to the service, tells its events to all, and takes their
 * acknowledgements there. A tab that is behind what is kept has the stream begin anew at its place; those that are
 * further on drop what they have had.
 */
export function createLeader({ service, post, idleTimeoutMs, ackTimeoutMs, presence, ended }: LeaderOptions) {
  let upstream: Upstream | undefined;
  /** Everything after `base` up to `received` has come, and is kept here. */
  let base = 0n;
  let received = 0n;
  const kept: { readonly sequence: bigint; readonly event: Received }[] = [];
  let keptChars = 0;
  /** The epochs of what has come since the store was replaced, as far as this tab knows. */
  let epochs = new Set<string>();
  /** Where the store went on when it was replaced; what was further in the epochs before that is to be had again. */
  let cut: { readonly sequence: bigint; readonly before: ReadonlySet<string> } | undefined;
  /** Up to here some tab has handled everything, as far as is known: where a new tab begins. */
  let acked: Cursor | undefined;
  /** The highest acknowledgement that this stream was told of. */
  let newest: { readonly sequence: bigint; readonly answer: Promise<{ readonly sequence: bigint }> } | undefined;

  function cutOff(sequence: bigint, epoch: string) {
    cut = { sequence, before: epochs };
    epochs = new Set([epoch]);
    acked = { sequence, epoch };
    newest = undefined;
    post({ kind: "ended" });
    restartAt(sequence);
  }

  function restartAt(sequence: bigint) {
    base = sequence;
    received = sequence;
    kept.length = 0;
    keptChars = 0;
  }

  function keep({ sequence, epoch }: Cursor, event: Received) {
    // The same sequence in another epoch is another event.
    if (sequence <= received && epoch !== "" && !epochs.has(epoch)) cutOff(sequence - 1n, epoch);
    epochs.add(epoch);
    if (sequence <= received) return;
    received = sequence;
    kept.push({ sequence, event });
    keptChars += charsOf(event);
    while (kept.length > maxKeptEvents || keptChars > maxKeptChars) {
      const oldest = kept.shift();
      if (oldest === undefined) return;
      base = oldest.sequence;
      keptChars -= charsOf(oldest.event);
    }
  }

  /** Begins the stream anew, and tells when it is ready; resolves to its end when that comes before. */
  function open(request: Subscription, token: string, onReady: () => void): Promise<SessionEnd | undefined> {
    if (ended.aborted) return Promise.resolve({ ready: false });
    const stop = new AbortController();
    const { promise: opened, resolve } = createDeferred<SessionEnd | undefined>();
    upstream?.stop.abort();
    upstream = undefined;
    const own: { upstream?: Upstream } = {};

    function onEvent(event: SessionEvent) {
      if (stop.signal.aborted) return;
      if (event.case === "ready") {
        own.upstream = { ready: event, stop };
        begin(own.upstream, request);
        onReady();
        return resolve(undefined);
      }
      const received = { event };
      const place = placeOf(received);
      // What is told of an earlier one is for the tabs of now; later ones are sent what is left.
      const isOfEarlier = event.case === "settled" && event.value.wasSent;
      if (place.sequence > 0n && !isOfEarlier) keep(place, received);
      post({ kind: "event", event: received });
    }

    void runSession({
      open: async (signal) => service.subscribe(request, { token, signal }),
      onEvent,
      idleTimeoutMs,
      ended: AbortSignal.any([ended, stop.signal, presence.away()]),
    }).then((end) => {
      resolve(end);
      if (own.upstream === undefined || own.upstream !== upstream) return;
      upstream = undefined;
      post({ kind: "ended", ...toReason(end) });
    });
    return opened;
  }

  function begin(next: Upstream, request: Subscription) {
    const { resumeSequence, epoch } = next.ready.value;
    upstream = next;
    newest = undefined;
    if (request.afterSequence !== undefined && request.afterSequence > resumeSequence) {
      epochs.add(request.epoch ?? "");
      return cutOff(resumeSequence, epoch);
    }
    epochs.add(epoch);
    if (request.afterSequence === undefined && request.start !== starts.all) {
      const isFurther = acked !== undefined && acked.sequence > resumeSequence;
      acked = isFurther ? acked : { sequence: resumeSequence, epoch };
    }
    if (resumeSequence >= base && resumeSequence <= received) return;
    // Between what was received and this lies what no tab has got.
    if (resumeSequence > received) post({ kind: "ended" });
    restartAt(resumeSequence);
  }

  async function subscribe({ stream, token, request: asked, received: had, epoch: hadIn }: Subscribe): Promise<void> {
    let request = asked;
    const { deviceId, window } = request;
    let place = had ?? request.afterSequence;
    let epoch = (had === undefined ? request.epoch : hadIn) ?? "";
    let hasBegun = false;
    if (cut !== undefined && place !== undefined && place > cut.sequence && cut.before.has(epoch)) {
      // It begins anew with a record of its own, which is told where the store goes on.
      if (had !== undefined) return post({ kind: "ended", stream });
      place = cut.sequence;
      request = { ...request, afterSequence: cut.sequence };
    }

    /** Begins the stream of the tab, if all that it has not got is kept or still to come. */
    function join() {
      const after = place ?? acked?.sequence;
      if (upstream === undefined || after === undefined || after < base) return;
      // Only the service knows what this place is.
      if (place !== undefined && place > received && epoch !== "" && !epochs.has(epoch)) return;
      hasBegun = true;
      const value = { ...upstream.ready.value, resumeSequence: after };
      if (place !== undefined) value.epoch = epoch;
      else if (acked !== undefined) value.epoch = acked.epoch;
      const ready: Received = { event: { case: "ready", value } };
      const events = kept.filter(({ sequence }) => sequence > after).map(({ event }) => event);
      post({ kind: "begun", stream, events: [ready, ...events] });
    }

    async function openAt(from: Subscription): Promise<SessionEnd | undefined> {
      return open(from, token, () => {
        // Where the service says: it may not know the place that was asked for.
        if (from === request || from.afterSequence === request.afterSequence) {
          place = upstream?.ready.value.resumeSequence;
          epoch = upstream?.ready.value.epoch ?? "";
        }
        join();
      });
    }

    const resume = { deviceId, window, start: starts.resume };
    const isFirst = received === 0n && acked === undefined;
    let end: SessionEnd | undefined;
    if (upstream !== undefined) join();
    // Not after what a tab has received: the service would take that as handled.
    else end = await openAt(had === undefined && (isFirst || place !== undefined) ? request : resume);
    if (!hasBegun && end === undefined && had !== undefined && epoch !== "" && !epochs.has(epoch)) {
      return post({ kind: "ended", stream });
    }
    if (!hasBegun && end === undefined) {
      const known = acked?.sequence ?? 0n;
      const afterSequence = had !== undefined && had > known ? known : place;
      end = await openAt(afterSequence === undefined ? resume : { ...request, afterSequence });
    }
    if (hasBegun) return;
    post({ kind: "ended", stream, ...toReason(end) });
    // The others have lost their stream by it.
    post({ kind: "ended" });
  }

  async function ack({ call, token, request }: Extract<TabMessage, { kind: "ack" }>) {
    const { sequence } = request;
    // Each tab acknowledges what it has handled. One that tells no news waits for the answer to the news; if that is
    // refused, it may be for a token that is not its own.
    const isNews = newest === undefined || sequence > newest.sequence;
    let response = isNews ? undefined : await newest?.answer.catch(() => undefined);
    try {
      if (response === undefined) {
        const answer = withDeadline(ackTimeoutMs, ended, (signal) => service.ack(request, { token, signal }));
        newest = { sequence, answer };
        response = await answer;
      }
      if (sequence > (acked?.sequence ?? 0n)) acked = { sequence, epoch: request.epoch };
      post({ kind: "acked", call, sequence: response.sequence });
    } catch (thrown) {
      post({ kind: "refused", call, error: packError(thrown) });
    }
  }

  post({ kind: "leading" });
  let subscribing = Promise.resolve();
  return {
    /** Takes what a tab asks. */
    take(message: TabMessage) {
      if (message.kind === "ack") void ack(message);
      // One at a time: the next one may fit into the stream that this one has opened.
      else subscribing = subscribing.then(() => subscribe(message));
    },
  };
}

function toReason(end: SessionEnd | undefined) {
  const error = end?.error === undefined ? undefined : packError(end.error);
  return { reconnectAfterMs: end?.reconnectAfterMs, error };
}
