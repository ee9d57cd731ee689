import { PermissionViolationError } from "@nats-io/transport-node";
import { type ConnectOptions, openConnection } from "../connect.ts";
import { sendMessages } from "../messages.ts";

/** Subjects, as the permissions of a user name them. */
export interface Rights {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

/** No stream has this name. */
const noStream = "mustreach-doctor";

/**
 * Tries which of these rights the user of a connection does not have. What is published for that is empty, and for a
 * stream that is not there: no stream stores it.
 *
 * @throws NetworkError (90004) when no server could be reached; what the client library throws when it answers no more.
 */
export async function missingRights(options: ConnectOptions, { publish, subscribe }: Rights): Promise<Rights> {
  const nc = await openConnection({ ...options, name: "mustreach doctor" });
  const refused = { publish: new Set<string>(), subscription: new Set<string>() };
  const listen = async () => {
    for await (const status of nc.status()) {
      const error = status.type === "error" ? status.error : undefined;
      if (!(error instanceof PermissionViolationError)) continue;
      refused[error.operation === "publish" ? "publish" : "subscription"].add(error.subject);
    }
  };
  const listening = listen();
  try {
    const headers = `Nats-Expected-Stream: ${noStream}\r\n`;
    sendMessages(
      nc,
      publish.map((right) => ({ subject: exampleOf(right), payload: new Uint8Array(), headers })),
    );
    // Not to all of it: whoever waits for somebody who listens would take us for one.
    for (const right of subscribe) nc.subscribe(exampleOf(right), { callback: () => {} });
    // What it complains about, it does before it answers this.
    await nc.flush();
  } finally {
    await nc.close();
    // It has heard everything when it ends.
    await listening;
  }
  return {
    publish: publish.filter((right) => refused.publish.has(exampleOf(right))),
    subscribe: subscribe.filter((right) => refused.subscription.has(exampleOf(right))),
  };
}

/** A subject that is among those of a right, and that nobody uses. */
function exampleOf(right: string): string {
  return right.replace(/[*>]/g, noStream);
}
