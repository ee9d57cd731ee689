import { openConsole } from "../console/console.ts";
import { createListener, type ListenerAddress, type ListenerLog } from "../http/listener.ts";
import { createPages, healthz, notFound, toJsonPage } from "../http/pages.ts";
import { deaf } from "../http/receiver.ts";
import { readTarget } from "../http/target.ts";
import type { Health } from "../observe/health.ts";
import type { Metrics } from "../observe/metrics.ts";
import { createApiPages } from "../openapi/pages.ts";

/** Options of {@link startAdmin}. */
export interface AdminOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly health: Health;
  readonly metrics: Pick<Metrics, "text">;
  /** Where the API answers; undefined before it does. */
  readonly apiAddress: () => ListenerAddress | undefined;
  readonly log: ListenerLog;
}

/** The operator's port. */
export interface Admin {
  /** Where it answers, such as `http://127.0.0.1:10003`. */
  readonly url: string;
  stop(): Promise<void>;
}

/** How long a stop waits for answers under way, in milliseconds. */
const drainMs = 500;

/**
 * Opens the operator's port: `/metrics`, `/readyz` with its reasons, and `/healthz`. They tell of the inside and ask
 * for no token, so they have a port of their own, and no web page of another origin may read them. And `/console`, a
 * page that can do what the token can that it is given; and the documents of the API, with `/docs` for people.
 *
 * @throws an error that names the setting when the port is taken.
 */
export async function startAdmin(options: AdminOptions): Promise<Admin> {
  const { host, port, health, metrics, apiAddress, log } = options;
  const answerConsole = await openConsole({ apiAddress });
  const pages = createPages({
    "/healthz": healthz,
    "/metrics": async () => ({ status: 200, ...(await metrics.text()) }),
    "/readyz": async () => {
      const readiness = await health.readiness();
      return toJsonPage(readiness.ready ? 200 : 503, readiness);
    },
  });
  const apiPages = createApiPages(() => apiAddress()?.url);
  const listener = createListener({
    log,
    accept: (exchange) => {
      const target = readTarget(exchange.headers);
      const isAnswered =
        pages(exchange, target.path) || apiPages(exchange, target.path) || answerConsole(exchange, target);
      if (!isAnswered) notFound(exchange);
      return deaf;
    },
  });
  const { url } = await listener.listen({ host, port }).catch((cause: unknown) => {
    throw new Error(
      `MUSTREACH_ADMIN_PORT: cannot listen at ${host}:${port} (${cause instanceof Error ? cause.message : "unknown"}). Give another port, 0 for a free one, or off.`,
      { cause },
    );
  });
  return { url, stop: () => listener.drain(drainMs) };
}
