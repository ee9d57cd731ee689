"""Sends to USER_ID, receives, acknowledges, and reads the details of an error."""

import os
import sys

sys.path.insert(0, "gen")

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mustreach.delivery.v1.delivery_pb2 import AckRequest, SubscribeRequest
from mustreach.delivery.v1.delivery_pb2_grpc import DeliveryServiceStub
from mustreach.msg.v1.msg_pb2 import SendBusinessNotificationRequest
from mustreach.msg.v1.msg_pb2_grpc import MsgServiceStub

channel = grpc.insecure_channel(os.environ["ADDRESS"])
user = os.environ["USER_ID"]
admin = [("token", os.environ["TOKEN"])]
token = [("token", os.environ["USER_TOKEN"])]
msg = MsgServiceStub(channel)
delivery = DeliveryServiceStub(channel)


def request(**change):
    fields = {"send_user_id": "imAdmin", "recv_user_id": user, "key": "order.paid", "data": "{}"}
    return SendBusinessNotificationRequest(reliability_level=2, **(fields | change))


def read_error_info(error):
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info
    raise AssertionError("the error has no ErrorInfo")


sent = msg.SendBusinessNotification(request(), metadata=admin, timeout=10)

stream = delivery.Subscribe(SubscribeRequest(device_id="phone"), metadata=token, timeout=30)
assert next(stream).ready.pending == 1
got = next(stream).notification
assert (got.server_msg_id, got.key, got.data) == (sent.server_msg_id, "order.paid", "{}"), got
delivery.Ack(AckRequest(device_id="phone", sequence=got.sequence), metadata=token, timeout=10)
stream.cancel()

again = delivery.Subscribe(SubscribeRequest(device_id="phone"), metadata=token, timeout=30)
assert next(again).ready.resume_sequence == got.sequence
again.cancel()

try:
    msg.SendBusinessNotification(request(key=""), metadata=admin, timeout=10)
    raise AssertionError("it was accepted")
except grpc.RpcError as error:
    info = read_error_info(error)
    assert (info.reason, info.metadata["errCode"]) == ("ARGS_ERROR", "1001"), info

print(f"sequence {got.sequence}, then {info.metadata['errMsg']} {info.metadata['errCode']}")
