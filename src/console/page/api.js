// @ts-check

/**
 * @typedef {object} Api
 * @property {string} base where the API answers, such as `http://127.0.0.1:10002`
 * @property {string} userId whose token it is
 * @property {(path: string, body: object, token?: string) => Promise<any>} post the `data` of what REST answers
 * @property {(path: string, body: object) => Promise<{ data: any, headers: Headers }>} call that and the headers
 * @property {(path: string, signal: AbortSignal, token: string) => Promise<Response>} stream a GET whose answer does not end
 */

/** What the API has refused. */
export class ApiError extends Error {
  /**
   * @param {{ errCode: number, errMsg: string, errDlt: string }} envelope
   */
  constructor({ errCode, errMsg, errDlt }) {
    super(`${errCode} ${errMsg}${errDlt === "" ? "" : `: ${errDlt}`}`);
    this.errCode = errCode;
  }
}

/**
 * The API as an admin has it. The token is here and nowhere else: neither stored nor in a URL.
 *
 * @param {string} base
 * @param {string} adminToken
 * @returns {Promise<Api>}
 * @throws {ApiError} when the token is none, or no admin's.
 */
export async function openApi(base, adminToken) {
  /** @param {string} token */
  const headersOf = (token) => ({ token, operationID: crypto.randomUUID?.() ?? String(Date.now()) });

  /**
   * @param {string} path
   * @param {object} body
   */
  const call = async (path, body, token = adminToken) => {
    const sent = {
      method: "POST",
      headers: headersOf(token),
      body: JSON.stringify(body),
      credentials: /** @type {const} */ ("omit"),
    };
    const response = await fetch(base + path, sent).catch(() => {
      throw new Error(`${base} cannot be reached from this browser`);
    });
    const envelope = await response.json();
    if (envelope.errCode !== 0) throw new ApiError(envelope);
    return { data: envelope.data, headers: response.headers };
  };

  /** @type {Api["post"]} */
  const post = async (path, body, token) => (await call(path, body, token)).data;

  /** @type {Api["stream"]} */
  const stream = async (path, signal, token) => {
    const response = await fetch(base + path, { headers: headersOf(token), credentials: "omit", signal });
    if (!response.ok) throw new ApiError(await response.json());
    return response;
  };

  // Of what only admins may ask, the smallest.
  await post("/delivery/list_dead_letters", { pageSize: 1 });
  const { userID: userId } = await post("/auth/parse_token", { token: adminToken });
  return { base, userId, post, call, stream };
}
