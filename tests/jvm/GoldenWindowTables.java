// Operators of tables by windowed keys of programs that are data.

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedTable;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.ValueJoiner;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.kstream.WindowedSerdes;
import org.apache.kafka.streams.state.KeyValueStore;

final class GoldenWindowTables {
    /** Of windows of any kind: with both their times. */
    private static final Serde<Windowed<String>> KEY =
        new WindowedSerdes.SessionWindowedSerde<>(GoldenGraph.KEY);
    private static final ValueJoiner<Long, Long, Long> JOINER = GoldenFunctions::joined;

    /** A table by windowed keys: to the compiler it would be a KTable like any other. */
    record Table(KTable<Windowed<String>, Long> table) {
    }

    /** As a table, grouped by other keys that have its windows. */
    record Group(KGroupedTable<Windowed<String>, Long> group) {
    }

    private GoldenWindowTables() {
    }

    static String text(Windowed<String> key) {
        return key.key() + "@" + key.window().start() + "/" + key.window().end();
    }

    static Object applied(String op, Table input, JsonNode node, String name) {
        KTable<Windowed<String>, Long> table = input.table();
        boolean stored = node.path("stored").asBoolean();
        return switch (op) {
            case "to_stream" -> table.toStream((key, value) -> text(key));
            case "filter" -> {
                var test = GoldenFunctions.predicate(node.get("if"));
                yield new Table(stored ? table.filter((k, v) -> test.test(null, v), stored(name))
                    : table.filter((k, v) -> test.test(null, v)));
            }
            case "filter_not" -> {
                var test = GoldenFunctions.predicate(node.get("if"));
                yield new Table(stored
                    ? table.filterNot((k, v) -> test.test(null, v), stored(name))
                    : table.filterNot((k, v) -> test.test(null, v)));
            }
            case "map_values" -> {
                var map = GoldenFunctions.map(node.path("map"));
                yield new Table(stored ? table.mapValues(v -> map.apply(null, v), stored(name))
                    : table.mapValues(v -> map.apply(null, v)));
            }
            case "group_by" -> grouped(table, node, name);
            default -> throw new IllegalArgumentException("op " + op + " of windows");
        };
    }

    private static Object grouped(
            KTable<Windowed<String>, Long> table, JsonNode node, String name) {
        var map = GoldenFunctions.map(node.path("map"));
        var key = GoldenFunctions.selector(node.get("key"));
        if (node.path("windowed").asBoolean()) {
            return new Group(table.groupBy((k, v) -> KeyValue.pair(
                    new Windowed<>(key.apply(k.key(), v), k.window()), map.apply(null, v)),
                Grouped.with(name, KEY, GoldenGraph.VALUE)));
        }
        return table.groupBy(
            (k, v) -> KeyValue.pair(key.apply(text(k), v), map.apply(null, v)),
            Grouped.with(name, GoldenGraph.KEY, GoldenGraph.VALUE));
    }

    static Table aggregated(String op, Group input, String fold, long init, String name) {
        KGroupedTable<Windowed<String>, Long> group = input.group();
        return new Table(switch (op) {
            case "count" -> group.count(stored(name));
            case "reduce" -> group.reduce(GoldenFunctions.fold(fold)::apply,
                GoldenFunctions.unfold(fold)::apply, stored(name));
            default -> group.aggregate(() -> init,
                (k, v, sum) -> GoldenFunctions.added(null, v, sum),
                (k, v, sum) -> GoldenFunctions.subtracted(null, v, sum), stored(name));
        });
    }

    static Table joined(Table one, Table other, JsonNode node, String name) {
        KTable<Windowed<String>, Long> left = one.table();
        KTable<Windowed<String>, Long> right = other.table();
        boolean stored = node.path("stored").asBoolean();
        var joined = switch (node.get("kind").asText()) {
            case "inner" -> stored ? left.join(right, JOINER, stored(name))
                : left.join(right, JOINER);
            case "left" -> stored ? left.leftJoin(right, JOINER, stored(name))
                : left.leftJoin(right, JOINER);
            case "outer" -> stored ? left.outerJoin(right, JOINER, stored(name))
                : left.outerJoin(right, JOINER);
            default -> throw new IllegalArgumentException("join " + node);
        };
        // As GoldenJoins.quiet.
        return new Table(joined.filter((key, value) -> true));
    }

    static Table suppressed(Table input, Suppressed<? super Windowed<?>> until) {
        return new Table(input.table().suppress(until));
    }

    static Table suppressed(Table input, Duration wait, Suppressed.BufferConfig<?> limit,
            String name) {
        return new Table(input.table().suppress(
            Suppressed.<Windowed<String>>untilTimeLimit(wait, limit).withName(name)));
    }

    static Materialized<Windowed<String>, Long, KeyValueStore<Bytes, byte[]>> stored(
            String name) {
        return Materialized.<Windowed<String>, Long, KeyValueStore<Bytes, byte[]>>as(name)
            .withKeySerde(KEY).withValueSerde(GoldenGraph.VALUE);
    }
}
