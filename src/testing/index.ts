// The package's `mustreach/testing`: a service for the tests of an app or a back end that uses it. Runs in Node.
export { createTestServer, type TestServer, type TestServerOptions } from "./create-test-server.ts";
export type { ReceiveOptions, TestDevice } from "./test-device.ts";
