let due: (() => void)[] = [];

/**
 * Has work done at the end of this turn of the event loop, after the work that was there before it: what many have to
 * say to one peer then leaves in one system call, which costs more than everything else that they do. It must not throw.
 */
export function atEndOfTurn(work: () => void): void {
  if (due.push(work) === 1) setImmediate(run);
}

function run(): void {
  const works = due;
  due = [];
  for (const work of works) work();
}
