/** How often it is said that something is waited for, in milliseconds. */
const everyMs = 10_000;

/** Says why it is waited for: of what goes wrong meanwhile the first, and then one every ten seconds. */
export function sayWaiting(say: (err: unknown) => void): (err: unknown) => void {
  let nextMs = 0;
  return (err) => {
    if (performance.now() < nextMs) return;
    nextMs = performance.now() + everyMs;
    say(err);
  };
}
