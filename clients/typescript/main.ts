// Sends one notification, or receives and prints: `main.ts send USER ID KEY DATA`, `main.ts receive`.
// mustreach/client has the loop that the other languages' examples write out.
import { readFile } from "node:fs/promises";
import { createClient, createSender, MustreachClientError } from "mustreach/client";
import { fileCursorStore } from "./file-cursor-store.ts";

const { ADDRESS = "", TOKEN_FILE = "", DEVICE_ID = "", STATE_FILE = "" } = process.env;
const [command, recvUserID = "", clientMsgID = "", key = "", data = ""] = process.argv.slice(2);
const baseUrl = `http://${ADDRESS}`;
/** Whoever renews the token writes the new one there. */
const token = async () => (await readFile(TOKEN_FILE, "utf8")).trim();
const say = (...words: readonly unknown[]) => void process.stdout.write(`${words.join("\t")}\n`);

if (command === "send") {
  const notification = { sendUserID: "imAdmin", recvUserID, clientMsgID, key, data, mustReach: true };
  try {
    const sent = await createSender({ baseUrl, token }).send(notification);
    say("sent", sent.clientMsgID, sent.serverMsgID);
  } catch (error) {
    if (!(error instanceof MustreachClientError)) throw error;
    say("error", error.errCode, error.errMsg);
    process.exitCode = 1;
  }
} else {
  const client = createClient({ baseUrl, token, deviceId: DEVICE_ID, cursorStore: fileCursorStore(STATE_FILE) });
  client.onStatus((status, error) => {
    if (status === "ready") say("ready");
    if (status === "closed" && error instanceof MustreachClientError)
      say("ended", error.errCode, error.errMsg, error.errDlt);
  });
  client.onRecvCustomBusinessMessage((got) => {
    say(got.sequence > 0n ? "notification" : "push", got.sequence, got.clientMsgID, got.key, got.data);
  });
  client.onRecvNewMessage((got) => say("message", got.sequence, got.clientMsgID, got.conversationID));
  client.onRecall(({ sequence, clientMsgID }) => say("recall", sequence, clientMsgID));
  client.onSettled(({ sequence, clientMsgID }) => say("settled", sequence, clientMsgID));
  client.onGap(({ to, reason }) => say("gap", to, reason));
  client.onError((error) => process.stderr.write(`${error}\n`));
  await client.connect();
}
