import type { Broker } from "./connect.ts";

const lost = Symbol("the connection was lost");

/**
 * Asks the broker, and asks again when the connection was lost meanwhile: the first answer will not come then, and
 * waiting for it would take as long as the request may. `ask` may reach the broker more than once.
 *
 * @throws NetworkError (90004) when there is no connection at `deadlineMs` (epoch milliseconds); what `ask` throws.
 */
export async function retryOnReconnect<T>(broker: Broker, deadlineMs: number, ask: () => Promise<T>): Promise<T> {
  for (;;) {
    await broker.whenConnected(deadlineMs);
    const reconnect = Promise.withResolvers<typeof lost>();
    const forget = broker.onReconnect(() => reconnect.resolve(lost));
    try {
      const answer = await Promise.race([ask(), reconnect.promise]);
      if (answer !== lost) return answer;
    } finally {
      forget();
    }
  }
}
