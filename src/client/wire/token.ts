import { MustreachClientError, toClientError, tokenExpiredErrCode } from "./error.ts";

/**
 * A user's token (for sending: an admin's), or a function that gets one. A function is asked at each connection, and
 * once more when the service says that the token has expired.
 */
export type Token = string | (() => string | Promise<string>);

/** Where calls take their token from. */
export function createTokenSource(token: Token) {
  let last: string | undefined;

  async function fetch() {
    last = typeof token === "string" ? token : await token();
    return last;
  }

  const renewable = typeof token === "function";
  return {
    /** Asks for a token anew. */
    fetch,
    /** Whether asking anew can give another token. */
    renewable,
    /** Makes a call with the last token. When that has expired and there is a function, asks it once and calls again. */
    async use<T>(call: (token: string) => Promise<T>): Promise<T> {
      try {
        return await call(last ?? (await fetch()));
      } catch (thrown) {
        if (!renewable || toClientError(thrown).errCode !== tokenExpiredErrCode) throw thrown;
        return call(await fetch());
      }
    },
  };
}

/**
 * Names the device in a cursor store: the token's user, then the device id, or the token's platform when there is
 * none. Without the user, someone who logs in after another in one browser would inherit a cursor, and with it miss
 * notifications.
 *
 * @throws {MustreachClientError} 1503 when the token names no user.
 */
export function toDeviceKey(token: string, deviceId: string | undefined): string {
  const claims = readClaims(token);
  const userID = claims?.UserID ?? claims?.sub;
  if (typeof userID !== "string") {
    throw new MustreachClientError({ errCode: 1503, errMsg: "TokenMalformedError", errDlt: "the token names no user" });
  }
  return JSON.stringify([userID, deviceId ?? claims?.PlatformID ?? null]);
}

/** The claims of a JSON web token (RFC 7519), unverified: that is the service's work. */
function readClaims(token: string): Record<string, unknown> | undefined {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null ? { ...claims } : undefined;
  } catch {
    return undefined;
  }
}
