#!/usr/bin/env node
// The command line of the installed package. For whatever Node there is: an older one would only name a syntax error.
const [major, minor] = process.versions.node.split(".").map(Number);
if (major > 24 || (major === 24 && minor >= 2)) {
  await import("./dist/cli/main.js");
} else {
  process.stderr.write(`mustreach: Node 24.2 or later is needed, this is ${process.version} (https://nodejs.org)\n`);
  process.exitCode = 1;
}
