import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Collectors;
import mustreach.delivery.v1.Notification;
import mustreach.delivery.v1.SubscribeResponse;
import mustreach.msg.v1.SendBusinessNotificationRequest;
import mustreach.msg.v1.SendBusinessNotificationResponse;

/** Sends one notification, or receives and prints: `send USER ID KEY DATA`, `receive`. */
public final class Main {
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

  private Main() {}

  public static void main(String[] args) throws Exception {
    ManagedChannel channel = Grpc.newChannelBuilder(System.getenv("ADDRESS"), credentials()).build();
    boolean isDone = args[0].equals("send") ? send(channel, args) : receive(channel);
    channel.shutdownNow();
    System.exit(isDone ? 0 : 1);
  }

  /** TLS with the authorities of CA_FILE, and, for mTLS, a certificate of the client's own; else plain text. */
  private static ChannelCredentials credentials() throws IOException {
    String ca = System.getenv("CA_FILE");
    if (ca == null) return InsecureChannelCredentials.create();
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder().trustManager(new File(ca));
    String cert = System.getenv("CERT_FILE");
    if (cert != null) tls.keyManager(new File(cert), new File(System.getenv("KEY_FILE")));
    return tls.build();
  }

  private static boolean send(ManagedChannel channel, String[] args) throws InterruptedException {
    SendBusinessNotificationRequest request =
        SendBusinessNotificationRequest.newBuilder()
            .setSendUserId("imAdmin")
            .setRecvUserId(args[1])
            .setClientMsgId(args[2])
            .setKey(args[3])
            .setData(args[4])
            .setReliabilityLevel(2)
            .build();
    try {
      SendBusinessNotificationResponse sent = new Sender(channel, Main::readToken).send(request);
      say("sent", sent.getClientMsgId(), sent.getServerMsgId());
      return true;
    } catch (MustreachException error) {
      say("error", error.errCode(), error.errMsg(), String.join(",", error.fields()));
      return false;
    }
  }

  private static boolean receive(ManagedChannel channel) throws IOException, InterruptedException {
    DeviceRecord record = new DeviceRecord(Path.of(System.getenv("STATE_FILE")));
    String deviceId = System.getenv("DEVICE_ID");
    Receiver receiver =
        new Receiver(channel, Main::readToken, deviceId, record, Main::handle, () -> say("expired"));
    MustreachException error = receiver.run();
    say("ended", error.errCode(), error.errMsg(), error.errDlt());
    return false;
  }

  private static void handle(SubscribeResponse event) {
    switch (event.getEventCase()) {
      case READY -> say("ready", event.getReady().getResumeSequence());
      case NOTIFICATION -> {
        Notification got = event.getNotification();
        String kind = got.getSequence() == 0 ? "push" : "notification";
        say(kind, got.getSequence(), got.getClientMsgId(), got.getKey(), got.getData());
      }
      case MESSAGE -> {
        Notification got = event.getMessage().getNotification();
        say("message", got.getSequence(), got.getClientMsgId(), event.getMessage().getConversationId());
      }
      case RECALL -> say("recall", event.getRecall().getSequence(), event.getRecall().getClientMsgId());
      case SETTLED -> say("settled", event.getSettled().getSequence(), event.getSettled().getClientMsgId());
      case GAP -> say("gap", event.getGap().getTo(), event.getGap().getReason());
      default -> {}
    }
  }

  /** Whoever renews the token puts the new one there. */
  private static String readToken() {
    try {
      return Files.readString(Path.of(System.getenv("TOKEN_FILE"))).strip();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static void say(Object... words) {
    OUT.println(Arrays.stream(words).map(String::valueOf).collect(Collectors.joining("\t")));
  }
}
