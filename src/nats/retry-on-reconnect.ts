import type { Broker } from "./connect.ts";

const lost: unique symbol = Symbol("the connection was lost");

/**
 * Asks the broker, and asks again when the connection was lost meanwhile: the first answer will not come then, and
 * waiting for it would take as long as the request may. `ask` may reach the broker more than once.
 *
 * @throws NetworkError (90004) when there is no connection at `deadlineMs` (epoch milliseconds); what `ask` throws.
 */
export async function retryOnReconnect<T>(broker: Broker, deadlineMs: number, ask: () => Promise<T>): Promise<T> {
  for (;;) {
    await broker.whenConnected(deadlineMs);
    let isLost = false;
    const disconnect = Promise.withResolvers<typeof lost>();
    const forget = broker.onDisconnect(() => {
      isLost = true;
      disconnect.resolve(lost);
    });
    try {
      const asked = ask().catch((error: unknown) => {
        if (!isLost) throw error;
        return lost;
      });
      const answer = await Promise.race([asked, disconnect.promise]);
      if (answer !== lost) return answer as T;
    } finally {
      forget();
    }
  }
}
