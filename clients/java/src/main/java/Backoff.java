import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;

/** Delays that double with each failure, and are random in part so that clients spread out. */
final class Backoff {
  static final Duration MIN_DELAY = Duration.ofMillis(500);
  private static final Duration MAX_DELAY = Duration.ofSeconds(30);

  private int failures;

  Duration next() {
    long delay = Math.min(MAX_DELAY.toMillis(), MIN_DELAY.toMillis() << Math.min(failures++, 10));
    return Duration.ofMillis(delay / 2 + ThreadLocalRandom.current().nextLong(delay / 2));
  }

  void reset() {
    failures = 0;
  }
}
