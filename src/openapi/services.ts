import type { DescMethod } from "@bufbuild/protobuf";
import { AuthService } from "../gen/mustreach/auth/v1/auth_pb.ts";
import { DeadLetterService } from "../gen/mustreach/delivery/v1/dead_letter_pb.ts";
import { DeliveryService } from "../gen/mustreach/delivery/v1/delivery_pb.ts";
import { GroupService } from "../gen/mustreach/directory/v1/directory_pb.ts";
import { MsgService } from "../gen/mustreach/msg/v1/msg_pb.ts";
import { ReportService } from "../gen/mustreach/msg/v1/report_pb.ts";
import { OpenimService } from "../gen/mustreach/openim/v1/openim_pb.ts";
import { restPath } from "../json/rest-path.ts";

/** The services of the contract: the one with the documented path first. */
export const services = [
  MsgService,
  DeliveryService,
  GroupService,
  AuthService,
  DeadLetterService,
  ReportService,
  OpenimService,
];

/** A method with its path over REST. */
export interface RestRoute {
  readonly path: string;
  readonly method: DescMethod;
}

/** The methods that have a path over REST, in the order of the contract. */
export function listRestRoutes(): RestRoute[] {
  return services
    .flatMap(({ methods }): readonly DescMethod[] => methods)
    .flatMap((method) => {
      const path = restPath(method);
      return path === undefined ? [] : [{ path, method }];
    });
}
