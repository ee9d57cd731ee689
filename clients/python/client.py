"""Sends, and receives on for as long as the device lives: what an application copies."""

import os
import queue
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Callable

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mustreach.delivery.v1 import delivery_pb2 as delivery
from mustreach.delivery.v1.delivery_pb2_grpc import DeliveryServiceStub
from mustreach.msg.v1 import msg_pb2 as msg
from mustreach.msg.v1.msg_pb2_grpc import MsgServiceStub

# How long one attempt to send may take, and all of them together, in seconds.
ATTEMPT_TIMEOUT = 10
SEND_TIMEOUT = 60
# The delays before connecting or sending again, in seconds: doubled each time, random in part.
MIN_DELAY = 0.5
MAX_DELAY = 30
# A stream that is silent for three heartbeats of the service (15 s each) is dead.
IDLE_TIMEOUT = 50

TOKEN_EXPIRED = 1501
# Trying again does not mend these: a wrong argument, no permission, a token that is wrong or was revoked.
FATAL = {1001, 1002, 1503, 1504, 1505, 1506, 1507}


@dataclass
class MustreachError(Exception):
    """What an error says, from its google.rpc details. err_code is 0 when the service did not answer."""

    err_code: int
    err_msg: str
    err_dlt: str
    # How long to wait before trying again, in seconds; None when trying again does not mend it.
    retry_after: float | None = None
    # The fields of the request that were wrong, and why.
    fields: dict[str, str] = field(default_factory=dict)


def read_error(error: grpc.RpcError) -> MustreachError:
    away = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
    read = MustreachError(0, error.code().name, error.details() or "", retry_after=0 if away else None)
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info, retry, bad = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.RetryInfo(),
            error_details_pb2.BadRequest(),
        )
        if detail.Unpack(info) and info.domain == "mustreach":
            read.err_code = int(info.metadata["errCode"])
            read.err_msg, read.err_dlt = info.metadata["errMsg"], info.metadata["errDlt"]
        elif detail.Unpack(retry):
            read.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(bad):
            read.fields = {violation.field: violation.description for violation in bad.field_violations}
    return read


