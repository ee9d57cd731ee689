import type { HttpRequest } from "./listener.ts";

/** The headers of a request, as the web's type; repeated ones are joined. */
export function toHeaders(request: HttpRequest): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    // HTTP/2 pseudo headers are not headers.
    if (name.startsWith(":")) continue;
    for (const item of Array.isArray(value) ? value : [value ?? ""]) headers.append(name, item);
  }
  return headers;
}
