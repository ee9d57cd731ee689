import { Command } from "commander";

/** `serve`: what `npm start` does. */
export function serveCommand(): Command {
  return new Command("serve").description("run the service until Ctrl-C").action(async () => {
    // Loaded here: the other commands would take twice as long to start with the whole service in them.
    const { runService } = await import("../main.ts");
    await runService(process.env);
  });
}
