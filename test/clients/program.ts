import { spawn } from "node:child_process";
import { once } from "node:events";

/** Files in PEM. */
export interface TlsFiles {
  /** The authorities that are believed. Without it nothing is spoken over TLS. */
  readonly caFile?: string;
  /** A certificate of the client's own, and its key. */
  readonly certFile?: string;
  readonly keyFile?: string;
}

/** What a client is told by its environment (clients/README.md). */
export interface Surroundings extends TlsFiles {
  /** Host and port of the service. */
  readonly address: string;
  /** The file with the token. */
  readonly tokenFile: string;
  readonly deviceId: string;
  /** The file in which a receiver keeps how far it is. */
  readonly stateFile: string;
}

/** A client of `clients/`, built. */
export interface Program {
  run(args: readonly string[], surroundings: Surroundings): Promise<Running>;
  /** Ends what it runs in, where that is one for all runs. */
  stop?(): Promise<void>;
}

/** One run of a client. */
export interface Running {
  /** Its next line, or undefined when it has ended. */
  nextLine(): Promise<string | undefined>;
  /** Ends it at once, without a chance to say goodbye. */
  kill(): Promise<void>;
  /** What it has said for people. */
  readonly complaints: string;
}

/** Lines as they come, for whoever asks for the next one. */
export function createLines() {
  const lines: string[] = [];
  let ended = false;
  let wake = () => {};
  return {
    push(line: string) {
      lines.push(line);
      wake();
    },
    end() {
      ended = true;
      wake();
    },
    async next(): Promise<string | undefined> {
      while (lines.length === 0 && !ended) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return lines.shift();
    },
  };
}

/** A client that is a process, run by a command in a folder. */
export function processProgram(command: readonly string[], cwd: string): Program {
  const [file = "", ...first] = command;
  return {
    async run(args, { address, tokenFile, deviceId, stateFile, caFile, certFile, keyFile }) {
      const child = spawn(file, [...first, ...args], {
        cwd,
        // A group of its own: a shell's children end with it.
        detached: true,
        env: {
          ...process.env,
          ADDRESS: address,
          TOKEN_FILE: tokenFile,
          DEVICE_ID: deviceId,
          STATE_FILE: stateFile,
          CA_FILE: caFile,
          CERT_FILE: certFile,
          KEY_FILE: keyFile,
          // By which Java reads its arguments.
          LC_ALL: "C.UTF-8",
        },
        stdio: ["ignore", "pipe", "pipe"],
      });
      const closed = once(child, "close").then(() => {});
      const lines = createLines();
      let complaints = "";
      let rest = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        // Not by readline, for which U+2028 ends a line, too.
        const parts = (rest + text).split("\n");
        rest = parts.pop() ?? "";
        for (const line of parts) lines.push(line.replace(/\r$/, ""));
      });
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        complaints += text;
      });
      void closed.then(lines.end, lines.end);
      return {
        nextLine: () => lines.next(),
        async kill() {
          if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
            process.kill(-child.pid, "SIGKILL");
          }
          await closed;
        },
        get complaints() {
          return complaints;
        },
      };
    },
  };
}
