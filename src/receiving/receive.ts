import type { HandlerContext } from "@connectrpc/connect";
import { type Answers, type FrameSink, type FrameSource, pull } from "../answers.ts";
import { failure, toWireError } from "../errors.ts";
import {
  type ReceiveRequest,
  type SubscribeResponse,
  SubscribeResponseSchema,
} from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import type { Position } from "../inbox/lineage.ts";
import type { SubscribeRequest, Subscription } from "./subscribe.ts";

export interface ReceiveDeps {
  /** Opens the session of a device. */
  readonly subscribe: (request: SubscribeRequest, sink: FrameSink) => Subscription;
  /** Records what a device has handled; see `acknowledge` in ack.ts. */
  readonly acknowledge: (userId: string, deviceId: string, position: Position) => Promise<unknown>;
  /** Reads the first message of a device. Throws ArgsError (1001) for one that is wrong. */
  readonly toRequest: (message: SubscribeMessage, context: HandlerContext) => SubscribeRequest;
  /** Reads what a device has handled. Throws ArgsError (1001) for what is wrong. */
  readonly toPosition: (message: AcknowledgeMessage) => Position;
  /** Reads a window. Throws ArgsError (1001) for one that is wrong. */
  readonly toWindow: (window: number) => number;
}

type Request = ReceiveRequest["request"];
type SubscribeMessage = Extract<Request, { case: "subscribe" }>["value"];
type AcknowledgeMessage = Extract<Request, { case: "acknowledge" }>["value"];

/**
 * The stream of a device in both directions: its session comes down, and what it has handled goes up.
 *
 * @param messages those of the device, for a door that asks for the answers as messages.
 */
export function receive(
  deps: ReceiveDeps,
  messages: AsyncIterable<ReceiveRequest>,
  context: HandlerContext,
): Answers<SubscribeResponse> {
  return {
    pipe: (sink) => new Receiver(deps, context, sink),
    [Symbol.asyncIterator]: () =>
      pull(SubscribeResponseSchema, (sink) => {
        const receiver = new Receiver(deps, context, sink);
        void takeAll(receiver, messages);
        return receiver;
      }),
  };
}

async function takeAll(receiver: Receiver, messages: AsyncIterable<ReceiveRequest>): Promise<void> {
  try {
    for await (const message of messages) receiver.take(message);
    receiver.finish();
  } catch (error) {
    receiver.fail(error);
  }
}

class Receiver implements FrameSource {
  readonly #deps: ReceiveDeps;
  readonly #context: HandlerContext;
  readonly #sink: FrameSink;
  #subscription: Subscription | undefined = undefined;
  /** The newest acknowledgement that is not recorded yet. */
  #handled: Position | undefined = undefined;
  #isRecording = false;

  constructor(deps: ReceiveDeps, context: HandlerContext, sink: FrameSink) {
    this.#deps = deps;
    this.#context = context;
    this.#sink = sink;
  }

  resume(): void {
    this.#subscription?.resume();
  }

  cancel(): void {
    this.#subscription?.cancel();
  }

  take({ request }: ReceiveRequest): void {
    if (this.#subscription === undefined) {
      if (request.case !== "subscribe") throw failure("ArgsError", "the first message must be subscribe");
      this.#subscription = this.#deps.subscribe(this.#deps.toRequest(request.value, this.#context), this.#sink);
      return;
    }
    switch (request.case) {
      case "acknowledge":
        this.#acknowledge(this.#subscription, this.#deps.toPosition(request.value));
        break;
      case "changeWindow":
        this.#subscription.setWindow(this.#deps.toWindow(request.value.window));
        break;
      case "pause":
        this.#subscription.setPaused(request.value.isPaused);
        break;
      case "subscribe":
        throw failure("ArgsError", "only the first message may be subscribe");
      default:
        throw failure("ArgsError", "the message must be one that this service knows");
    }
  }

  finish(): void {
    // A device that has said all keeps its session.
    if (this.#subscription === undefined) this.fail(failure("ArgsError", "the first message must be subscribe"));
  }

  /** Ends the stream with an error. */
  fail(error: unknown): void {
    if (this.#subscription === undefined) this.#sink.end(toWireError(error));
    else this.#subscription.end({ error: toWireError(error) });
  }

  #acknowledge(of: Subscription, position: Position): void {
    const { epoch, sequence = 0 } = this.#handled ?? {};
    if (epoch === position.epoch && sequence >= position.sequence) return;
    this.#handled = position;
    if (this.#isRecording) return;
    this.#isRecording = true;
    void this.#record(of);
  }

  async #record({ userId, deviceId }: Subscription): Promise<void> {
    try {
      // Those that came together are one.
      await undefined;
      for (let position = this.#handled; position !== undefined; position = this.#handled) {
        this.#handled = undefined;
        await this.#deps.acknowledge(userId, deviceId, position);
      }
    } catch (error) {
      this.fail(error);
    } finally {
      this.#isRecording = false;
    }
  }
}
