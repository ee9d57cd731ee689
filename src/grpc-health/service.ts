import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import { type Health, HealthCheckResponse_ServingStatus as Status } from "../gen/grpc/health/v1/health_pb.ts";

/** Where the statuses of {@link createHealthService} come from. */
export interface HealthOptions {
  /** The services that have a status, by their full names, 99 at most; the server as a whole, "", has one too. */
  readonly services: readonly string[];
  /** Whether a service, or with "" the server as a whole, serves now. */
  readonly isServing: (service: string) => Promise<boolean> | boolean;
  /** Calls the listener when a status may be another one; the result has it not called any more. */
  readonly onChange: (listener: () => void) => () => void;
  /** Aborted when the server stops: who watches is told NOT_SERVING, and then the reason as the end of the stream. */
  readonly closing: AbortSignal;
  /** How many may watch at a time: anybody may, and each costs memory for as long as it likes. Default: 1,000. */
  readonly maxWatches?: number;
}

/** What a List may have, by the protocol. */
const maxListed = 100;

/** Creates gRPC's health service (https://github.com/grpc/grpc/blob/master/doc/health-checking.md). */
export function createHealthService(options: HealthOptions): ServiceImpl<typeof Health> {
  const { isServing, onChange, closing, maxWatches = 1_000 } = options;
  const names = ["", ...options.services];
  if (names.length > maxListed) throw new RangeError(`at most ${maxListed - 1} services can have a status`);
  const known = new Set(names);
  let watches = 0;

  const statusOf = async (service: string): Promise<Status> => {
    if (!known.has(service)) return Status.SERVICE_UNKNOWN;
    return !closing.aborted && (await isServing(service)) ? Status.SERVING : Status.NOT_SERVING;
  };

  return {
    async check({ service }) {
      const status = await statusOf(service);
      if (status === Status.SERVICE_UNKNOWN) throw new ConnectError("there is no such service", Code.NotFound);
      return { status };
    },

    async list() {
      const statuses = await Promise.all(names.map(async (name) => [name, { status: await statusOf(name) }] as const));
      return { statuses: Object.fromEntries(statuses) };
    },

    async *watch({ service }, { signal }) {
      if (watches >= maxWatches) throw new ConnectError("too many are watching", Code.ResourceExhausted);
      watches++;
      let wake = () => {};
      const onWake = () => wake();
      const ignore = onChange(onWake);
      closing.addEventListener("abort", onWake);
      let isOver = false;
      const end = () => {
        if (isOver) return;
        isOver = true;
        watches--;
        ignore();
        closing.removeEventListener("abort", onWake);
        signal.removeEventListener("abort", end);
        wake();
      };
      // Of a watcher that has gone, the next status may never be asked for.
      signal.addEventListener("abort", end);
      try {
        let told: Status | undefined;
        while (!isOver) {
          // Before the status is read: what changes meanwhile is another change.
          const changed = new Promise<void>((resolve) => {
            wake = resolve;
          });
          const isClosing = closing.aborted;
          const status = await statusOf(service);
          if (status !== told) yield { status };
          told = status;
          if (isClosing) throw closing.reason;
          if (!closing.aborted && !isOver) await changed;
        }
      } finally {
        end();
      }
    },
  };
}
