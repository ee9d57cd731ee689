import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/** What an error says, from its google.rpc details. */
public final class MustreachException extends Exception {
  public static final int TOKEN_EXPIRED = 1501;

  /** Trying again does not mend these: a wrong argument, no permission, a token that is wrong or was revoked. */
  private static final Set<Integer> FATAL = Set.of(1001, 1002, 1503, 1504, 1505, 1506, 1507);

  private int errCode;
  private String errMsg;
  private String errDlt;
  private Optional<Duration> retryAfter = Optional.empty();
  private final List<String> fields = new ArrayList<>();

  private MustreachException(io.grpc.Status status, Throwable cause) {
    super(status.getCode() + ": " + status.getDescription(), cause);
    errMsg = status.getCode().name();
    errDlt = String.valueOf(status.getDescription());
  }

  /** Reads what a call or a stream has thrown. */
  public static MustreachException of(Throwable thrown) {
    io.grpc.Status status = io.grpc.Status.fromThrowable(thrown);
    MustreachException read = new MustreachException(status, thrown);
    Status details = StatusProto.fromThrowable(thrown);
    try {
      for (Any detail : details == null ? List.<Any>of() : details.getDetailsList()) read.take(detail);
    } catch (InvalidProtocolBufferException malformed) {
      read.addSuppressed(malformed);
    }
    // The network's own errors have no details.
    boolean isAway = switch (status.getCode()) {
      case UNAVAILABLE, DEADLINE_EXCEEDED -> true;
      default -> false;
    };
    if (read.errCode == 0 && isAway) read.retryAfter = Optional.of(Duration.ZERO);
    return read;
  }

  private void take(Any detail) throws InvalidProtocolBufferException {
    if (detail.is(ErrorInfo.class)) {
      ErrorInfo info = detail.unpack(ErrorInfo.class);
      if (!info.getDomain().equals("mustreach")) return;
      errCode = Integer.parseInt(info.getMetadataOrDefault("errCode", "0"));
      errMsg = info.getMetadataOrDefault("errMsg", "");
      errDlt = info.getMetadataOrDefault("errDlt", "");
    } else if (detail.is(RetryInfo.class)) {
      com.google.protobuf.Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
      retryAfter = Optional.of(Duration.ofSeconds(delay.getSeconds(), delay.getNanos()));
    } else if (detail.is(BadRequest.class)) {
      detail.unpack(BadRequest.class).getFieldViolationsList().forEach(violation -> fields.add(violation.getField()));
    }
  }

  /** OpenIM's code; 0 when the service did not answer. */
  public int errCode() {
    return errCode;
  }

  public String errMsg() {
    return errMsg;
  }

  public String errDlt() {
    return errDlt;
  }

  /** How long to wait before trying again; empty when trying again does not mend it. */
  public Optional<Duration> retryAfter() {
    return retryAfter;
  }

  /** The fields of the request that were wrong. */
  public List<String> fields() {
    return List.copyOf(fields);
  }

  /** Whether connecting again does not mend it. */
  public boolean isFatal() {
    return FATAL.contains(errCode);
  }
}
