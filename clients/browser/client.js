// Sends, and receives on for as long as the page lives, with nothing but fetch and WebSocket: what an application copies.
// mustreach/client does more: one stream for all tabs, a way without WebSockets, and no wait when the network is back.

// How long one attempt to send may take, and all of them together, in milliseconds.
const attemptTimeoutMs = 10_000;
const sendTimeoutMs = 60_000;
// The delays before connecting or sending again, in milliseconds: doubled each time, random in part.
const minDelayMs = 500;
const maxDelayMs = 30_000;
// A socket that is silent for three heartbeats of the service (15 s each) is dead.
const idleTimeoutMs = 50_000;

const tokenExpired = 1501;
// Trying again does not mend these: a wrong argument, no permission, a token that is wrong or was revoked.
const fatal = new Set([1001, 1002, 1503, 1504, 1505, 1506, 1507]);

/** What an error says. errCode is 0 when the service did not answer. */
export class MustreachError extends Error {
  /** @param retryAfterMs how long to wait before trying again; undefined when that does not mend it. */
  constructor(errCode, errMsg, errDlt, retryAfterMs, fields = []) {
    super(`${errMsg}: ${errDlt}`);
    Object.assign(this, { errCode, errMsg, errDlt, retryAfterMs, fields });
  }
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function createBackoff() {
  let failures = 0;
  return {
    next: () => Math.min(maxDelayMs, minDelayMs * 2 ** failures++) * (0.5 + Math.random() / 2),
    reset() {
      failures = 0;
    },
  };
}

/**
 * Reads the details of an error of Connect's JSON: each is a message of google.rpc, in base64 and, as `debug`, in words.
 */
function readError({ code = "unknown", message = "", details = [] }) {
  const find = (type) => details.find((detail) => detail.type === `google.rpc.${type}`)?.debug;
  const { errCode = "0", errMsg = code, errDlt = message } = find("ErrorInfo")?.metadata ?? {};
  const { retryDelay } = find("RetryInfo") ?? {};
  const retryAfterMs = retryDelay === undefined ? undefined : Number.parseFloat(retryDelay) * 1_000;
  const fields = (find("BadRequest")?.fieldViolations ?? []).map(({ field }) => field);
  return new MustreachError(Number(errCode), errMsg, errDlt, retryAfterMs, fields);
}

/**
 * Sends until there is an answer. The notification has a clientMsgID, so that it is accepted once. An admin's token is for
 * a back end, or a page that only admins can open.
 */
export async function send({ base, token }, notification) {
  if (!notification.clientMsgID) throw new TypeError("a send that is tried again needs a clientMsgID");
  const backoff = createBackoff();
  const giveUpAt = Date.now() + sendTimeoutMs;
  for (;;) {
    try {
      const response = await fetch(`${base}/mustreach.msg.v1.MsgService/SendBusinessNotification`, {
        method: "POST",
        headers: { "content-type": "application/json", token: await token() },
        body: JSON.stringify(notification),
        signal: AbortSignal.timeout(attemptTimeoutMs),
      });
      const answer = await response.json();
      if (response.ok) return answer;
      throw readError(answer);
    } catch (thrown) {
      // Anything else is of the network: whether it was accepted is not known, and the clientMsgID makes it safe.
      const error =
        thrown instanceof MustreachError ? thrown : new MustreachError(0, "NetworkError", String(thrown), 0);
      if (error.retryAfterMs === undefined) throw error;
      const delayMs = Math.max(error.retryAfterMs, backoff.next());
      if (Date.now() + delayMs > giveUpAt) throw error;
      await wait(delayMs);
    }
  }
}

/** How far the device is: the sequence and its epoch, in localStorage. */
export function createRecord(name) {
  const [sequence, epoch = ""] = (localStorage.getItem(name) ?? "").split(" ");
  let at = sequence === "" ? undefined : { sequence: BigInt(sequence), epoch };
  return {
    get: () => at,
    save(sequence, epoch) {
      at = { sequence, epoch };
      localStorage.setItem(name, `${sequence} ${epoch}`);
    },
  };
}

/**
 * Receives for one device. Resolves to the error that connecting again does not mend.
 *
 * @param token resolves to the user's token; asked again after 1501.
 * @param handle gets each event once, in order, as `(kind, value)`, and may be asynchronous.
 */
export async function receive({ base, token, deviceId, record, handle, onExpired = () => {} }) {
  const backoff = createBackoff();
  let refused;
  for (;;) {
    const session = await token().catch(() => undefined);
    // After 1501 with a new token only.
    if (session === undefined || session === refused) {
      await wait(backoff.next());
      continue;
    }
    const { error, reconnectAfterMs } = await runSession({ base, token: session, deviceId, record, handle, backoff });
    if (fatal.has(error?.errCode)) return error;
    if (error?.errCode === tokenExpired) {
      refused = session;
      onExpired();
      continue;
    }
    const adviceMs = reconnectAfterMs ?? error?.retryAfterMs;
    // At least as long as the service asks for, and not all devices at once.
    await wait(adviceMs ? adviceMs + Math.random() * Math.max(minDelayMs, adviceMs / 2) : backoff.next());
  }
}

/** Runs one socket to its end. */
function runSession({ base, token, deviceId, record, handle, backoff }) {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${base.replace(/^http/, "ws")}/ws`, "mustreach.v1.json");
    const say = (message) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
    const end = {};
    let watchdog;
    // One after the other, also when handling takes its time.
    let turn = Promise.resolve();
    const finish = () => {
      clearTimeout(watchdog);
      socket.onmessage = null;
      socket.close();
      turn.then(
        () => resolve(end),
        () => resolve(end),
      );
    };
    const stayAwake = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(finish, idleTimeoutMs);
    };
    stayAwake();
    socket.onopen = () => {
      const at = record.get();
      const place = at === undefined ? {} : { afterSequence: String(at.sequence), epoch: at.epoch };
      say({ token, subscribe: { deviceId, ...place } });
    };
    socket.onmessage = ({ data }) => {
      stayAwake();
      const message = JSON.parse(data);
      if (message.reconnect) end.reconnectAfterMs = message.reconnect.afterMs ?? 0;
      if (message.error) {
        const { errCode, errMsg, errDlt, retryAfterMs } = message.error;
        end.error = new MustreachError(errCode, errMsg, errDlt, retryAfterMs);
      }
      turn = turn.then(() => take(message, { record, handle, backoff, say }));
      // What could not be handled is not acknowledged: the next session brings it again.
      turn.catch((error) => {
        console.error(error);
        finish();
      });
    };
    socket.onclose = finish;
  });
}

async function take(message, { record, handle, backoff, say }) {
  const [kind, value] = Object.entries(message)[0];
  if (kind === "ready") {
    backoff.reset();
    const { resumeSequence = "0", epoch = "" } = value;
    const at = record.get();
    // Another store than the one we know: take what comes.
    if (at !== undefined && BigInt(resumeSequence) < at.sequence) record.save(BigInt(resumeSequence), epoch);
    await handle(kind, value);
    return;
  }
  const place = placeOf(kind, value);
  // A heartbeat, or an event of a newer service.
  if (place === undefined) return;
  const sequence = BigInt(place.sequence ?? 0);
  // An online push has no place, and is neither recorded nor acknowledged.
  if (sequence === 0n) {
    await handle(kind, value);
    return;
  }
  const at = record.get();
  // REASON_STORE_CHANGED sets the record back, to a sequence that may be below it.
  const isNew = at === undefined || sequence > at.sequence || value.reason === "REASON_STORE_CHANGED";
  // Of what this device has handled, it is told at the same sequence that another one has, too.
  if (isNew || kind === "settled") await handle(kind, value);
  if (isNew) record.save(sequence, place.epoch ?? "");
  const recorded = record.get();
  say({ acknowledge: { sequence: String(recorded.sequence), epoch: recorded.epoch } });
}

/** The sequence and the epoch to record and acknowledge; undefined for an event that has none. */
function placeOf(kind, value) {
  switch (kind) {
    case "notification":
    case "recall":
    case "settled":
      return value;
    case "message":
      return value.notification;
    case "gap":
      return { sequence: value.to, epoch: value.epoch };
  }
}
