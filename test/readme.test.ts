import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { globSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { findNatsServer } from "../src/embedded/find.ts";
import { spawnBroker } from "../src/embedded/process.ts";
import { whenGone } from "./helpers/process.ts";
import { startTestServer } from "./helpers/server.ts";

const root = resolve(import.meta.dirname, "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const manifest: Record<"scripts", object> = JSON.parse(read("package.json"));

/** Code of a document that is tried out. */
interface Snippet {
  readonly name: string;
  readonly language: string;
  readonly code: string;
  /** What the snippets before it have sent and no one has listened to yet; a listener gets it. */
  readonly sent: readonly string[];
}

/** The documents with such code: of README all of it, of the others what is marked, as in "```sh run". */
const documents = ["README.md", ...globSync("docs/*.md", { cwd: root }).toSorted()]
  .map((path) => ({ path, snippets: snippetsOf(read(path), path === "README.md" ? "(?: run)?" : " run") }))
  .filter(({ snippets }) => snippets.length > 0);

function snippetsOf(document: string, mark: string): Snippet[] {
  const blocks = document.matchAll(new RegExp(`^\`\`\`(\\w*)${mark}\\n(.*?)^\`\`\`$`, "gms"));
  const sent: string[] = [];
  return [...blocks].map(([, language = "", code = ""], index) => {
    if (isSender(code)) sent.push(...dataOf(code));
    return { name: `${index + 1}, ${language}: ${code.split("\n")[0]}`, language, code, sent: [...sent] };
  });
}

const silent = pino({ level: "silent" });

/** Programs that the tests started and that may still run. */
const running = new Set<Program>();
const dirs: string[] = [];

afterAll(async () => {
  for (const program of running) program.signal("SIGKILL");
  await Promise.all(dirs.map((dir) => rm(dir, { recursive: true, force: true })));
});

describe.each(documents)("the snippets of $path work as they are written, in one terminal:", ({ snippets }) => {
  /** Where the service answers, instead of at 127.0.0.1:10002. */
  let host = "";
  /** The terminal's environment, with what earlier snippets have exported. */
  let env: NodeJS.ProcessEnv = {};
  let sendResult = "";

  beforeAll(async () => {
    const service = await npmStart();
    const url = new URL(service.url);
    host = url.host;
    env = { ...service.env, MUSTREACH_PORT: url.port };
    return async () => {
      service.signal("SIGTERM");
      await service.ended;
    };
  });

  test.each(snippets)("snippet $name", async ({ language, code: written, sent }) => {
    const code = written.replaceAll("127.0.0.1:10002", host);
    if (language === "json") {
      expect(toShape(JSON.parse(sendResult))).toEqual(toShape(JSON.parse(code)));
    } else if (/^npm (start|test)\b/.test(code)) {
      const names = [...code.matchAll(/^npm (\w+)/gm)].map(([, name]) => name);
      expect(Object.keys(manifest.scripts)).toEqual(expect.arrayContaining(names));
    } else {
      const program = language === "sh" ? shell(code, env) : await script(language, code, env);
      if (isListener(code)) {
        await vi.waitFor(() => expect(dataOf(program.output())).toEqual(sent), { interval: 50 });
        program.signal("SIGINT");
        await program.ended;
        return;
      }
      expect(await program.ended, program.errors()).toBe(0);
      env = program.exported() ?? env;
      if (isSender(code)) expect(program.output()).toMatch(/serverMsgI[dD]"?: ?["'][0-9a-f]{32}["']/);
      if (/"errCode"/.test(program.output())) sendResult = program.output();
    }
  });

  test.runIf(snippets.some(({ language }) => language === "ts"))(
    "those in TypeScript are of the right types",
    async () => {
      const dir = await newScriptDir();
      for (const [index, { language, code }] of snippets.entries()) {
        if (language === "ts") await writeFile(join(dir, `snippet-${index}.ts`), code);
      }
      await writeFile(
        join(dir, "tsconfig.json"),
        JSON.stringify({ extends: "../../tsconfig.json", include: ["*.ts"] }),
      );
      const tsc = run(join(root, "node_modules", ".bin", "tsc"), ["--noEmit", "-p", dir], process.env);
      expect(await tsc.ended, tsc.output()).toBe(0);
    },
  );
});

test("npm start prints commands that show a notification arrive, and Ctrl-C stops everything within 5 s", async () => {
  const service = await npmStart();
  // Standard output is no terminal here: what collects it must not get a token.
  expect(service.output()).not.toMatch(/eyJ/);
  const [listen = "", send = ""] = service
    .output()
    .split("2. In a third")
    .map((part) => (part.match(/^(npm|export|curl) .*$/gm) ?? []).join("\n"));
  expect(listen).toContain(" listen ");

  // The other terminals know nothing of the service but what was printed.
  const listener = shell(listen, inheritedEnv());
  await vi.waitFor(() => expect(listener.errors()).toContain("mustreach listen: ready"));
  const sender = shell(send, inheritedEnv());
  expect(await sender.ended, sender.errors()).toBe(0);
  expect(sender.output()).toContain('"errCode":0');
  await vi.waitFor(() => expect(dataOf(listener.output())).toEqual(['{"id":77}']), { interval: 20 });

  const broker = Number(/nats-server\[(\d+)\]/.exec(service.errors())?.[1]);
  process.kill(broker, 0);
  service.signal("SIGINT");
  await service.ended;
  await whenGone(broker);

  listener.signal("SIGINT");
  await listener.ended;
});

test("the account in docs/operating.md is all that an external broker needs", async () => {
  const [accounts = ""] = /^system_account: .*?^}$/ms.exec(read("docs/operating.md")) ?? [];
  const dir = await mkdtemp(join(tmpdir(), "mustreach-account-"));
  dirs.push(dir);
  const port = randomInt(10_240, 32_768);
  const jetstream = `{ store_dir: "${join(dir, "store")}", sync_interval: always, max_file_store: 100GB }`;
  const config = `host: 127.0.0.1\nport: ${port}\njetstream: ${jetstream}\n${accounts.replace('"..."', '"p@ss"')}`;
  await writeFile(join(dir, "nats-server.conf"), config);
  const { path } = await findNatsServer({ log: silent });
  const broker = spawnBroker(path, join(dir, "nats-server.conf"), silent);
  onTestFinished(() => broker.stop());
  const url = `nats://mustreach:p%40ss@127.0.0.1:${port}`;
  const started = vi.waitFor(() => startTestServer({ NATS_URL: url, HEARTBEAT: "1s" }, dir));
  const server = await Promise.race([started, broker.exited.then((how) => Promise.reject(new Error(how)))]);
  onTestFinished(() => server.stop());

  const body = { sendUserID: "imAdmin", recvUserID: "alice", key: "k", data: "d", reliabilityLevel: 2 };
  const { json, headers } = await server.post("/msg/send_business_notification", body, await server.adminToken());
  expect(json.errCode).toBe(0);
  // Because the account may ask for it.
  expect(headers.get("Mustreach-Durability")).toBe("FSYNCED");
});

