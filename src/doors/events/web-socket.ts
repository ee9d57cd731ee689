import type { ConnectError } from "@connectrpc/connect";
import type { Gate } from "../../auth/authenticate.ts";
import type { CallDeps, StreamMethod } from "../../calls/call.ts";
import { callerGone } from "../../calls/call-ends.ts";
import { CallContext } from "../../calls/context.ts";
import { failure } from "../../errors.ts";
import type { ReceiveRequest } from "../../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { RequestHeaders } from "../../http2/exchange.ts";
import { peerOf } from "../../observe/peer.ts";
import { Timer, type TimerOwner, type TimerWheel } from "../../timer-wheel.ts";
import { closeCodes } from "../../websocket/close-codes.ts";
import type { WebSocketConnection, WebSocketReceiver } from "../../websocket/connection.ts";
import { toTextFrame } from "../../websocket/frame.ts";
import type { Upgrade, WebSocketRoute } from "../../websocket/upgrades.ts";
import { toErrorAnswer } from "./error-answer.ts";
import { EventCall } from "./event-call.ts";
import { encodeOnce } from "./event-json.ts";
import { readQuery } from "./query.ts";
import { readSocketMessage, type SocketMessage } from "./socket-message.ts";

export interface WebSocketDoorOptions extends Pick<CallDeps, "callLog"> {
  /** DeliveryService.Receive. */
  readonly method: StreamMethod;
  /** Lets through who has a token in the headers, or a ticket in the query. */
  readonly gateOf: (ticket: string | undefined) => Gate;
  readonly timers: TimerWheel;
}

/** The path of the door, and what it speaks. */
export const webSocketPath = "/ws";
export const webSocketProtocol = "mustreach.v1.json";

/** The largest message of a device, in bytes: with a token in it, which may have 8 KiB. */
const maxMessageBytes = 16_384;

/** Messages of a device: one that acknowledges each notification of a backlog by itself sends as many as it gets. */
const messages = { burst: 10_000, perSecond: 5_000 };

/** How long a device may take until it subscribes, in milliseconds. */
const subscribeTimeoutMs = 10_000;

/** How many messages of a device may wait while it is found out who it is. */
const maxWaitingMessages = 16;

/** What is added to the HTTP status of an error, for its close code: 4401 is 401. */
const errorCloseCodes = 4_000;

/** Creates the WebSocket door: DeliveryService.Receive in JSON. */
export function createWebSocketDoor(options: WebSocketDoorOptions): WebSocketRoute {
  return {
    protocols: [webSocketProtocol],
    maxMessageBytes,
    messages,
    answer: (upgrade) => upgrade.accept((connection) => new WebSocketCall(options, upgrade, connection)),
  };
}

/** A request's header fields, to which a token can be added. */
type OpenHeaders = { -readonly [name in keyof RequestHeaders]: RequestHeaders[name] };

class WebSocketCall extends EventCall implements WebSocketReceiver, TimerOwner {
  readonly #options: WebSocketDoorOptions;
  readonly #connection: WebSocketConnection;
  readonly #headers: OpenHeaders;
  readonly #ticket: string | undefined;
  readonly #timer = new Timer(this);
  /** What waits for the gate, from `subscribe` on. */
  #waiting: ReceiveRequest[] | undefined = undefined;
  #isClosed = false;

  constructor(options: WebSocketDoorOptions, upgrade: Upgrade, connection: WebSocketConnection) {
    const headers = { ...upgrade.headers };
    const { method } = options.method;
    const peer = peerOf(upgrade);
    super(
      options,
      new CallContext({ method, protocolName: "websocket", url: `http://localhost${webSocketPath}`, headers, peer }),
    );
    this.#options = options;
    this.#connection = connection;
    this.#headers = headers;
    this.#ticket = readQuery(upgrade.target).get("ticket");
    options.timers.set(this.#timer, subscribeTimeoutMs);
  }

  onText(text: string): void {
    if (this.isOver) return;
    try {
      this.#take(readSocketMessage(text));
    } catch (thrown) {
      this.stop(thrown);
    }
  }

  onBinary(): void {
    this.stop(failure("ArgsError", "messages are texts of JSON"));
  }

  #take(message: SocketMessage): void {
    if (message.kind === "ping") this.#connection.write(pong);
    else if (this.source !== undefined) this.source.take(message.request);
    else if (this.#waiting !== undefined) this.#wait(this.#waiting, message.request);
    else this.#subscribe(message.request, message.token);
  }

  #wait(waiting: ReceiveRequest[], request: ReceiveRequest): void {
    if (waiting.push(request) > maxWaitingMessages) {
      throw failure("TooManyRequestsError", "too many messages before the session is open");
    }
  }

  #subscribe(first: ReceiveRequest, token: string | undefined): void {
    if (first.request.case !== "subscribe") throw failure("ArgsError", "the first message must be subscribe");
    const { timers, gateOf, method } = this.#options;
    timers.clear(this.#timer);
    if (token !== undefined) this.#headers.token = token;
    this.#waiting = [first];
    this.enter(gateOf(token === undefined ? this.#ticket : undefined), () => {
      this.open(method, nothing());
      for (const request of this.#waiting ?? []) this.source?.take(request);
      this.#waiting = undefined;
    });
  }

  write(frame: Uint8Array): boolean {
    return this.isOver || this.#connection.write(encodeEvent(frame));
  }

  protected tellEnd(error: ConnectError | undefined): void {
    this.#options.timers.clear(this.#timer);
    if (this.#isClosed) return;
    if (error === undefined) {
      // After a `reconnect`.
      this.#connection.close(closeCodes.serviceRestart, "reconnect");
      return;
    }
    const { status, json } = toErrorAnswer(error);
    this.#connection.write(toTextFrame(`{"error":${json}}`));
    this.#connection.close(errorCloseCodes + status, error.rawMessage);
  }

  onPong(): void {}

  onDrain(): void {
    this.source?.resume();
  }

  onStopping(): void {
    // A session is told to connect again, and ends.
    if (this.source === undefined) this.stop(failure("ServerStoppingError", "the server is stopping"));
  }

  onClose(violation: string | undefined): void {
    this.#isClosed = true;
    this.stop(violation === undefined ? callerGone : failure("ArgsError", violation));
  }

  onTime(): void {
    this.stop(failure("ArgsError", `the first message must come within ${subscribeTimeoutMs / 1_000} s`));
  }
}

const encodeEvent = encodeOnce(({ event, json }) => toTextFrame(`{"${event.case}":${json}}`));

const pong = toTextFrame('{"pong":{}}');

/** The messages of the device are handed over one by one. */
async function* nothing(): AsyncGenerator<never> {}
