import { createCalls, createCallsOver, createReceiving } from "#client/receiving";
import { createAcker } from "./ack.ts";
import type { ClientOptions, ClientStatus } from "./client-options.ts";
import { memoryCursorStore, toCursor } from "./cursor-store.ts";
import { createLane } from "./lane.ts";
import { createListeners } from "./listeners.ts";
import { createMustReach } from "./must-reach.ts";
import type { MustreachClient } from "./mustreach-client.ts";
import {
  type BusinessNotification,
  type ChatMessage,
  type NotificationGap,
  type RecalledNotification,
  type SettledNotification,
  toBusinessNotification,
  toChatMessage,
  toNotificationGap,
  toRecalledNotification,
  toSettledNotification,
} from "./notification.ts";
import { canShare, shareDelivery } from "./tabs/share.ts";
import type { Cursor } from "./wire/cursor.ts";
import { createDeferred } from "./wire/deferred.ts";
import type { Delivery } from "./wire/delivery.ts";
import { isFatal, MustreachClientError, toNetworkError } from "./wire/error.ts";
import type { SessionEvent } from "./wire/event.ts";
import { watchPresence } from "./wire/presence.ts";
import { runSessions } from "./wire/session.ts";
import { createTokenSource, toDeviceKey } from "./wire/token.ts";
import { inProcessSpan } from "./wire/trace.ts";
import { createPatience, untilAborted, withDeadline } from "./wire/wait.ts";

/** How long an acknowledgement may take before it is tried again. */
const ackTimeoutMs = 10_000;

/** How many online pushes may wait for a slow listener. */
const maxWaitingPushes = 1_000;

/** The numbers of mustreach.delivery.v1.Start. */
const starts = { resume: 1, new: 2, all: 3 } as const;

/**
 * Creates a client that is not connected yet.
 *
 * @throws {TypeError} for a baseUrl that is not an http or https address.
 */
