import { createHmac } from "node:crypto";

export interface WebhookOptions {
  readonly url: string;
  /** Each signs the requests; the newest first. */
  readonly keys: readonly Uint8Array[];
  /** How long a request may take, from connecting to the end of the answer, in milliseconds. Default 10,000. */
  readonly timeoutMs?: number;
}

/** What came of a request. */
export type WebhookAnswer =
  | { readonly kind: "taken" }
  | {
      readonly kind: "refused";
      /** Why, for people: the status and the beginning of the body, or what went wrong on the way. */
      readonly reason: string;
      /** The webhook does not want it, now or later: 410 Gone. */
      readonly isFinal: boolean;
      /** How long the webhook asks to wait, in milliseconds. */
      readonly retryAfterMs: number | undefined;
    };

/** Posts JSON to the webhook once, under an id that all attempts share; `signal` gives it up. Never rejects. */
export type Webhook = (id: string, content: object, signal: AbortSignal) => Promise<WebhookAnswer>;

/** How much of a refusal's body is kept, in characters. */
const maxReasonLength = 200;

/** The longest wait that a Retry-After can ask for, in milliseconds. */
const maxRetryAfterMs = 3_600_000;

/**
 * Creates the webhook, which speaks Standard Webhooks (https://www.standardwebhooks.com). Any 2xx takes what is posted; redirects are refusals, since following one would show the body
 * to whoever it names.
 */
export function createWebhook({ url, keys, timeoutMs = 10_000 }: WebhookOptions): Webhook {
  return async (id, content, signal) => {
    const body = JSON.stringify(content);
    try {
      const response = await fetch(url, {
        method: "POST",
        redirect: "manual",
        headers: {
          "Content-Type": "application/json",
          "User-Agent": "mustreach",
          ...sign(keys, id, Math.floor(Date.now() / 1_000), body),
        },
        body,
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      });
      if (response.ok) {
        await response.body?.cancel();
        return { kind: "taken" };
      }
      return {
        kind: "refused",
        reason: `HTTP ${response.status} ${await readStart(response)}`.trim(),
        isFinal: response.status === 410,
        retryAfterMs: readRetryAfter(response.headers.get("Retry-After")),
      };
    } catch (error) {
      return { kind: "refused", reason: describe(error, timeoutMs), isFinal: false, retryAfterMs: undefined };
    }
  };
}

/** The headers that identify and sign a request: one signature for each key, which a receiver needs one of. */
export function sign(keys: readonly Uint8Array[], id: string, timestampS: number, body: string) {
  const signatures = keys.map((key) => {
    const digest = createHmac("sha256", key).update(`${id}.${timestampS}.${body}`).digest("base64");
    return `v1,${digest}`;
  });
  return { "webhook-id": id, "webhook-timestamp": String(timestampS), "webhook-signature": signatures.join(" ") };
}

/** The beginning of a body on one line; the rest of it is not read. */
async function readStart(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length >= maxReasonLength) break;
  }
  return text
    .slice(0, maxReasonLength)
    .toWellFormed()
    .replace(/[\p{Cc}\s]+/gu, " ")
    .trim();
}

/** RFC 9110 section 10.2.3: seconds or a date. */
function readRetryAfter(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return ms > 0 ? Math.min(ms, maxRetryAfterMs) : undefined;
}

function describe(error: unknown, timeoutMs: number): string {
  if (!(error instanceof Error)) return "the request failed";
  if (error.name === "TimeoutError") return `no answer within ${timeoutMs / 1_000} s`;
  if (error.name === "AbortError") return "the attempt was given up: the service is stopping";
  // fetch says no more than that it failed; the cause has the code, such as ECONNREFUSED.
  const { cause } = error;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  return `the request failed${code === "" ? "" : `: ${code}`}`;
}
