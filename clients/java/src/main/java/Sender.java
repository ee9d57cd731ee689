import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import mustreach.msg.v1.MsgServiceGrpc;
import mustreach.msg.v1.SendBusinessNotificationRequest;
import mustreach.msg.v1.SendBusinessNotificationResponse;

/** Sends, for an application's back end. */
public final class Sender {
  /** How long one attempt may take, and all of them together. */
  private static final Duration ATTEMPT_TIMEOUT = Duration.ofSeconds(10);
  private static final Duration SEND_TIMEOUT = Duration.ofSeconds(60);

  private final ManagedChannel channel;
  private final Supplier<String> token;

  public Sender(ManagedChannel channel, Supplier<String> token) {
    this.channel = channel;
    this.token = token;
  }

  /** Sends until there is an answer. The request has a clientMsgId, so that it is accepted once. */
  public SendBusinessNotificationResponse send(SendBusinessNotificationRequest request)
      throws MustreachException, InterruptedException {
    if (request.getClientMsgId().isEmpty()) {
      throw new IllegalArgumentException("a send that is tried again needs a clientMsgId");
    }
    Backoff backoff = new Backoff();
    Instant giveUpAt = Instant.now().plus(SEND_TIMEOUT);
    while (true) {
      MustreachException error;
      try {
        return MsgServiceGrpc.newBlockingStub(channel)
            .withInterceptors(Tokens.attach(token.get()))
            .withDeadlineAfter(ATTEMPT_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS)
            .sendBusinessNotification(request);
      } catch (StatusRuntimeException thrown) {
        error = MustreachException.of(thrown);
      }
      if (error.retryAfter().isEmpty()) throw error;
      long delay = Math.max(error.retryAfter().get().toMillis(), backoff.next().toMillis());
      if (Instant.now().plusMillis(delay).isAfter(giveUpAt)) throw error;
      Thread.sleep(delay);
      // Not to wait for grpc's own back-off as well, which grows to two minutes.
      channel.resetConnectBackoff();
    }
  }
}