export function createClient(options: ClientOptions): MustreachClient {
  const { deviceId, window = 0, start = "resume", idleTimeoutMs = 50_000, random } = options;
  const reconnect = { minDelayMs: 500, maxDelayMs: 30_000, ...options.reconnect, random };
  const retry = { minDelayMs: 1_000, maxDelayMs: 60_000, ...options.retry, random };
  const store = options.cursorStore ?? memoryCursorStore();
  const tokens = createTokenSource(options.token);
  const { shareStream = canShare() } = options;
  const { baseUrl, transport } = options;
  const calls = transport === undefined ? createCalls(baseUrl) : createCallsOver(transport);
  const streams = transport === undefined ? createReceiving(baseUrl, calls) : undefined;
  /** Tabs that share a stream acknowledge by calls, since each of them waits for its answer. */
  const receiving = shareStream ? undefined : streams;
  let service: Delivery = streams ?? calls;

  const listeners = createListeners<[BusinessNotification], void | Promise<void>>();
  const gapListeners = createListeners<[NotificationGap], void | Promise<void>>();
  const messageListeners = createListeners<[ChatMessage], void | Promise<void>>();
  const recallListeners = createListeners<[RecalledNotification], void | Promise<void>>();
  const settledListeners = createListeners<[SettledNotification], void | Promise<void>>();
  const statusListeners = createListeners<[ClientStatus, unknown?]>();
  const errorListeners = createListeners<[unknown]>();
  if (options.onStatus) statusListeners.add(options.onStatus);
  if (options.onError) errorListeners.add(options.onError);

  // Closing has two steps: from draining on nothing new begins, from ended on nothing has an effect.
  const draining = new AbortController();
  const ended = new AbortController();
  const presence = watchPresence({ network: shareStream, ended: ended.signal });
  const closed = toNetworkError("client closed");

  const opened = createDeferred<void>();
  let running: Promise<void> | undefined;
  let shuttingDown: Promise<void> | undefined;
  let status: ClientStatus = "closed";
  let deviceKey: string | undefined;
  let hasBegun = false;
  let sessionDeviceId = deviceId ?? "";
  let after: Cursor | undefined;
  let droppedByService = 0n;
  let droppedThisSession = 0n;

  const acker = createAcker({
    gather: receiving?.turn,
    async call({ sequence, epoch }) {
      // The last one is to be answered: the session ends with it.
      if (!draining.signal.aborted && receiving?.acknowledge({ sequence, epoch })) return false;
      const request = { deviceId: sessionDeviceId, sequence, epoch };
      await withDeadline(ackTimeoutMs, ended.signal, (signal) =>
        tokens.use((token) => service.ack(request, { token, signal })),
      );
      return true;
    },
    patience: createPatience(retry),
    draining: draining.signal,
    onError: (error) => (isFatal(error) ? fail(error) : report(error)),
  });
  const mustReach = createMustReach({
    listeners,
    gapListeners,
    settledListeners,
    store,
    acker,
    retry,
    draining: draining.signal,
    ended: ended.signal,
    onError: report,
  });
  /** They wait for no must-reach notification, and a listener that throws is not called again. */
  const onlinePushes = createLane<BusinessNotification>(async (notification) => {
    for (const { call } of listeners) {
      await new Promise<void>((resolve) => resolve(call(notification))).catch(report);
    }
  }, maxWaitingPushes);

  function report(error: unknown) {
    if (!ended.signal.aborted) errorListeners.call(error);
  }

  function setStatus(next: ClientStatus, error?: unknown) {
    if (next === status) return;
    status = next;
    statusListeners.call(next, error);
  }

  async function open(signal: AbortSignal) {
    const token = await tokens.fetch();
    const key = options.cursorStore === undefined && !shareStream ? "" : toDeviceKey(token, deviceId);
    if (deviceKey !== undefined && key !== deviceKey) {
      const errDlt = "the token function changed user or platform: create a client for each";
      throw new MustreachClientError({ errCode: 1505, errMsg: "TokenUnknownError", errDlt });
    }
    if (shareStream && deviceKey === undefined) {
      const name = `mustreach ${new URL(baseUrl).href} ${key}`;
      service = shareDelivery({ service, name, idleTimeoutMs, ackTimeoutMs, presence, ended: ended.signal });
    }
    deviceKey = key;
    // The store of tabs that share holds what the fastest has handled; this one goes on after what it has handled itself.
    const saved = shareStream && hasBegun ? undefined : toCursor(await store.load(key));
    signal.throwIfAborted();
    after = mustReach.begin(key, saved);
    const request = { deviceId: deviceId ?? "", window, start: starts[start] };
    const place = after === undefined ? {} : { afterSequence: after.sequence, epoch: after.epoch };
    return service.subscribe({ ...request, ...place }, { token, signal });
  }

  function onEvent(event: SessionEvent) {
    if (draining.signal.aborted) return;
    switch (event.case) {
      case "ready":
        hasBegun = true;
        sessionDeviceId = event.value.deviceId || sessionDeviceId;
        droppedByService += droppedThisSession;
        droppedThisSession = 0n;
        acker.renew(after === undefined && start === "resume" ? event.value.resumeSequence : 0n);
        mustReach.ready({ sequence: event.value.resumeSequence, epoch: event.value.epoch });
        setStatus("ready");
        return opened.resolve();
      case "notification": {
        const notification = toBusinessNotification(event.value);
        if (notification.sequence === 0n) return onlinePushes.push(notification);
        return mustReach.notification(notification, event.value.epoch);
      }
      case "gap":
        return mustReach.gap(toNotificationGap(event.value), event.value.epoch);
      case "message": {
        const message = toChatMessage(event.value);
        const { sequence = 0n, epoch = "" } = event.value.notification ?? {};
        return message && mustReach.event({ sequence, epoch }, messageListeners, message);
      }
      case "recall": {
        const { sequence, epoch } = event.value;
        return mustReach.event({ sequence, epoch }, recallListeners, toRecalledNotification(event.value));
      }
      case "settled": {
        const { sequence, epoch } = event.value;
        return mustReach.settled({ sequence, epoch }, toSettledNotification(event.value));
      }
      case "heartbeat":
        droppedThisSession = event.value.droppedOnlinePushes;
    }
  }

  async function run() {
    const fatal = await runSessions({
      open,
      onEvent,
      idleTimeoutMs,
      reconnect,
      presence,
      tokenRenewable: tokens.renewable,
      draining: draining.signal,
      ended: ended.signal,
      onConnecting: () => setStatus("connecting"),
      onWaiting: (error) => {
        if (error !== undefined) report(error);
        setStatus("waiting", error);
      },
    });
    if (fatal !== undefined) fail(fatal);
  }

  function fail(error: MustreachClientError) {
    report(error);
    if (draining.signal.aborted) return;
    opened.reject(error);
    setStatus("closed", error);
    void shutDown({ isAnswered: false });
  }

  function shutDown(acknowledged: Parameters<typeof acker.idle>[0]): Promise<void> {
    draining.abort(closed);
    receiving?.pause();
    shuttingDown ??= (async () => {
      const drained = Promise.all([mustReach.drain(), onlinePushes.drain()]).then(() => acker.idle(acknowledged));
      await untilAborted(drained, ended.signal).catch(() => undefined);
      ended.abort(closed);
      await running;
      setStatus("closed");
    })();
    return shuttingDown;
  }

  return {
    onRecvCustomBusinessMessage: (listener) =>
      listeners.add((notification) => inProcessSpan(notification, () => listener(notification))),
    onRecvNewMessage: messageListeners.add,
    onRecall: recallListeners.add,
    onSettled: settledListeners.add,
    onGap: gapListeners.add,
    onStatus: statusListeners.add,
    onError: errorListeners.add,
    connect() {
      if (!draining.signal.aborted) running ??= run();
      return opened.promise;
    },
    async close({ deadlineMs } = {}) {
      const deadline = deadlineMs === undefined ? undefined : setTimeout(() => ended.abort(closed), deadlineMs);
      opened.reject(closed);
      // One who did not wait for connect() does not want to hear that it was in vain.
      opened.promise.catch(() => undefined);
      await shutDown({ isAnswered: true });
      clearTimeout(deadline);
    },
    status: () => status,
    droppedOnlinePushes: () => onlinePushes.dropped() + Number(droppedByService + droppedThisSession),
  };
}
