import { join } from "node:path";
import { builds, findVersion, installProtoc, isUnreached, root } from "../foreign/toolchain.ts";
import { startBrowser } from "./browser.ts";
import { buildOnce } from "./build-once.ts";
import { type Program, processProgram } from "./program.ts";

/** A language that there is a client in. */
export interface Language {
  readonly name: string;
  /** What it needs: the tools whose version is asked, each with the arguments that ask it. */
  readonly needs: readonly (readonly string[])[];
  /** Whether protoc is needed, which pip installs. Default: false. */
  readonly needsProtoc?: boolean;
  /** Makes its client ready to run, with tools of these versions. */
  build(versions: string): Promise<Program>;
  /** Whether it only sends and receives in the ring: `mustreach/client` has tests of its own. Default: false. */
  readonly isRingOnly?: boolean;
  /** Whether it speaks TLS with the files that it is given, and shows a certificate of its own. Default: false. */
  readonly speaksTls?: boolean;
}

const clients = join(root, "clients");

/** In the order of the ring, in which each sends to the next. */
export const languages: readonly Language[] = [
  {
    name: "go",
    needs: [
      ["go", "version"],
      ["python3", "--version"],
    ],
    needsProtoc: true,
    build: (versions) => toProgram("go", versions, (dir) => builds.go(dir)),
    speaksTls: true,
  },
  {
    name: "python",
    needs: [["python3", "--version"]],
    needsProtoc: true,
    build: (versions) => toProgram("python", versions, (dir) => builds.python(dir, "main.py")),
    speaksTls: true,
  },
  {
    name: "java",
    needs: [
      ["mvn", "-Dstyle.color=never", "--version"],
      ["java", "--version"],
    ],
    build: (versions) => toProgram("java", versions, (dir) => builds.java(dir, "Main")),
    speaksTls: true,
  },
  {
    name: "rust",
    needs: [
      ["cargo", "--version"],
      ["python3", "--version"],
    ],
    needsProtoc: true,
    build: (versions) => toProgram("rust", versions, (dir) => builds.rust(dir, "mustreach-client")),
    speaksTls: true,
  },
  {
    name: "typescript",
    needs: [],
    isRingOnly: true,
    build: async () => processProgram([process.execPath, join(clients, "typescript", "main.ts")], root),
  },
  {
    name: "curl",
    needs: [
      ["curl", "--version"],
      ["jq", "--version"],
      ["bash", "--version"],
    ],
    build: async () => processProgram(["bash", join(clients, "curl", "main.sh")], root),
    speaksTls: true,
  },
  {
    name: "browser",
    needs: [["chromium", "--version"]],
    build: () => startBrowser(join(clients, "browser")),
  },
  {
    name: "csharp",
    needs: [["dotnet", "--version"]],
    build: (versions) => toProgram("csharp", versions, (dir) => builds.csharp(dir)),
  },
];

/** What the tools of a language say of their version, or which of them is missing. */
async function findTools({ needs }: Language): Promise<{ versions: string } | { missing: string }> {
  const versions: string[] = [];
  for (const [command = "", ...args] of needs) {
    const version = await findVersion(command, ...args);
    if (version === undefined) return { missing: command };
    versions.push(version);
  }
  return { versions: versions.join(", ") || `Node.js ${process.version}` };
}

/** protoc is installed once, whichever language asks first. */
let protoc: Promise<string> | undefined;

/** A client that can be run, with what it was built by, or why there is none: what it needs is not on this machine. */
export type Ready = { readonly program: Program; readonly versions: string } | { readonly missing: string };

/** @throws what a tool says of a client that it cannot build. */
export async function makeReady(language: Language): Promise<Ready> {
  const tools = await findTools(language);
  if ("missing" in tools) return { missing: `${tools.missing} is missing` };
  if (language.needsProtoc) {
    protoc ??= installProtoc();
    const isThere = await protoc.then(Boolean, () => false);
    if (!isThere) return { missing: "pip cannot install grpcio-tools" };
  }
  try {
    return { ...tools, program: await language.build(tools.versions) };
  } catch (error) {
    if (isUnreached(error)) return { missing: "the registry of its packages is not reached" };
    throw error;
  }
}

async function toProgram(
  name: string,
  versions: string,
  build: (dir: string) => Promise<readonly string[]>,
): Promise<Program> {
  const { command, dir } = await buildOnce(name, versions, build);
  return processProgram(command, dir);
}
