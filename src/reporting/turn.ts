import { create, toBinary } from "@bufbuild/protobuf";
import type { BaseLogger } from "pino";
import type { Broker } from "../broker/connect.ts";
import { work } from "../broker/consumers/work.ts";
import { toRefusal } from "../broker/faults.ts";
import type { DirectGet } from "../broker/reads/direct-get.ts";
import { decodeStored } from "../decode-stored.ts";
import { ReportPlaceSchema } from "../gen/mustreach/store/v1/report_pb.ts";
import type { Publisher } from "../publishing/publish.ts";
import { placeSubject, reportJobStream, reportTurnJobs, turnSubject } from "./layout.ts";

/**
 * The turn of an instance to post to the webhook, and how far that has come. Each method throws NetworkError (90004)
 * when the broker does not answer in time.
 */
export interface WebhookTurn {
  /** The sequence of the last report that the webhook has taken; undefined when it was never asked. */
  place(): Promise<number | undefined>;
  moveTo(sequence: number): Promise<void>;
  /**
   * Takes turns with the other instances: `post` runs on one of them at a time, until its signal is aborted, with which it
   * must throw. An instance that dies loses its turn after 2.5 s. Resolves to how to stop.
   */
  take(post: (signal: AbortSignal) => Promise<never>): Promise<() => Promise<void>>;
}

export function createWebhookTurn(
  broker: Broker,
  publisher: Pick<Publisher, "store">,
  get: Pick<DirectGet, "last">,
  log: BaseLogger,
): WebhookTurn {
  return {
    async place() {
      const found = await get.last(reportJobStream, placeSubject);
      return found && Number(decodeStored(ReportPlaceSchema, found.payload).sequence);
    },
    async moveTo(sequence) {
      const payload = toBinary(ReportPlaceSchema, create(ReportPlaceSchema, { sequence: BigInt(sequence) }));
      const stored = await publisher.store(reportJobStream, { subject: placeSubject, payload, headers: {} });
      if (stored.kind === "refused") throw toRefusal(stored);
    },
    async take(post) {
      // A job that is never done. Refused where it is there already.
      const job = { subject: turnSubject, payload: new Uint8Array(), headers: {}, replaces: 0 };
      await publisher.store(reportJobStream, job);
      return work(broker, {
        ...reportTurnJobs,
        decode: () => undefined,
        work: (_, signal) => post(signal),
        log,
      });
    },
  };
}
