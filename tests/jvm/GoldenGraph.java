// Builds a Kafka Streams topology from a program's nodes. Invariant: whatever Kafka Streams names
// by counters unless it is told is named after the node's place in the program.

import static org.apache.kafka.streams.kstream.Suppressed.BufferConfig.maxBytes;
import static org.apache.kafka.streams.kstream.Suppressed.BufferConfig.maxRecords;
import static org.apache.kafka.streams.kstream.Suppressed.BufferConfig.unbounded;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Aggregator;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.CogroupedKStream;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KGroupedTable;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

final class GoldenGraph {
    static final Serde<String> KEY = Serdes.String();
    static final Serde<Long> VALUE = Serdes.Long();

    /** A table by windowed keys: to the compiler it would be a KTable like any other. */
    record WindowTable(KTable<Windowed<String>, Long> table) {
    }

    final StreamsBuilder builder;
    private final List<Object> handles = new ArrayList<>();
    private final TreeSet<String> sources = new TreeSet<>();
    private final TreeSet<String> sinks = new TreeSet<>();

    GoldenGraph(StreamsBuilder builder) {
        this.builder = builder;
    }

    Set<String> sources() {
        return sources;
    }

    Set<String> sinks() {
        return sinks;
    }

    void add(JsonNode node) {
        String name = "n" + handles.size();
        String op = node.get("op").asText();
        Object handle = switch (op) {
            case "stream" -> builder.stream(source(node), Consumed.with(KEY, VALUE));
            case "table" -> builder.table(source(node), Consumed.with(KEY, VALUE),
                stored(node, name));
            case "global_table" -> builder.globalTable(source(node), Consumed.with(KEY, VALUE),
                GoldenGraph.<KeyValueStore<Bytes, byte[]>>stored(name));
            case "window" -> GoldenWindows.windowed(of(node, "of"), node);
            case "cogroup" -> cogrouped(node);
            case "count", "reduce", "aggregate" -> aggregated(op, of(node, "of"), node, name);
            case "join" -> GoldenJoins.joined(of(node, "of"), of(node, "with"), node, name);
            case "foreign_join" ->
                GoldenJoins.foreign(table(node, "of"), table(node, "with"), node, name);
            case "suppress" -> suppressed(of(node, "of"), node, name);
            default -> of(node, "of") instanceof KTable
                ? onTable(op, table(node, "of"), node, name)
                : onStream(op, node, name);
        };
        handles.add(handle);
    }

    private Object onStream(String op, JsonNode node, String name) {
        if (op.equals("to_stream")) {
            var windows = (WindowTable) of(node, "of");
            return windows.table().toStream((key, value) ->
                key.key() + "@" + key.window().start() + "/" + key.window().end());
        }
        if (op.equals("branch")) {
            return ((List<?>) of(node, "of")).get(node.get("at").asInt());
        }
        KStream<String, Long> stream = stream(node, "of");
        return switch (op) {
            case "filter" -> stream.filter(GoldenFunctions.predicate(node.get("if")));
            case "filter_not" -> stream.filterNot(GoldenFunctions.predicate(node.get("if")));
            case "map_values" -> {
                var map = GoldenFunctions.map(node.path("map"));
                yield stream.mapValues((key, value) -> map.apply(key, value));
            }
            case "map" -> {
                var map = GoldenFunctions.map(node.path("map"));
                var key = GoldenFunctions.selector(node.get("key"));
                yield stream.map((k, v) -> KeyValue.pair(key.apply(k, v), map.apply(k, v)));
            }
            case "select_key" -> {
                var key = GoldenFunctions.selector(node.get("key"));
                yield stream.selectKey(key::apply);
            }
            case "flat_map_values" -> {
                long times = node.get("times").asLong();
                yield stream.flatMapValues(value -> GoldenFunctions.several(value, times));
            }
            case "flat_map" -> {
                long times = node.get("times").asLong();
                var key = GoldenFunctions.selector(node.get("key"));
                yield stream.flatMap((k, v) -> GoldenFunctions.several(k, v, times, key));
            }
            case "peek" -> stream.peek((key, value) -> { });
            case "split" -> split(stream, node, name);
            case "merge" -> stream.merge(stream(node, "with"));
            case "repartition" ->
                stream.repartition(Repartitioned.with(KEY, VALUE).withName(name));
            case "group_by_key" -> stream.groupByKey(Grouped.with(name, KEY, VALUE));
            case "group_by" -> {
                var key = GoldenFunctions.selector(node.get("key"));
                yield stream.groupBy(key::apply, Grouped.with(name, KEY, VALUE));
            }
            case "to_table" -> stream.toTable(Named.as(name), stored(node, name + "-store"));
            case "process" -> GoldenProcessors.process(builder, stream, node, name);
            case "process_values" -> GoldenProcessors.processValues(builder, stream, name);
            case "to" -> {
                sinks.add(topic(node));
                stream.to(topic(node), Produced.with(KEY, VALUE));
                yield stream;
            }
            default -> throw new IllegalArgumentException("op " + op);
        };
    }

