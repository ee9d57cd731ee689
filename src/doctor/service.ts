import { z } from "zod";
import { version } from "../version.ts";
import { type Finding, judgeClock, ok, problem, warning } from "./finding.ts";

/** How long an answer may take, in milliseconds. */
const timeoutMs = 5_000;

/** How long before its end a token is to be replaced, in milliseconds. */
const renewTokenMs = 3 * 86_400_000;

const readiness = z.object({
  ready: z.boolean(),
  problems: z.array(z.string()).default([]),
  warnings: z.array(z.string()).default([]),
  durability: z.string().optional(),
});

const parsedToken = z.object({
  errCode: z.number(),
  errMsg: z.string(),
  data: z.object({ userID: z.string(), expireTimeSeconds: z.number() }).optional(),
});

interface ServiceOptions {
  readonly url: string;
  /** The operator's port; undefined: what it tells is not looked at. */
  readonly adminUrl?: string | undefined;
  readonly token?: string | undefined;
}

/** Looks at a running service from outside. */
export async function inspectService({ url, adminUrl, token }: ServiceOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  const askedMs = Date.now();
  const health = await ask(`${url}/healthz`);
  if (health === undefined) {
    return [problem("service", `${url} does not answer`, "Start it, or give its address with --url.")];
  }
  const date = Date.parse(health.headers.get("date") ?? "");
  // It says the whole second.
  if (!Number.isNaN(date)) {
    findings.push(judgeClock("service's clock", date, Math.floor(askedMs / 1_000) * 1_000, Date.now()));
  }
  findings.push(...(await inspectReadiness(adminUrl ?? url)));
  if (adminUrl !== undefined) findings.push(...(await inspectVersion(adminUrl)));
  if (token !== undefined) findings.push(await inspectToken(url, token));
  return findings;
}

async function inspectReadiness(at: string): Promise<Finding[]> {
  const answer = await ask(`${at}/readyz`);
  const { data } = readiness.safeParse(await answer?.json().catch(() => undefined));
  if (data === undefined)
    return [warning("readiness", `${at}/readyz does not answer`, "Give the operator's port with --admin-url.")];
  const { ready, problems, warnings, durability } = data;
  const todo = "See docs/operating.md, section Health.";
  const said = problems.length > 0 ? problems : ["it cannot keep its promise now"];
  return [
    ...(ready ? [ok("readiness", durability === undefined ? "ready" : `ready, ${durability}`)] : []),
    ...(ready ? [] : said.map((text) => problem("readiness", text, todo))),
    ...warnings.map((text) => warning("readiness", text, todo)),
  ];
}

async function inspectVersion(adminUrl: string): Promise<Finding[]> {
  const text = (await (await ask(`${adminUrl}/metrics`))?.text()) ?? "";
  const running = /^mustreach_build_info\{[^}]*\bversion="([^"]+)"/m.exec(text)?.[1];
  if (running === undefined) return [];
  if (running === version) return [ok("version", version)];
  const todo = "Use the command of the version that runs, or upgrade the service.";
  return [warning("version", `the service is ${running}, this command ${version}`, todo)];
}

async function inspectToken(url: string, token: string): Promise<Finding> {
  const answer = await ask(`${url}/auth/parse_token`, {
    method: "POST",
    headers: { operationID: "doctor" },
    body: JSON.stringify({ token }),
  });
  const { data: parsed } = parsedToken.safeParse(await answer?.json().catch(() => undefined));
  const todo = "Use another: `mustreach token --admin`, with the secret of the service.";
  if (parsed?.data === undefined)
    return problem("token", `the service refuses it: ${parsed?.errMsg ?? "no answer"}`, todo);
  const leftMs = parsed.data.expireTimeSeconds * 1_000 - Date.now();
  const found = `good for ${Math.floor(leftMs / 3_600_000)} hours`;
  return leftMs < renewTokenMs ? warning("token", found, todo) : ok("token", found);
}

/** Asks over HTTP; undefined where nothing answers in 5 s. */
export async function ask(url: string, init: RequestInit = {}): Promise<Response | undefined> {
  return fetch(url, { ...init, signal: AbortSignal.timeout(timeoutMs) }).catch(() => undefined);
}
