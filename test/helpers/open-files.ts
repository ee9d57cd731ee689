/** What of the report is read here. */
interface Report {
  readonly userLimits?: { readonly open_files?: { readonly soft: number | "unlimited" } };
}

/**
 * Looks whether this process, and so each that it starts, may have as many files open: sockets are files. Node has raised
 * its limit as far as it may by itself.
 *
 * @throws what is missing.
 */
export function requireOpenFiles(needed: number, what: string): void {
  // Else it looks up the names of all addresses that we are connected to.
  Object.assign(process.report, { excludeNetwork: true });
  const { userLimits } = process.report.getReport() as Report;
  // Windows has no such limit.
  const limit = userLimits?.open_files?.soft ?? "unlimited";
  if (limit === "unlimited" || limit >= needed) return;
  throw new Error(`${what} need ${needed} open files in one process, and ${limit} are allowed: raise ulimit -Hn`);
}
