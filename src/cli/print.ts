/** Prints a line of JSON on standard output. */
export function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
