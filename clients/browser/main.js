// A page that sends one notification, or receives and logs, as its address says.
import { createRecord, receive, send } from "./client.js";

const { base, tokenUrl, deviceId, record, args } = Object.fromEntries(new URLSearchParams(location.search));
const [command, ...words] = JSON.parse(args);
const say = (...parts) => console.log(parts.join("\t"));

/** The page's own back end has the user's token, and renews it. */
async function token() {
  const response = await fetch(tokenUrl, { cache: "no-store" });
  if (!response.ok) throw new Error(`${tokenUrl}: HTTP ${response.status}`);
  return (await response.text()).trim();
}

function handle(kind, value) {
  switch (kind) {
    case "ready":
      return say("ready", value.resumeSequence ?? "0");
    case "notification":
      return say(value.sequence ? kind : "push", value.sequence ?? "0", value.clientMsgID, value.key, value.data ?? "");
    case "message":
      return say("message", value.notification.sequence, value.notification.clientMsgID, value.conversationID);
    case "recall":
    case "settled":
      return say(kind, value.sequence, value.clientMsgID);
    case "gap":
      return say("gap", value.to, value.reason);
  }
}

if (command === "send") {
  const [recvUserID, clientMsgID, key, data] = words;
  const notification = { sendUserID: "imAdmin", recvUserID, clientMsgID, key, data, reliabilityLevel: 2 };
  try {
    const sent = await send({ base, token }, notification);
    say("sent", sent.clientMsgID, sent.serverMsgID);
  } catch (error) {
    say("error", error.errCode, error.errMsg, (error.fields ?? []).join());
  }
} else {
  const onExpired = () => say("expired");
  const error = await receive({ base, token, deviceId, record: createRecord(record), handle, onExpired });
  say("ended", error.errCode, error.errMsg, error.errDlt);
}
