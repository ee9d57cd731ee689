import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { extname } from "node:path";

/** A file of the page, as it is served. */
export interface ConsoleFile {
  readonly contentType: string;
  readonly bytes: Uint8Array;
  /** Of its bytes, quoted as the header `etag` has it. */
  readonly etag: string;
}

const contentTypes: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Reads the files of the page, by name: once, since they only change with the service. */
export async function readConsoleFiles(): Promise<ReadonlyMap<string, ConsoleFile>> {
  const folder = new URL("page/", import.meta.url);
  const names = (await readdir(folder)).filter((name) => contentTypes[extname(name)] !== undefined);
  const files = names.map(async (name): Promise<[string, ConsoleFile]> => {
    const contentType = contentTypes[extname(name)] ?? "";
    return [name, toFile(contentType, await readFile(new URL(name, folder)))];
  });
  return new Map(await Promise.all(files));
}

/** A file of these bytes. */
export function toFile(contentType: string, bytes: Uint8Array): ConsoleFile {
  return { contentType, bytes, etag: `"${createHash("sha256").update(bytes).digest("base64url")}"` };
}
