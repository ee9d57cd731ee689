import type { ServiceImplSpec } from "@connectrpc/connect";
import type { BaseLogger } from "pino";
import type { FrameSink } from "../answers.ts";
import { requireCaller } from "../auth/caller.ts";
import { platformName } from "../auth/platform.ts";
import { admit, type CallDeps, openStream, toObserved } from "../calls/call.ts";
import { CallContext } from "../calls/context.ts";
import { failure, toErrorFacts } from "../errors.ts";
import { corsFields } from "../http/cors.ts";
import type { Inbox } from "../inbox/inbox.ts";
import type { Lineage } from "../inbox/lineage.ts";
import { toFailure } from "../json/bind.ts";
import { errorEnvelope, successEnvelope } from "../json/envelope.ts";
import { peerOf } from "../observe/peer.ts";
import type { TimerWheel } from "../timer-wheel.ts";
import { closeCodes } from "../websocket/close-codes.ts";
import { toTextFrame } from "../websocket/frame.ts";
import type { Upgrade, WebSocketRoute } from "../websocket/upgrades.ts";
import { Client, type ClientDeps, type Identity } from "./client.ts";
import { epochsOf } from "./conversation.ts";
import { type Handshake, isAnswered, readHandshake, readParameters } from "./handshake.ts";
import { maxRequestBytes } from "./wire/frames.ts";

export interface GatewayDeps extends CallDeps {
  /** What implements DeliveryService: a device of an OpenIM SDK is a caller of its `Receive`. */
  readonly delivery: ServiceImplSpec;
  readonly inbox: Pick<Inbox, "newestSequence" | "lineage">;
  readonly timers: TimerWheel;
  readonly log: BaseLogger;
}

/** Requests that a device may make at once, and a second: it makes one for each that it is told of. */
const requestRate = { burst: 128, perSecond: 64 } as const;

/** Creates the door for OpenIM's SDKs: what they exchange over a WebSocket, translated to and from `Receive`. */
export function createGateway({ delivery, inbox, timers, log, ...deps }: GatewayDeps): WebSocketRoute {
  const { receive } = delivery.methods;
  if (receive?.kind !== "bidi_streaming") throw new TypeError("Receive is a stream of both directions");

  const open = (context: CallContext, sink: FrameSink) => {
    const { answers, observed } = openStream(deps, { method: receive, context }, nobody);
    if (!("pipe" in answers)) throw new TypeError("Receive gives frames");
    return { source: answers.pipe(sink), observed };
  };
  const clients: ClientDeps = { timers, open, log };

  const readLineage = async (userId: string): Promise<Lineage> => {
    // Also looks what the store is by now.
    await inbox.newestSequence(userId);
    return inbox.lineage(userId);
  };

  const identify = async (context: CallContext, handshake: Handshake): Promise<Identity> => {
    await admit(deps.authenticate, context);
    const { userId, platformId } = requireCaller(context);
    const { sendId, sdk } = handshake;
    if (sendId !== userId) throw failure("TokenInvalidError", "the token is another user's than sendID");
    if (platformId !== 0 && platformId !== handshake.platformId) {
      throw failure("TokenInvalidError", "the token is of another platform than platformID");
    }
    const deviceId = platformName(handshake.platformId) ?? "default";
    const epochs = sdk === "go" ? epochsOf(await readLineage(userId)) : [];
    return { context, handshake, userId, deviceId, epochs };
  };

  const answer = async (upgrade: Upgrade): Promise<void> => {
    const parameters = readParameters(upgrade.target.url);
    const context = toContext(upgrade, parameters);
    try {
      const identity = await identify(context, readHandshake(parameters));
      upgrade.accept((connection) => {
        if (identity.handshake.isAnswered) connection.write(toTextFrame(successEnvelope()));
        return new Client(clients, identity, connection);
      });
    } catch (thrown) {
      const error = deps.callLog.refuse(toObserved(context), toFailure(thrown));
      refuse(upgrade, isAnswered(parameters), errorEnvelope(toErrorFacts(error)));
    }
  };

  const toContext = (upgrade: Upgrade, parameters: ReadonlyMap<string, string>): CallContext =>
    new CallContext({
      method: receive.method,
      protocolName: parameters.get("sdkType") === "js" ? "openim_js" : "openim_go",
      url: `http://localhost${upgrade.target.path}`,
      headers: { token: parameters.get("token"), operationid: parameters.get("operationID") },
      peer: peerOf(upgrade),
    });

  return {
    protocols: [],
    maxMessageBytes: maxRequestBytes,
    messages: requestRate,
    answer: (upgrade) => {
      answer(upgrade).catch((err: unknown) => {
        log.error({ err }, "handshake failed");
        upgrade.refuse(500, [], "");
      });
    },
  };
}

/** Who takes the answers as frames gives its messages with them. */
const nobody: AsyncIterable<never> = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };

/** As OpenIM has it: the Go SDK reads an answer of HTTP, the one for JavaScript a first message. */
function refuse(upgrade: Upgrade, isFirstMessage: boolean, envelope: string): void {
  if (!isFirstMessage) {
    upgrade.refuse(200, [...corsFields, "content-type", "application/json"], envelope);
    return;
  }
  upgrade.accept((connection) => {
    connection.write(toTextFrame(envelope));
    connection.close(closeCodes.policyViolation, "refused");
    return { onText() {}, onBinary() {}, onPong() {}, onDrain() {}, onStopping() {}, onClose() {} };
  });
}
