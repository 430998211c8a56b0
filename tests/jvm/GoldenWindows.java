// Windows of programs that are data, and the aggregates over them.

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.time.Instant;
import org.apache.kafka.streams.kstream.CogroupedKStream;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Initializer;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.SessionWindowedCogroupedKStream;
import org.apache.kafka.streams.kstream.SessionWindowedKStream;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.TimeWindowedCogroupedKStream;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.UnlimitedWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.kstream.Windows;
import org.apache.kafka.streams.processor.StateStore;

final class GoldenWindows {
    /**
     * How long stores keep windows beyond their grace where these are told when they close, or the
     * program says so. Without it they forget a window when their own time passes it, which is
     * before it can be told, and not when others forget it.
     */
    private static final Duration KEPT = Duration.ofHours(1);

    /** A group with windows, and how long their store keeps them; null is by default. */
    record Group(Object of, Object windowed, Duration retention) {
    }

    private GoldenWindows() {
    }

    static Group windowed(Object input, JsonNode node) {
        Duration size = millis(node, "size");
        Duration grace = millis(node, "grace");
        boolean longer = node.path("emit").asText().equals("close")
            || node.path("kept").asBoolean();
        // A record makes sliding windows up to their size before and after it.
        Duration kept = longer ? size.multipliedBy(2).plus(grace).plus(KEPT) : null;
        return switch (node.get("kind").asText()) {
            case "session" -> {
                // Or a session that is just open would be forgotten as soon as it is told.
                Duration open = size.plus(grace).plusMillis(1);
                var windows = SessionWindows.ofInactivityGapAndGrace(size, grace);
                yield new Group(input, sessions(input, windows, node), longer ? kept : open);
            }
            case "sliding" -> new Group(input, sliding(
                input, SlidingWindows.ofTimeDifferenceAndGrace(size, grace), node), kept);
            case "tumbling" -> new Group(input, times(
                input, TimeWindows.ofSizeAndGrace(size, grace), node), kept);
            case "hopping" -> {
                var windows = TimeWindows.ofSizeAndGrace(size, grace)
                    .advanceBy(millis(node, "advance"));
                yield new Group(input, times(input, windows, node), kept);
            }
            case "unlimited" -> {
                var start = Instant.ofEpochMilli(node.path("start").asLong(0));
                var windows = UnlimitedWindows.of().startOn(start);
                yield new Group(input, times(input, windows, node), null);
            }
            default -> throw new IllegalArgumentException("window " + node);
        };
    }

    private static Object times(Object input, Windows<?> windows, JsonNode node) {
        return input instanceof CogroupedKStream<?, ?> group ? group.windowedBy(windows)
            : ((KGroupedStream<?, ?>) input).windowedBy(windows).emitStrategy(strategy(node));
    }

    private static Object sliding(Object input, SlidingWindows windows, JsonNode node) {
        return input instanceof CogroupedKStream<?, ?> group ? group.windowedBy(windows)
            : ((KGroupedStream<?, ?>) input).windowedBy(windows).emitStrategy(strategy(node));
    }

    private static Object sessions(Object input, SessionWindows windows, JsonNode node) {
        return input instanceof CogroupedKStream<?, ?> group ? group.windowedBy(windows)
            : ((KGroupedStream<?, ?>) input).windowedBy(windows).emitStrategy(strategy(node));
    }

    private static EmitStrategy strategy(JsonNode node) {
        boolean close = node.path("emit").asText().equals("close");
        return close ? EmitStrategy.onWindowClose() : EmitStrategy.onWindowUpdate();
    }

    static Duration millis(JsonNode node, String field) {
        return Duration.ofMillis(node.path(field).asLong(0));
    }

    /** What the initializer makes may be null, and stands for `init` then. */
    static KTable<Windowed<String>, Long> aggregated(String op, Group input, String fold,
            Initializer<Long> initializer, long init, String name) {
        Object windowed = input.windowed();
        Duration kept = input.retention();
        if (windowed instanceof TimeWindowedKStream<?, ?>) {
            TimeWindowedKStream<String, Long> group = GoldenGraph.cast(windowed);
            return switch (op) {
                case "count" -> initializer.apply() == null
                    ? group.aggregate(initializer, (k, v, n) -> n == null ? 1L : n + 1,
                        stored(name, kept))
                    : group.count(stored(name, kept));
                case "reduce" ->
                    group.reduce(GoldenFunctions.fold(fold)::apply, stored(name, kept));
                default -> group.aggregate(initializer,
                    (k, v, sum) -> GoldenFunctions.added(k, v, sum == null ? init : sum),
                    stored(name, kept));
            };
        }
        if (windowed instanceof SessionWindowedKStream<?, ?>) {
            SessionWindowedKStream<String, Long> group = GoldenGraph.cast(windowed);
            return switch (op) {
                case "count" -> group.count(stored(name, kept));
                case "reduce" ->
                    group.reduce(GoldenFunctions.fold(fold)::apply, stored(name, kept));
                default -> group.aggregate(() -> init, GoldenFunctions::added,
                    (k, a, b) -> GoldenFunctions.merged(a, b), stored(name, kept));
            };
        }
        if (windowed instanceof TimeWindowedCogroupedKStream<?, ?>) {
            TimeWindowedCogroupedKStream<String, Long> group = GoldenGraph.cast(windowed);
            return group.aggregate(initializer, stored(name, kept));
        }
        SessionWindowedCogroupedKStream<String, Long> group = GoldenGraph.cast(windowed);
        return group.aggregate(() -> init, (k, a, b) -> GoldenFunctions.merged(a, b),
            stored(name, kept));
    }

    private static <S extends StateStore> Materialized<String, Long, S> stored(
            String name, Duration kept) {
        Materialized<String, Long, S> stored = GoldenGraph.stored(name);
        return kept == null ? stored : stored.withRetention(kept);
    }
}
