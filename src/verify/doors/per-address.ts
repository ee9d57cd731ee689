/** Has each address connected to once, so that its connections are kept; addresses are few. */
export function perAddress<T>(connect: (baseUrl: string) => T): (baseUrl: string) => T {
  const connected = new Map<string, T>();
  return (baseUrl) => {
    const there = connected.get(baseUrl) ?? connect(baseUrl);
    connected.set(baseUrl, there);
    return there;
  };
}