/** A program that a test started, with all that it starts itself. */
interface Program {
  /** Its exit code, or the signal that ended it, when it and all that it started have closed their outputs. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
  output(): string;
  errors(): string;
  /** What it would leave to the next command of its terminal; undefined while it runs, and when it failed. */
  exported(): NodeJS.ProcessEnv | undefined;
  /** Signals it and all that it started, as Ctrl-C in a terminal does. */
  signal(signal: NodeJS.Signals): void;
}

interface Service extends Program {
  readonly url: string;
  /** The environment that it was started in. */
  readonly env: NodeJS.ProcessEnv;
}

/** Runs `npm start` on a free port and new data, until it says how to try it. */
async function npmStart(): Promise<Service> {
  const dataDir = await mkdtemp(join(tmpdir(), "mustreach-readme-"));
  dirs.push(dataDir);
  const env = { ...inheritedEnv(), MUSTREACH_PORT: "0", MUSTREACH_ADMIN_PORT: "0", MUSTREACH_DATA_DIR: dataDir };
  const program = run("npm", ["start"], env);
  const failed = program.ended.then((how) => {
    throw new Error(`npm start ended (${how}):\n${program.errors()}`);
  });
  failed.catch(() => {});
  const started = vi.waitFor(() => expect(program.output()).toContain("Ctrl-C stops"), {
    interval: 20,
  });
  started.catch(() => {});
  await Promise.race([started, failed]);
  const [, url = ""] = /answers at (\S+)\. Try it/.exec(program.output()) ?? [];
  return { ...program, url, env };
}

/** Runs lines of a terminal, the first that fails ending them. */
function shell(code: string, env: NodeJS.ProcessEnv): Program {
  return run("bash", ["-euo", "pipefail", "-c", `${code}\nenv -0 >&3`], env);
}

/** Runs a file as part of the project, so that `mustreach/client` is the package itself. */
async function script(language: string, code: string, env: NodeJS.ProcessEnv): Promise<Program> {
  expect(["js", "ts"]).toContain(language);
  const path = join(await newScriptDir(), `snippet.${language}`);
  await writeFile(path, code);
  return run(process.execPath, [path], env);
}

async function newScriptDir(): Promise<string> {
  await mkdir(join(root, ".cache"), { recursive: true });
  const dir = await mkdtemp(join(root, ".cache", "readme-"));
  dirs.push(dir);
  return dir;
}

function run(command: string, args: string[], env: NodeJS.ProcessEnv): Program {
  const child: ChildProcess = spawn(command, args, {
    cwd: root,
    env,
    // A process group of its own, as each job of a terminal.
    detached: true,
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
  const collected = ["", "", "", ""];
  for (const [index, stream] of child.stdio.entries()) {
    stream?.on("data", (chunk) => {
      collected[index] += chunk;
    });
  }
  const program: Program = {
    ended: once(child, "close").then(([code, signal]) => {
      running.delete(program);
      return code ?? signal;
    }),
    output: () => collected[1] ?? "",
    errors: () => collected[2] ?? "",
    exported: () =>
      collected[3]
        ? Object.fromEntries([...collected[3].matchAll(/([^=\0]+)=([^\0]*)/g)].map(([, ...pair]) => pair))
        : undefined,
    signal(signal) {
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
        process.kill(-child.pid, signal);
    },
  };
  running.add(program);
  return program;
}

/** The environment of the tests, without settings of a service. */
function inheritedEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("MUSTREACH_")));
}

function isSender(code: string): boolean {
  return /send_?business_?notification\b| send |\.send\(/i.test(code);
}

/** Whether a snippet runs until it is interrupted. */
function isListener(code: string): boolean {
  return / listen |onRecvCustomBusinessMessage/.test(code);
}

/** The data of the notifications in an output, whether written as they are or as JSON. */
function dataOf(output: string): string[] {
  return [...output.matchAll(/\{\\?"id\\?":(\d+)\}/g)].map(([, id]) => `{"id":${id}}`);
}

/** What a JSON value is made of: names, types, and the form of ids. */
function toShape(value: unknown): unknown {
  if (typeof value === "string") return /^[0-9a-f]{32}$/.test(value) ? "id" : "string";
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.entries(value).map(([name, inner]) => [name, toShape(inner)]);
}
