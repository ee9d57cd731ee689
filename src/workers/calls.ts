import type { QuotaAsk } from "../admission/quota.ts";
import type { TokenSecrets } from "../auth/secret.ts";
import type { BrokerPlace } from "../broker/dial.ts";
import type { Config } from "../config.ts";
import type { ListenerAddress } from "../http/listener.ts";
import type { Readiness } from "../observe/health.ts";
import type { MetricsSnapshot } from "../observe/metrics.ts";
import type { Applicant } from "../receiving/admission.ts";
import type { TlsMaterial } from "../tls/tls.ts";

/** What the primary asks of a worker. */
export interface WorkerCalls {
  /** Builds the doors and accepts on the port; answers where. */
  start(options: WorkerStart): Promise<ListenerAddress>;
  /** Whether its event loop turns. */
  beat(nothing: undefined): void;
  /** The embedded broker is elsewhere now. */
  broker(place: BrokerPlace): void;
  /** Puts the token secrets and the level of the log in force. */
  reload(next: Pick<Config, "logLevel"> & { readonly secrets: TokenSecrets }): Promise<void>;
  /** Puts other certificates in force. */
  renewTls(certificates: TlsMaterial): Promise<void>;
  readiness(nothing: undefined): Promise<Readiness>;
  metrics(nothing: undefined): Promise<MetricsSnapshot>;
  /** The instance stops: it is not ready any more, and accepts no more, as soon as no connection waits to be. */
  closePort(nothing: undefined): Promise<void>;
  /**
   * Closes the port, ends its sessions with a `reconnect`, answers what is under way; then its last metrics. Connections
   * without a request are left open for so long, in milliseconds.
   */
  drain(lingerMs: number): Promise<MetricsSnapshot>;
}

/** What a worker asks of the primary. */
export interface PrimaryCalls {
  /** Where the embedded broker is, as of now. */
  broker(nothing: undefined): BrokerPlace;
  /** Lets a session in, of all that the instance holds; answers by what number it is to be counted out. */
  enter(applicant: Applicant): number;
  leave(ticket: number): void;
  /** As GuessLimit has them, for the instance. */
  checkGuess(peer: string): void;
  wrongGuess(peer: string): void;
  /** As Quota has it, for the instance. */
  takeQuota(ask: QuotaAsk): void;
}

/** What a worker is started with: over its channel, for an argument or a variable can be read by others. */
export interface WorkerStart {
  /** With the token secrets in force. */
  readonly config: Config & { readonly tokenSecret: string };
  /** How many workers share what is divided. */
  readonly workers: number;
  /** Undefined with an external broker. */
  readonly embedded: BrokerPlace | undefined;
  /** Undefined where the port speaks no TLS. */
  readonly certificates: TlsMaterial | undefined;
}
