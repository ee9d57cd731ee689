import { existsSync, globSync } from "node:fs";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { mavenBin, root, runWith, toolEnv } from "../foreign/toolchain.ts";

/**
 * Generates the stubs of a client with the template of buf that is beside its code, in a folder that has nothing else but
 * `proto/`. Resolves to what has come of it, in words.
 *
 * @throws what buf complains of, or that it has written nothing.
 */
export async function generateByBuf(name: string): Promise<string> {
  const template = join(root, "clients", name, "buf.gen.yaml");
  if (!existsSync(template)) return "no stubs";
  const text = await readFile(template, "utf8");
  const plugins = [...text.matchAll(/local: ([\w-]+)/g)].map(([, plugin = ""]) => plugin);
  if (text.includes("protoc_builtin:")) plugins.push("protoc");
  // That of the Python package knows no Java.
  const PATH = name === "java" ? [mavenBin, toolEnv.PATH].join(delimiter) : toolEnv.PATH;
  const missing = plugins.filter((plugin) => !isOnPath(plugin, PATH));
  if (missing.length > 0) return `buf not tried: ${missing.join(", ")} is missing`;
  const dir = await mkdtemp(join(tmpdir(), "mustreach-buf-"));
  try {
    await cp(join(root, "proto"), join(dir, "proto"), { recursive: true });
    await runWith({ ...toolEnv, PATH }, dir, "buf", "generate", "--template", template);
    const files = globSync("gen/**/*.*", { cwd: dir });
    if (files.length < plugins.length) throw new Error(`buf has generated ${files.length} files`);
    return `${files.length} files by buf`;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function isOnPath(command: string, path = ""): boolean {
  return path.split(delimiter).some((dir) => existsSync(join(dir, command)));
}
