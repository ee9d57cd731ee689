import io.grpc.ManagedChannel;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Supplier;
import mustreach.delivery.v1.Acknowledgement;
import mustreach.delivery.v1.DeliveryServiceGrpc;
import mustreach.delivery.v1.Gap;
import mustreach.delivery.v1.ReceiveRequest;
import mustreach.delivery.v1.SubscribeRequest;
import mustreach.delivery.v1.SubscribeResponse;

/** Receives for one device, on for as long as it lives. */
public final class Receiver {
  /** A stream that is silent for three heartbeats of the service (15 s each) is dead. */
  private static final Duration IDLE_TIMEOUT = Duration.ofSeconds(50);

  private final ManagedChannel channel;
  private final Supplier<String> token;
  private final String deviceId;
  private final DeviceRecord record;
  private final Consumer<SubscribeResponse> handle;
  private final Runnable onExpired;
  private final Backoff backoff = new Backoff();

  /**
   * @param token gives the user's token; asked again after 1501.
   * @param handle gets each event once, in order. What it fails to handle comes again.
   * @param onExpired says that a new token is needed.
   */
  public Receiver(
      ManagedChannel channel,
      Supplier<String> token,
      String deviceId,
      DeviceRecord record,
      Consumer<SubscribeResponse> handle,
      Runnable onExpired) {
    this.channel = channel;
    this.token = token;
    this.deviceId = deviceId;
    this.record = record;
    this.handle = handle;
    this.onExpired = onExpired;
  }

  /** Runs one session after another, and returns the error that connecting again does not mend. */
  public MustreachException run() throws InterruptedException {
    String refused = null;
    while (true) {
      String current = token.get();
      // After 1501 with a new token only.
      if (current.equals(refused)) {
        Thread.sleep(backoff.next().toMillis());
        continue;
      }
      Optional<Duration> advice;
      try {
        advice = runSession(current);
      } catch (MustreachException error) {
        if (error.isFatal()) return error;
        if (error.errCode() == MustreachException.TOKEN_EXPIRED) {
          refused = current;
          onExpired.run();
          continue;
        }
        advice = error.retryAfter().filter(delay -> !delay.isZero());
      }
      Thread.sleep(advice.map(Receiver::spread).orElseGet(backoff::next).toMillis());
      // Not to wait for grpc's own back-off as well, which grows to two minutes.
      channel.resetConnectBackoff();
    }
  }

  /** At least as long as the service asks for, and not all devices at once. */
  private static Duration spread(Duration advice) {
    long most = Math.max(Backoff.MIN_DELAY.toMillis(), advice.toMillis() / 2);
    return advice.plusMillis(ThreadLocalRandom.current().nextLong(most));
  }

  /** What comes of a stream: an event, or its end, with an error or without. */
  private record Incoming(SubscribeResponse event, Throwable error) {}

  /** Runs one stream to its end, and returns the service's advice how long to wait. */
  private Optional<Duration> runSession(String current) throws MustreachException, InterruptedException {
    Stream stream = new Stream();
    DeliveryServiceGrpc.newStub(channel).withInterceptors(Tokens.attach(current)).receive(stream);
    SubscribeRequest.Builder subscribe = SubscribeRequest.newBuilder().setDeviceId(deviceId);
    if (record.place() != null) {
      subscribe.setAfterSequence(record.place().sequence()).setEpoch(record.place().epoch());
    }
    stream.requests.onNext(ReceiveRequest.newBuilder().setSubscribe(subscribe).build());
    try {
      while (true) {
        Incoming incoming = stream.incoming.poll(IDLE_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
        if (incoming == null) return Optional.empty();
        if (incoming.error() != null) throw MustreachException.of(incoming.error());
        if (incoming.event() == null) return Optional.empty();
        if (incoming.event().hasReconnect()) {
          return Optional.of(Duration.ofMillis(incoming.event().getReconnect().getAfterMs()));
        }
        take(incoming.event(), stream);
      }
    } finally {
      stream.requests.cancel("the session is over", null);
    }
  }

  /** Handles one event, records it and acknowledges it, in this order. */
  private void take(SubscribeResponse event, Stream stream) {
    if (event.hasReady()) {
      backoff.reset();
      Place ready = new Place(event.getReady().getResumeSequence(), event.getReady().getEpoch());
      // Another store than the one we know: take what comes.
      if (record.place() != null && ready.sequence() < record.place().sequence()) record.save(ready);
      handle.accept(event);
      return;
    }
    Place place = Place.of(event);
    // A heartbeat, or an event of a newer service.
    if (place == null) return;
    // An online push has no place, and is neither recorded nor acknowledged.
    if (place.sequence() == 0) {
      handle.accept(event);
      return;
    }
    boolean isNew = record.place() == null || place.sequence() > record.place().sequence();
    // It sets the record back, to a sequence that may be below it.
    isNew |= event.hasGap() && event.getGap().getReason() == Gap.Reason.REASON_STORE_CHANGED;
    // Of what this device has handled, it is told at the same sequence that another one has, too.
    if (isNew || event.hasSettled()) handle.accept(event);
    if (isNew) record.save(place);
    Acknowledgement acknowledgement =
        Acknowledgement.newBuilder()
            .setSequence(record.place().sequence())
            .setEpoch(record.place().epoch())
            .build();
    stream.requests.onNext(ReceiveRequest.newBuilder().setAcknowledge(acknowledgement).build());
  }

  /** One stream, whose events wait to be taken: as many as the window, since nothing more is sent unacknowledged. */
  private static final class Stream implements ClientResponseObserver<ReceiveRequest, SubscribeResponse> {
    final BlockingQueue<Incoming> incoming = new LinkedBlockingQueue<>();
    ClientCallStreamObserver<ReceiveRequest> requests;

    @Override
    public void beforeStart(ClientCallStreamObserver<ReceiveRequest> stream) {
      requests = stream;
    }

    @Override
    public void onNext(SubscribeResponse event) {
      incoming.add(new Incoming(event, null));
    }

    @Override
    public void onError(Throwable error) {
      incoming.add(new Incoming(null, error));
    }

    @Override
    public void onCompleted() {
      incoming.add(new Incoming(null, null));
    }
  }
}
