import io.grpc.ClientInterceptor;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;

/** Puts a token into the metadata of a call. */
final class Tokens {
  private static final Metadata.Key<String> TOKEN = Metadata.Key.of("token", Metadata.ASCII_STRING_MARSHALLER);

  private Tokens() {}

  static ClientInterceptor attach(String token) {
    Metadata headers = new Metadata();
    headers.put(TOKEN, token);
    return MetadataUtils.newAttachHeadersInterceptor(headers);
  }
}
