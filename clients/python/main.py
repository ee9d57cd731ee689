"""Sends one notification, or receives and prints: `main.py send USER ID KEY DATA`, `main.py receive`."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "gen"))

import grpc
from mustreach.delivery.v1 import delivery_pb2 as delivery
from mustreach.msg.v1 import msg_pb2 as msg

import client


def read_token() -> str:
    """Whoever renews the token writes the new one there."""
    with open(os.environ["TOKEN_FILE"], encoding="utf-8") as file:
        return file.read().strip()


def connect() -> grpc.Channel:
    files = (os.environ.get(name) for name in ("CA_FILE", "CERT_FILE", "KEY_FILE"))
    return client.connect(os.environ["ADDRESS"], *files)


def say(*words: object) -> None:
    print(*words, sep="\t", flush=True)


def send(user: str, client_msg_id: str, key: str, data: str) -> int:
    request = msg.SendBusinessNotificationRequest(
        send_user_id="imAdmin",
        recv_user_id=user,
        client_msg_id=client_msg_id,
        key=key,
        data=data,
        reliability_level=2,
    )
    try:
        sent = client.send(connect(), read_token, request)
    except client.MustreachError as error:
        say("error", error.err_code, error.err_msg, ",".join(error.fields))
        return 1
    say("sent", sent.client_msg_id, sent.server_msg_id)
    return 0


def handle(event: delivery.SubscribeResponse) -> None:
    match event.WhichOneof("event"):
        case "ready":
            say("ready", event.ready.resume_sequence)
        case "notification":
            got = event.notification
            say("notification" if got.sequence else "push", got.sequence, got.client_msg_id, got.key, got.data)
        case "message":
            got = event.message.notification
            say("message", got.sequence, got.client_msg_id, event.message.conversation_id)
        case "recall":
            say("recall", event.recall.sequence, event.recall.client_msg_id)
        case "settled":
            say("settled", event.settled.sequence, event.settled.client_msg_id)
        case "gap":
            reason = delivery.Gap.DESCRIPTOR.enum_types_by_name["Reason"].values_by_number.get(event.gap.reason)
            say("gap", event.gap.to, reason.name if reason else event.gap.reason)


def receive() -> int:
    receiver = client.Receiver(
        connect(),
        read_token,
        os.environ["DEVICE_ID"],
        client.Record(os.environ["STATE_FILE"]),
        handle,
        on_expired=lambda: say("expired"),
    )
    error = receiver.run()
    say("ended", error.err_code, error.err_msg, error.err_dlt)
    return 1


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    sys.exit({"send": send, "receive": receive}[command](*rest))
