/**
 * Checks where the service is said to answer.
 *
 * @throws {TypeError} for what is not an http or https address: fetch would report it as a broken network.
 */
export function checkBaseUrl(baseUrl: string): string {
  if (!/^https?:$/.test(new URL(baseUrl).protocol)) throw new TypeError(`expected an http(s) baseUrl, not ${baseUrl}`);
  return baseUrl;
}
