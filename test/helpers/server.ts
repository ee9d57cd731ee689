import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { adminPlatform } from "../../src/auth/platform.ts";
import { loadConfig } from "../../src/config.ts";
import { createLog } from "../../src/observe/log.ts";
import { type Server, startServer } from "../../src/server.ts";
import { useForFile } from "./for-file.ts";

/** The token secret of a service that was not given one. */
export const testSecret = "test-secret-of-at-least-32-bytes";

/** A service of the test's own: embedded broker, free port, temporary data. */
export interface TestServer extends Server {
  readonly dataDir: string;
  adminToken(): Promise<string>;
  userToken(userId: string, platformId?: number): Promise<string>;
  /** Posts JSON to a REST path, with an operation id and, if given, a token. */
  post(path: string, body: unknown, token?: string, headers?: Record<string, string>): Promise<PostResult>;
  /** Log lines so far, parsed. */
  readonly log: Record<string, unknown>[];
}

export interface PostResult {
  readonly status: number;
  readonly headers: Headers;
  readonly json: { errCode: number; errMsg: string; errDlt: string; data?: Record<string, unknown> };
}

/** Settings of a service, without the prefix. */
export type TestSettings = Readonly<Record<string, string>>;

/**
 * What a service of the tests has unless its test says otherwise. What serves HTTP/2 is for who runs the tests to say:
 * `MUSTREACH_HTTP2=node vitest run` runs all of them over Node's.
 */
export const testSettings: TestSettings = {
  WORKERS: "1",
  PORT: "0",
  ADMIN_PORT: "0",
  TOKEN_SECRET: testSecret,
  // A busy machine is slow.
  SEND_TIMEOUT: "20s",
  ...(process.env.MUSTREACH_HTTP2 === undefined ? {} : { HTTP2: process.env.MUSTREACH_HTTP2 }),
};

/** Starts a service. With a `dataDir` it resumes that one's data, and leaves it there. */
export async function startTestServer(settings: TestSettings = {}, dataDir?: string): Promise<TestServer> {
  const dir = dataDir ?? (await mkdtemp(join(tmpdir(), "mustreach-test-")));
  const env = { DATA_DIR: dir, ...testSettings, ...settings };
  const config = loadConfig(
    Object.fromEntries(Object.entries(env).map(([name, value]) => [`MUSTREACH_${name}`, value])),
  );
  const lines: Record<string, unknown>[] = [];
  const server = await startServer(config, createLog("debug", { write: (line) => lines.push(JSON.parse(line)) }));
  const token = async (userId: string, platformId: number) => (await server.mint({ userId, platformId })).token;
  return {
    ...server,
    dataDir: dir,
    log: lines,
    adminToken: () => token("imAdmin", adminPlatform),
    userToken: (userId, platformId = 5) => token(userId, platformId),
    async post(path, body, tokenValue, headers = {}) {
      const response = await fetch(`${server.url}${path}`, {
        method: "POST",
        headers: { operationID: "test", ...(tokenValue === undefined ? {} : { token: tokenValue }), ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      });
      return {
        status: response.status,
        headers: response.headers,
        json: (await response.json()) as PostResult["json"],
      };
    },
    async stop() {
      await server.stop();
      if (dataDir === undefined) await rm(dir, { recursive: true, force: true });
    },
  };
}

/** One service for all tests of a file, with settings that are read as it starts. */
export function useServer(settings: TestSettings | (() => TestSettings) = {}): TestServer {
  return useForFile(
    () => startTestServer(typeof settings === "function" ? settings() : settings),
    (server) => server.stop(),
  );
}
