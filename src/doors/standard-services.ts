import { createServiceImplSpec, type ServiceImplSpec } from "@connectrpc/connect";
import { file_google_rpc_error_details } from "../gen/google/rpc/error_details_pb.ts";
import { Health } from "../gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionV1alpha } from "../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { createHealthService, type HealthOptions } from "../grpc-health/service.ts";
import { createReflectionServices } from "../grpc-reflection/service.ts";

export interface StandardServicesOptions extends Omit<HealthOptions, "services"> {
  /** The services that these speak of. */
  readonly services: readonly ServiceImplSpec[];
  /** Whether there is reflection. */
  readonly hasReflection: boolean;
}

/** Creates what the tools of gRPC expect of every server: health, and reflection. */
export function createStandardServices({ services, hasReflection, ...options }: StandardServicesOptions) {
  const own = services.map(({ service }) => service);
  const health = createHealthService({ ...options, services: own.map(({ typeName }) => typeName) });
  const standard = [createServiceImplSpec<typeof Health>(Health, health)];
  if (!hasReflection) return standard;
  const described = [...own, Health, ServerReflection, ServerReflectionV1alpha];
  const files = [file_google_rpc_error_details];
  const { v1, v1alpha } = createReflectionServices({ services: described, files, closing: options.closing });
  return [
    ...standard,
    createServiceImplSpec<typeof ServerReflection>(ServerReflection, v1),
    createServiceImplSpec<typeof ServerReflectionV1alpha>(ServerReflectionV1alpha, v1alpha),
  ];
}
