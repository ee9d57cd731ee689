import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;

/**
 * How far the device is: the sequence and its epoch, in a file. Keep it where your handler's effects are, in the same
 * transaction, and each notification takes effect exactly once even when the machine dies in between.
 */
public final class DeviceRecord {
  private final Path path;
  private Place place;

  public DeviceRecord(Path path) throws IOException {
    this.path = path;
    if (!Files.exists(path)) return;
    String[] words = Files.readString(path).strip().split(" ", 2);
    place = new Place(Long.parseUnsignedLong(words[0]), words.length > 1 ? words[1] : "");
  }

  /** Where the device is; null for a new one. */
  Place place() {
    return place;
  }

  void save(Place next) {
    Path draft = path.resolveSibling(path.getFileName() + ".new");
    String text = Long.toUnsignedString(next.sequence()) + " " + next.epoch() + "\n";
    try (FileChannel file =
        FileChannel.open(
            draft, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
      file.write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
      file.force(true);
      Files.move(draft, path, StandardCopyOption.ATOMIC_MOVE);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    place = next;
  }
}