class Backoff:
    """Delays that double with each failure, and are random in part so that clients spread out."""

    def __init__(self) -> None:
        self._failures = 0

    def next(self) -> float:
        delay = min(MAX_DELAY, MIN_DELAY * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        return delay * (0.5 + random.random() / 2)

    def reset(self) -> None:
        self._failures = 0


def connect(
    address: str, ca_file: str | None = None, cert_file: str | None = None, key_file: str | None = None
) -> grpc.Channel:
    """Opens a channel: with `ca_file`, the authorities that are believed, in PEM, over TLS, else in plain text. With
    `cert_file` and `key_file` the client shows a certificate of its own (mTLS)."""
    # grpc waits up to two minutes before it connects again, unless it is told.
    options = [("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 5_000)]
    if not ca_file:
        return grpc.insecure_channel(address, options)
    ca, key, cert = (read_file(path) if path else None for path in (ca_file, key_file, cert_file))
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert), options)


def read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def send(
    channel: grpc.Channel, token: Callable[[], str], request: msg.SendBusinessNotificationRequest
) -> msg.SendBusinessNotificationResponse:
    """Sends until there is an answer. The request has a client_msg_id, so that it is accepted once."""
    if not request.client_msg_id:
        raise ValueError("a send that is tried again needs a client_msg_id")
    backoff = Backoff()
    give_up_at = time.monotonic() + SEND_TIMEOUT
    while True:
        try:
            return MsgServiceStub(channel).SendBusinessNotification(
                request, metadata=[("token", token())], timeout=ATTEMPT_TIMEOUT
            )
        except grpc.RpcError as thrown:
            error = read_error(thrown)
        if error.retry_after is None:
            raise error
        delay = max(error.retry_after, backoff.next())
        if time.monotonic() + delay > give_up_at:
            raise error
        time.sleep(delay)


class Record:
    """How far the device is: the sequence and its epoch, in a file. Keep it where your handler's effects are, in the
    same transaction, and each notification takes effect exactly once even when the machine dies in between."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.sequence: int | None = None
        self.epoch = ""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                sequence, _, self.epoch = file.read().strip().partition(" ")
            self.sequence = int(sequence)

    def save(self, sequence: int, epoch: str) -> None:
        with open(self._path + ".new", "w", encoding="utf-8") as file:
            file.write(f"{sequence} {epoch}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(self._path + ".new", self._path)
        self.sequence, self.epoch = sequence, epoch


class Receiver:
    """Receives for one device. `handle` gets each event once, in order: a SubscribeResponse."""

    def __init__(
        self,
        channel: grpc.Channel,
        token: Callable[[], str],
        device_id: str,
        record: Record,
        handle: Callable[[delivery.SubscribeResponse], None],
        on_expired: Callable[[], None] = lambda: None,
    ) -> None:
        self._stub = DeliveryServiceStub(channel)
        self._token = token
        self._device_id = device_id
        self._record = record
        self._handle = handle
        self._on_expired = on_expired
        self._backoff = Backoff()

    def run(self) -> MustreachError:
        """Runs one session after another, until an error that connecting again does not mend."""
        refused = None
        while True:
            token = self._token()
            # After 1501 with a new token only.
            if token == refused:
                time.sleep(self._backoff.next())
                continue
            reconnect_after = None
            try:
                reconnect_after = self._run_session(token)
            except grpc.RpcError as thrown:
                error = read_error(thrown)
                if error.err_code in FATAL:
                    return error
                if error.err_code == TOKEN_EXPIRED:
                    refused = token
                    self._on_expired()
                    continue
                reconnect_after = error.retry_after or None
            delay = self._backoff.next()
            if reconnect_after is not None:
                # At least as long as the service asks for, and not all devices at once.
                delay = reconnect_after + random.random() * max(MIN_DELAY, reconnect_after / 2)
            time.sleep(delay)

    def _run_session(self, token: str) -> float | None:
        """Runs one stream to its end. Returns the service's advice how long to wait, in seconds."""
        outgoing: queue.SimpleQueue = queue.SimpleQueue()
        subscribe = delivery.SubscribeRequest(
            device_id=self._device_id, after_sequence=self._record.sequence, epoch=self._record.epoch
        )
        outgoing.put(delivery.ReceiveRequest(subscribe=subscribe))
        stream = self._stub.Receive(iter(outgoing.get, None), metadata=[("token", token)])
        watchdog = None
        try:
            while True:
                watchdog = threading.Timer(IDLE_TIMEOUT, stream.cancel)
                watchdog.daemon = True
                watchdog.start()
                event = next(stream, None)
                watchdog.cancel()
                if event is None:
                    return None
                if event.WhichOneof("event") == "reconnect":
                    return event.reconnect.after_ms / 1_000
                self._take(event, outgoing)
        finally:
            watchdog.cancel()
            outgoing.put(None)
            stream.cancel()

    def _take(self, event: delivery.SubscribeResponse, outgoing: queue.SimpleQueue) -> None:
        kind = event.WhichOneof("event")
        if kind == "ready":
            self._backoff.reset()
            known = self._record.sequence
            # Another store than the one we know: take what comes.
            if known is not None and event.ready.resume_sequence < known:
                self._record.save(event.ready.resume_sequence, event.ready.epoch)
            self._handle(event)
            return
        place = place_of(event)
        # A heartbeat, or an event of a newer service.
        if place is None:
            return
        sequence, epoch = place
        # An online push has no place, and is neither recorded nor acknowledged.
        if sequence == 0:
            self._handle(event)
            return
        is_new = self._record.sequence is None or sequence > self._record.sequence
        # REASON_STORE_CHANGED sets the record back, to a sequence that may be below it.
        if kind == "gap" and event.gap.reason == delivery.Gap.REASON_STORE_CHANGED:
            is_new = True
        # Of what this device has handled, it is told at the same sequence that another one has, too.
        if is_new or kind == "settled":
            self._handle(event)
        if is_new:
            self._record.save(sequence, epoch)
        acknowledgement = delivery.Acknowledgement(sequence=self._record.sequence, epoch=self._record.epoch)
        outgoing.put(delivery.ReceiveRequest(acknowledge=acknowledgement))


def place_of(event: delivery.SubscribeResponse) -> tuple[int, str] | None:
    """The sequence and the epoch to record and acknowledge for an event; None for one that has none."""
    match event.WhichOneof("event"):
        case "notification":
            return event.notification.sequence, event.notification.epoch
        case "message":
            return event.message.notification.sequence, event.message.notification.epoch
        case "recall":
            return event.recall.sequence, event.recall.epoch
        case "settled":
            return event.settled.sequence, event.settled.epoch
        case "gap":
            return event.gap.to, event.gap.epoch
    return None
