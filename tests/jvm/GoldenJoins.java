// Joins of programs that are data, by what their two sides are.

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TableJoined;
import org.apache.kafka.streams.kstream.ValueJoiner;
import org.apache.kafka.streams.kstream.ValueJoinerWithKey;

final class GoldenJoins {
    private static final ValueJoiner<Long, Long, Long> JOINER = GoldenFunctions::joined;

    private GoldenJoins() {
    }

    static Object joined(Object left, Object right, JsonNode node, String name) {
        String kind = node.get("kind").asText();
        if (left instanceof KTable<?, ?>) {
            return tables(GoldenGraph.cast(left), GoldenGraph.cast(right), node, kind, name);
        }
        if (left instanceof GoldenWindowTables.Table one) {
            return GoldenWindowTables.joined(
                one, (GoldenWindowTables.Table) right, node, name);
        }
        boolean keyed = node.path("keyed").asBoolean();
        ValueJoinerWithKey<String, Long, Long, Long> joiner = (key, l, r) ->
            GoldenFunctions.keyed(keyed, key, GoldenFunctions.joined(l, r));
        KStream<String, Long> stream = GoldenGraph.cast(left);
        if (right instanceof KStream<?, ?>) {
            return streams(stream, GoldenGraph.cast(right), node, kind, name);
        }
        if (right instanceof GlobalKTable<?, ?>) {
            GlobalKTable<String, Long> table = GoldenGraph.cast(right);
            var key = GoldenFunctions.selector(node.get("key"));
            return switch (kind) {
                case "inner" -> stream.join(table, key::apply, joiner);
                case "left" -> stream.leftJoin(table, key::apply, joiner);
                default -> throw new IllegalArgumentException("join " + kind);
            };
        }
        KTable<String, Long> table = GoldenGraph.cast(right);
        var joined = Joined.with(GoldenGraph.KEY, GoldenGraph.VALUE, GoldenGraph.VALUE, name);
        if (node.has("grace")) {
            joined = joined.withGracePeriod(GoldenWindows.millis(node, "grace"));
        }
        return switch (kind) {
            case "inner" -> stream.join(table, joiner, joined);
            case "left" -> stream.leftJoin(table, joiner, joined);
            default -> throw new IllegalArgumentException("join " + kind);
        };
    }

    private static Object streams(KStream<String, Long> left, KStream<String, Long> right,
            JsonNode node, String kind, String name) {
        Duration before = GoldenWindows.millis(node, "before");
        Duration after = GoldenWindows.millis(node, "after");
        // A window must not be empty at any moment, so its larger side is set first.
        Duration larger = before.compareTo(after) > 0 ? before : after;
        var windows = JoinWindows.ofTimeDifferenceAndGrace(
            larger, GoldenWindows.millis(node, "grace")).before(before).after(after);
        var joined = StreamJoined.with(GoldenGraph.KEY, GoldenGraph.VALUE, GoldenGraph.VALUE)
            .withName(name).withStoreName(name);
        return switch (kind) {
            case "inner" -> left.join(right, JOINER, windows, joined);
            case "left" -> left.leftJoin(right, JOINER, windows, joined);
            case "outer" -> left.outerJoin(right, JOINER, windows, joined);
            default -> throw new IllegalArgumentException("join " + kind);
        };
    }

    private static Object tables(KTable<String, Long> left, KTable<String, Long> right,
            JsonNode node, String kind, String name) {
        boolean stored = node.path("stored").asBoolean();
        return quiet(switch (kind) {
            case "inner" -> stored ? left.join(right, JOINER, GoldenGraph.stored(name))
                : left.join(right, JOINER);
            case "left" -> stored ? left.leftJoin(right, JOINER, GoldenGraph.stored(name))
                : left.leftJoin(right, JOINER);
            case "outer" -> stored ? left.outerJoin(right, JOINER, GoldenGraph.stored(name))
                : left.outerJoin(right, JOINER);
            default -> throw new IllegalArgumentException("join " + kind);
        });
    }

    /**
     * Without tombstones of keys that have no row, which joins tell and tables that know the old
     * rows do not pass on.
     */
    private static KTable<String, Long> quiet(KTable<String, Long> joined) {
        return joined.filter((key, value) -> true);
    }

    static Object foreign(KTable<String, Long> left, KTable<String, Long> right,
            JsonNode node, String name) {
        var key = GoldenFunctions.selector(node.get("key"));
        TableJoined<String, String> joined = TableJoined.as(name);
        boolean stored = node.path("stored").asBoolean();
        return switch (node.get("kind").asText()) {
            case "inner" -> stored
                ? quiet(left.join(right, (k, v) -> key.apply(k, v), JOINER, joined,
                    GoldenGraph.stored(name)))
                : left.join(right, (k, v) -> key.apply(k, v), JOINER, joined);
            case "left" -> stored
                ? quiet(left.leftJoin(right, (k, v) -> key.apply(k, v), JOINER, joined,
                    GoldenGraph.stored(name)))
                : left.leftJoin(right, (k, v) -> key.apply(k, v), JOINER, joined);
            default -> throw new IllegalArgumentException("join " + node);
        };
    }
}
