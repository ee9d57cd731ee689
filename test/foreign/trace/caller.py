"""Sends one notification over gRPC in a span of its own, which it exports by OTLP as any other service does."""

import json
import os
import secrets
import sys
import time
import urllib.request

sys.path.insert(0, "gen")

import grpc
from mustreach.msg.v1.msg_pb2 import SendBusinessNotificationRequest
from mustreach.msg.v1.msg_pb2_grpc import MsgServiceStub

channel = grpc.insecure_channel(os.environ["ADDRESS"])
grpc.channel_ready_future(channel).result(timeout=30)
stub = MsgServiceStub(channel)


def send():
    trace, span, start = secrets.token_hex(16), secrets.token_hex(8), time.time_ns()
    request = SendBusinessNotificationRequest(
        send_user_id="imAdmin", recv_user_id="alice", key="order.paid", data='{"id":77}', reliability_level=2)
    metadata = [("token", os.environ["TOKEN"]), ("traceparent", f"00-{trace}-{span}-01")]
    stub.SendBusinessNotification(request, metadata=metadata, timeout=10)
    return {
        "traceId": trace, "spanId": span, "name": "pay order", "kind": 3,
        "startTimeUnixNano": str(start), "endTimeUnixNano": str(time.time_ns())}


# What comes first compiles code and opens connections.
spans = [send() for _ in range(20)]
resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop (Python)"}}]}
body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans[-1:]}]}]}
endpoint = os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] + "/v1/traces"
headers = {"content-type": "application/json"}
urllib.request.urlopen(urllib.request.Request(endpoint, json.dumps(body).encode(), headers), timeout=10).read()
print(spans[-1]["traceId"])
