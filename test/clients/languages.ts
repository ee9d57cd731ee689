import { cp, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { builds, findVersion, installProtoc, root } from "../foreign/toolchain.ts";
import { startBrowser } from "./browser.ts";
import { type Program, processProgram } from "./program.ts";

/** A language that there is a client in. */
export interface Language {
  readonly name: string;
  /** What it needs: the tools whose version is asked, each with the arguments that ask it. */
  readonly needs: readonly (readonly string[])[];
  /** Makes its client ready to run. */
  build(): Promise<Program>;
  /** Whether `npm test` runs it: it needs no compiler, and is ready within seconds. */
  readonly isQuick: boolean;
  /** Whether it only sends and receives in the ring: `mustreach/client` has tests of its own. Default: false. */
  readonly isRingOnly?: boolean;
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
    isQuick: false,
    build: async () => toProgram("go", (dir) => builds.go(dir)),
  },
  {
    name: "python",
    needs: [["python3", "--version"]],
    isQuick: true,
    build: async () => toProgram("python", (dir) => builds.python(dir, "main.py")),
  },
  {
    name: "java",
    needs: [
      ["mvn", "-Dstyle.color=never", "--version"],
      ["java", "--version"],
    ],
    isQuick: false,
    build: async () => toProgram("java", (dir) => builds.java(dir, "Main")),
  },
  {
    name: "rust",
    needs: [
      ["cargo", "--version"],
      ["python3", "--version"],
    ],
    isQuick: false,
    build: async () => toProgram("rust", (dir) => builds.rust(dir, "mustreach-client")),
  },
  {
    name: "typescript",
    needs: [],
    isRingOnly: true,
    isQuick: true,
    build: async () => processProgram([process.execPath, join(clients, "typescript", "main.ts")], root),
  },
  {
    name: "curl",
    needs: [
      ["curl", "--version"],
      ["jq", "--version"],
      ["bash", "--version"],
    ],
    isQuick: true,
    build: async () => processProgram(["bash", join(clients, "curl", "main.sh")], root),
  },
  {
    name: "browser",
    needs: [["chromium", "--version"]],
    isQuick: true,
    build: () => startBrowser(join(clients, "browser")),
  },
  {
    name: "csharp",
    needs: [["dotnet", "--version"]],
    isQuick: false,
    build: async () => toProgram("csharp", (dir) => builds.csharp(dir)),
  },
];

/** What the tools of a language say of their version, or which of them is missing. */
export async function findTools({ needs }: Language): Promise<{ versions: string } | { missing: string }> {
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

/** Builds in a folder that has nothing but `proto/` and the client's own sources. */
async function toProgram(name: string, build: (dir: string) => Promise<string[]>): Promise<Program> {
  protoc ??= installProtoc();
  await protoc;
  const dir = join(root, ".cache", "clients", name);
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  await cp(join(root, "proto"), join(dir, "proto"), { recursive: true });
  await cp(join(clients, name), dir, { recursive: true });
  return processProgram(await build(dir), dir);
}
