// An app's program, type-checked and run in an empty project that has only the client.
import {
  type BusinessNotification,
  type ClientOptions,
  createClient,
  createSender,
  MustreachClientError,
  memoryCursorStore,
} from "@mustreach/client";

/** Sends to alice, and gives what her device gets. */
export async function sendAndReceive(baseUrl: string, adminToken: string, aliceToken: string): Promise<string[]> {
  const options: ClientOptions = { baseUrl, token: aliceToken, deviceId: "phone", cursorStore: memoryCursorStore() };
  const client = createClient(options);
  const seen: string[] = [];
  const both = new Promise<void>((resolve) => {
    client.onRecvCustomBusinessMessage(({ data, sequence }: BusinessNotification) => {
      seen.push(`${sequence > 0n ? "must-reach" : "push"} ${data}`);
      if (seen.length === 2) resolve();
    });
  });
  await client.connect();
  const sender = createSender({ baseUrl, token: adminToken });
  const notification = { sendUserID: "imAdmin", recvUserID: "alice", key: "order.paid" };
  await sender.send({ ...notification, data: "1" });
  await sender.send({ ...notification, data: "2", mustReach: true });
  await both;
  const refused: unknown = await createSender({ baseUrl, token: aliceToken })
    .send({ ...notification, data: "3" })
    .catch((error: unknown) => error);
  if (refused instanceof MustreachClientError) seen.push(String(refused.errCode));
  await client.close();
  return seen.sort();
}