    private Object onTable(String op, KTable<String, Long> table, JsonNode node, String name) {
        return switch (op) {
            case "filter" -> table.filter(GoldenFunctions.predicate(node.get("if")));
            case "filter_not" -> table.filterNot(GoldenFunctions.predicate(node.get("if")));
            case "map_values" -> {
                var map = GoldenFunctions.map(node.path("map"));
                yield table.mapValues((key, value) -> map.apply(key, value));
            }
            case "group_by" -> {
                var map = GoldenFunctions.map(node.path("map"));
                var key = GoldenFunctions.selector(node.get("key"));
                yield table.groupBy((k, v) -> KeyValue.pair(key.apply(k, v), map.apply(k, v)),
                    Grouped.with(name, KEY, VALUE));
            }
            case "to_stream" -> table.toStream();
            case "to" -> {
                sinks.add(topic(node));
                table.toStream().to(topic(node), Produced.with(KEY, VALUE));
                yield table;
            }
            default -> throw new IllegalArgumentException("op " + op + " of a table");
        };
    }

    private static Object aggregated(String op, Object input, JsonNode node, String name) {
        String fold = node.path("fold").asText("mix");
        long init = node.path("init").asLong(0);
        if (input instanceof KGroupedStream<?, ?> grouped) {
            KGroupedStream<String, Long> group = cast(grouped);
            return switch (op) {
                case "count" -> group.count(stored(node, name));
                case "reduce" -> group.reduce(GoldenFunctions.fold(fold)::apply,
                    stored(node, name));
                default -> group.aggregate(() -> init, GoldenFunctions::added,
                    stored(node, name));
            };
        }
        if (input instanceof KGroupedTable<?, ?> grouped) {
            KGroupedTable<String, Long> group = cast(grouped);
            return switch (op) {
                case "count" -> group.count(stored(node, name));
                case "reduce" -> group.reduce(GoldenFunctions.fold(fold)::apply,
                    GoldenFunctions.unfold(fold)::apply, stored(node, name));
                default -> group.aggregate(() -> init, GoldenFunctions::added,
                    GoldenFunctions::subtracted, stored(node, name));
            };
        }
        if (input instanceof CogroupedKStream<?, ?> grouped) {
            CogroupedKStream<String, Long> group = cast(grouped);
            return group.aggregate(() -> init, stored(node, name));
        }
        var windowed = (GoldenWindows.Group) input;
        return new WindowTable(GoldenWindows.aggregated(op, windowed, fold, init, name));
    }

    /** Each stream's aggregator is another one. */
    private Object cogrouped(JsonNode node) {
        CogroupedKStream<String, Long> cogrouped = null;
        long number = 0;
        for (JsonNode of : node.get("of")) {
            number++;
            long factor = number;
            Aggregator<String, Long, Long> add =
                (key, value, sum) -> GoldenFunctions.added(key, value, sum, factor);
            KGroupedStream<String, Long> group = cast(handles.get(of.asInt()));
            cogrouped = cogrouped == null
                ? group.cogroup(add)
                : cogrouped.cogroup(group, add);
        }
        return cogrouped;
    }

    private static List<KStream<String, Long>> split(
            KStream<String, Long> stream, JsonNode node, String name) {
        List<KStream<String, Long>> branches = new ArrayList<>();
        var split = stream.split(Named.as(name));
        for (JsonNode branch : node.get("branches")) {
            split = split.branch(GoldenFunctions.predicate(branch),
                Branched.withConsumer(branches::add));
        }
        if (node.path("default").asBoolean()) {
            split.defaultBranch(Branched.withConsumer(branches::add));
        } else {
            split.noDefaultBranch();
        }
        return branches;
    }

    private static Object suppressed(Object input, JsonNode node, String name) {
        if (node.get("until").asText().equals("close")) {
            var until = Suppressed.untilWindowCloses(unbounded()).withName(name);
            return new WindowTable(((WindowTable) input).table().suppress(until));
        }
        Duration wait = Duration.ofMillis(node.get("wait").asLong());
        var limit = node.has("max_records") ? maxRecords(node.get("max_records").asLong())
            : node.has("max_bytes") ? maxBytes(node.get("max_bytes").asLong())
            : unbounded();
        if (input instanceof WindowTable windows) {
            return new WindowTable(windows.table().suppress(
                Suppressed.<Windowed<String>>untilTimeLimit(wait, limit).withName(name)));
        }
        KTable<String, Long> table = cast(input);
        return table.suppress(Suppressed.<String>untilTimeLimit(wait, limit).withName(name));
    }

    private String source(JsonNode node) {
        sources.add(topic(node));
        return topic(node);
    }

    private static String topic(JsonNode node) {
        return node.get("topic").asText();
    }

    private Object of(JsonNode node, String field) {
        return handles.get(node.get(field).asInt());
    }

    private KStream<String, Long> stream(JsonNode node, String field) {
        return cast((KStream<?, ?>) of(node, field));
    }

    private KTable<String, Long> table(JsonNode node, String field) {
        return cast((KTable<?, ?>) of(node, field));
    }

    /** A store, with its history where the node says how long that is. */
    private static Materialized<String, Long, KeyValueStore<Bytes, byte[]>> stored(
            JsonNode node, String name) {
        if (!node.has("history")) {
            return stored(name);
        }
        var history = Duration.ofMillis(node.get("history").asLong());
        var supplier = Stores.persistentVersionedKeyValueStore(name, history);
        return Materialized.<String, Long>as(supplier).withKeySerde(KEY).withValueSerde(VALUE);
    }

    static <S extends StateStore> Materialized<String, Long, S> stored(String name) {
        return Materialized.<String, Long, S>as(name).withKeySerde(KEY).withValueSerde(VALUE);
    }

    /** All streams and tables of a program have the same types. */
    @SuppressWarnings("unchecked")
    static <T> T cast(Object handle) {
        return (T) handle;
    }
}
