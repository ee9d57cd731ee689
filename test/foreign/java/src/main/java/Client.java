import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import io.grpc.ClientInterceptor;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.util.Iterator;
import java.util.concurrent.TimeUnit;
import mustreach.delivery.v1.AckRequest;
import mustreach.delivery.v1.DeliveryServiceGrpc;
import mustreach.delivery.v1.Notification;
import mustreach.delivery.v1.SubscribeRequest;
import mustreach.delivery.v1.SubscribeResponse;
import mustreach.msg.v1.MsgServiceGrpc;
import mustreach.msg.v1.SendBusinessNotificationRequest;

/** Sends to USER_ID, receives, acknowledges, and reads the details of an error. */
public final class Client {
  private static final Metadata.Key<String> TOKEN = Metadata.Key.of("token", Metadata.ASCII_STRING_MARSHALLER);

  public static void main(String[] args) throws Exception {
    ManagedChannel channel =
        Grpc.newChannelBuilder(System.getenv("ADDRESS"), InsecureChannelCredentials.create()).build();
    MsgServiceGrpc.MsgServiceBlockingStub msg =
        MsgServiceGrpc.newBlockingStub(channel)
            .withInterceptors(token("TOKEN"))
            .withDeadlineAfter(30, TimeUnit.SECONDS);
    DeliveryServiceGrpc.DeliveryServiceBlockingStub delivery =
        DeliveryServiceGrpc.newBlockingStub(channel)
            .withInterceptors(token("USER_TOKEN"))
            .withDeadlineAfter(30, TimeUnit.SECONDS);

    SendBusinessNotificationRequest request =
        SendBusinessNotificationRequest.newBuilder()
            .setSendUserId("imAdmin")
            .setRecvUserId(System.getenv("USER_ID"))
            .setKey("order.paid")
            .setData("{}")
            .setReliabilityLevel(2)
            .build();
    String sent = msg.sendBusinessNotification(request).getServerMsgId();

    Context.CancellableContext first = Context.current().withCancellation();
    Notification got =
        first.call(
            () -> {
              Iterator<SubscribeResponse> events = subscribe(delivery);
              SubscribeResponse ready = events.next();
              check(ready.getReady().getPending() == 1, "expected one that waits", ready);
              return events.next().getNotification();
            });
    boolean isWhatWasSent =
        got.getServerMsgId().equals(sent) && got.getKey().equals("order.paid") && got.getData().equals("{}");
    check(isWhatWasSent, "expected what was sent", got);
    delivery.ack(AckRequest.newBuilder().setDeviceId("phone").setSequence(got.getSequence()).build());
    first.cancel(null);

    SubscribeResponse again = subscribe(delivery).next();
    check(again.getReady().getResumeSequence() == got.getSequence(), "expected to resume there", again);

    try {
      msg.sendBusinessNotification(request.toBuilder().setKey("").build());
      throw new IllegalStateException("it was accepted");
    } catch (StatusRuntimeException error) {
      ErrorInfo info = readErrorInfo(error);
      String code = info.getMetadataOrThrow("errCode");
      check(info.getReason().equals("ARGS_ERROR") && code.equals("1001"), "expected 1001", info);
      System.out.printf("sequence %d, then %s %s%n", got.getSequence(), info.getMetadataOrThrow("errMsg"), code);
    }
    channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
  }

  private static Iterator<SubscribeResponse> subscribe(DeliveryServiceGrpc.DeliveryServiceBlockingStub delivery) {
    return delivery.subscribe(SubscribeRequest.newBuilder().setDeviceId("phone").build());
  }

  private static ClientInterceptor token(String variable) {
    Metadata headers = new Metadata();
    headers.put(TOKEN, System.getenv(variable));
    return MetadataUtils.newAttachHeadersInterceptor(headers);
  }

  private static ErrorInfo readErrorInfo(StatusRuntimeException error) throws InvalidProtocolBufferException {
    for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) return detail.unpack(ErrorInfo.class);
    }
    throw new IllegalStateException("the error has no ErrorInfo", error);
  }

  private static void check(boolean isRight, String what, Object got) {
    if (!isRight) throw new IllegalStateException(what + ", not " + got);
  }
}
