import { Command } from "commander";
import { runService } from "../main.ts";

/** `serve`: what `npm start` does. */
export function serveCommand(): Command {
  return new Command("serve").description("run the service until Ctrl-C").action(() => runService(process.env));
}
