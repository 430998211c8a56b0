// Builds a Kafka Streams topology from a program's nodes. Invariant: whatever Kafka Streams names
// by counters unless it is told is named after the node's place in the program.

import static org.apache.kafka.streams.kstream.Suppressed.BufferConfig.maxBytes;
import static org.apache.kafka.streams.kstream.Suppressed.BufferConfig.maxRecords;
import static org.apache.kafka.streams.kstream.Suppressed.BufferConfig.unbounded;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Aggregator;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.CogroupedKStream;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Initializer;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KGroupedTable;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.FailOnInvalidTimestamp;
import org.apache.kafka.streams.processor.LogAndSkipOnInvalidTimestamp;
import org.apache.kafka.streams.processor.TimestampExtractor;
import org.apache.kafka.streams.processor.UsePartitionTimeOnInvalidTimestamp;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

final class GoldenGraph {
    static final Serde<String> KEY = Serdes.String();
    static final Serde<Long> VALUE = Serdes.Long();

    final StreamsBuilder builder;
    private final List<Object> handles = new ArrayList<>();
    /** Nodes of whose changes somebody may read the old row. */
    private final Set<Integer> compared = new HashSet<>();
    /** What a cogroup's aggregators take for a null row. */
    private final Map<Object, AtomicLong> inits = new IdentityHashMap<>();
    private final TreeSet<String> sources = new TreeSet<>();
    private final TreeSet<String> sinks = new TreeSet<>();
    private final TreeSet<String> chosenSinks = new TreeSet<>();
    private final GoldenReadOnly readOnly = new GoldenReadOnly();
    /** The wall clock as the driver has it, which Kafka Streams' extractor does not ask. */
    final AtomicLong clock = new AtomicLong();
    /** What read-only stores drop, which nobody counts for them. */
    final AtomicLong dropped = readOnly.dropped;

    GoldenGraph(StreamsBuilder builder, JsonNode nodes) {
        this.builder = builder;
        for (JsonNode node : nodes) {
            boolean comparing = switch (node.get("op").asText()) {
                case "filter", "filter_not", "map_values", "group_by", "join", "foreign_join" ->
                    true;
                default -> false;
            };
            for (String side : List.of("of", "with")) {
                if (comparing && node.path(side).isInt()) {
                    compared.add(node.get(side).asInt());
                }
            }
        }
    }

    void addAll(JsonNode nodes) {
        nodes.forEach(this::add);
    }

    Topology build(Properties properties) {
        Topology topology = builder.build(properties);
        readOnly.addAll(topology);
        return topology;
    }

    Set<String> sources() {
        return sources;
    }

    Set<String> sinks() {
        return sinks;
    }

    /** Topics that records choose. */
    Set<String> chosenSinks() {
        return chosenSinks;
    }

    private void add(JsonNode node) {
        String name = "n" + handles.size();
        String op = node.get("op").asText();
        Object handle = switch (op) {
            case "stream" -> builder.stream(source(node), consumed(node, false));
            case "table" -> builder.table(source(node), consumed(node, true),
                stored(node, name));
            case "global_table" -> builder.globalTable(source(node), Consumed.with(KEY, VALUE),
                GoldenGraph.<KeyValueStore<Bytes, byte[]>>stored(name));
            case "read_only" -> readOnly.store(source(node), name);
            case "global_store" -> GoldenProcessing.global(builder, source(node), name);
            case "window" -> GoldenWindows.windowed(of(node, "of"), node);
            case "cogroup" -> cogrouped(node);
            case "count", "reduce", "aggregate" -> aggregated(op, of(node, "of"), node, name);
            case "join" -> GoldenJoins.joined(of(node, "of"), of(node, "with"), node, name);
            case "foreign_join" ->
                GoldenJoins.foreign(table(node, "of"), table(node, "with"), node, name);
            case "suppress" -> suppressed(of(node, "of"), node, name);
            default -> applied(op, of(node, "of"), node, name);
        };
        handles.add(handle);
    }

    private Object applied(String op, Object of, JsonNode node, String name) {
        if (of instanceof GoldenWindowTables.Table windows) {
            return op.equals("transform_values")
                ? new GoldenWindowTables.Table(GoldenProcessors.transformValues(builder,
                    windows.table(), GoldenWindowTables::text, node,
                    GoldenWindowTables.stored(name), name))
                : GoldenWindowTables.applied(op, windows, node, name);
        }
        return of instanceof KTable<?, ?> table ? onTable(op, cast(table), node, name)
            : onStream(op, node, name);
    }

    private Object onStream(String op, JsonNode node, String name) {
        if (op.equals("branch")) {
            KStream<String, Long> branch =
                cast(((List<?>) of(node, "of")).get(node.get("at").asInt()));
            // So that two nodes which are the same branch are two nodes.
            return branch.peek((key, value) -> { });
        }
        KStream<String, Long> stream = stream(node, "of");
        return switch (op) {
            case "filter" -> stream.filter(GoldenFunctions.predicate(node.get("if")));
            case "filter_not" -> stream.filterNot(GoldenFunctions.predicate(node.get("if")));
            case "map_values" -> {
                var map = GoldenFunctions.map(node.path("map"));
                boolean keyed = node.path("keyed").asBoolean();
                yield stream.mapValues((key, value) ->
                    GoldenFunctions.keyed(keyed, key, map.apply(key, value)));
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
                boolean keyed = node.path("keyed").asBoolean();
                yield stream.flatMapValues((key, value) ->
                    GoldenFunctions.several(value, times).stream()
                        .map(one -> GoldenFunctions.keyed(keyed, key, one)).toList());
            }
            case "flat_map" -> {
                long times = node.get("times").asLong();
                var key = GoldenFunctions.selector(node.get("key"));
                yield stream.flatMap((k, v) -> GoldenFunctions.several(k, v, times, key));
            }
            case "peek" -> stream.peek((key, value) -> { });
            case "try" -> GoldenErrors.attempt(stream, node, name);
            case "split" -> split(stream, node, name);
            case "merge" -> stream.merge(stream(node, "with"));
            case "look_up" -> of(node, "with") instanceof GoldenProcessing.Global store
                ? GoldenProcessing.lookUp(stream, store, name)
                : readOnly.lookUp(stream, (String) of(node, "with"), name);
            case "schedules" -> GoldenProcessing.schedules(stream, node, name);
            case "children" -> GoldenProcessing.children(stream, name);
            case "repartition" ->
                stream.repartition(Repartitioned.with(KEY, VALUE).withName(name));
            case "group_by_key" -> stream.groupByKey(Grouped.with(name, KEY, VALUE));
            case "group_by" -> {
                var key = GoldenFunctions.selector(node.get("key"));
                yield stream.groupBy(key::apply, Grouped.with(name, KEY, VALUE));
            }
            case "to_table" -> stream.toTable(Named.as(name), stored(node, name + "-store"));
            case "process" -> GoldenProcessors.process(builder, stream, node, name);
            case "process_versions" ->
                GoldenProcessors.processVersions(builder, stream, node, name);
            case "process_headers" -> GoldenHeaders.process(builder, stream, node, name);
            case "process_values" ->
                GoldenProcessors.processValues(builder, stream, node, name);
            case "to" -> {
                var produced = Produced.with(KEY, GoldenErrors.values(node)).withName(name);
                if (node.has("by")) {
                    chosen(stream, node, produced);
                    yield stream;
                }
                sinks.add(topic(node));
                stream.to(topic(node), produced);
                yield stream;
            }
            default -> throw new IllegalArgumentException("op " + op);
        };
    }

    /** Field `time`: [FACTOR or "record" or "wall", WHAT BECOMES OF NEGATIVE TIMES]. */
    private Consumed<String, Long> consumed(JsonNode node, boolean table) {
        Consumed<String, Long> consumed = Consumed.with(KEY, VALUE);
        if (!node.has("time")) {
            return consumed;
        }
        JsonNode from = node.get("time").get(0);
        TimestampExtractor invalid = switch (node.get("time").get(1).asText()) {
            case "fail" -> new FailOnInvalidTimestamp();
            case "skip" -> new LogAndSkipOnInvalidTimestamp();
            default -> new UsePartitionTimeOnInvalidTimestamp();
        };
        return consumed.withTimestampExtractor((record, partitionTime) -> {
            Long value = (Long) record.value();
            boolean silent = table && (value == null || record.key() == null);
            long time = from.asText().equals("wall") ? clock.get()
                : silent || from.isTextual() ? record.timestamp()
                : GoldenFunctions.number(value) * from.asLong();
            var timed = new ConsumerRecord<Object, Object>(record.topic(), record.partition(),
                record.offset(), time, TimestampType.CREATE_TIME, 0, 0, record.key(), value,
                record.headers(), Optional.empty());
            return invalid.extract(timed, partitionTime);
        });
    }

    /** Each record goes to a topic TOPIC-KEY by a key made of it. */
    private void chosen(
            KStream<String, Long> stream, JsonNode node, Produced<String, Long> produced) {
        var by = GoldenFunctions.selector(node.get("by"));
        String topic = topic(node);
        for (long remainder = 0; remainder < node.get("by").get(1).asLong(); remainder++) {
            chosenSinks.add(topic + "-k" + remainder);
        }
        chosenSinks.add(topic + "-null");
        stream.to((key, value, context) -> topic + "-" + by.apply(key, value), produced);
    }

    private Object onTable(String op, KTable<String, Long> table, JsonNode node, String name) {
        boolean stored = node.path("stored").asBoolean();
        return switch (op) {
            case "filter" -> {
                var test = GoldenFunctions.predicate(node.get("if"));
                yield stored ? table.filter(test, stored(name)) : table.filter(test);
            }
            case "filter_not" -> {
                var test = GoldenFunctions.predicate(node.get("if"));
                yield stored ? table.filterNot(test, stored(name)) : table.filterNot(test);
            }
            case "map_values" -> {
                var map = GoldenFunctions.map(node.path("map"));
                yield stored ? table.mapValues((k, v) -> map.apply(k, v), stored(name))
                    : table.mapValues((k, v) -> map.apply(k, v));
            }
            case "group_by" -> {
                var map = GoldenFunctions.map(node.path("map"));
                var key = GoldenFunctions.selector(node.get("key"));
                yield table.groupBy((k, v) -> KeyValue.pair(key.apply(k, v), map.apply(k, v)),
                    Grouped.with(name, KEY, VALUE));
            }
            case "transform_values" -> GoldenProcessors.transformValues(
                builder, table, key -> key, node, stored(node, name), name);
            case "to_stream" -> table.toStream();
            case "to" -> {
                sinks.add(topic(node));
                table.toStream().to(topic(node), Produced.with(KEY, VALUE));
                yield table;
            }
            default -> throw new IllegalArgumentException("op " + op + " of a table");
        };
    }

    private Object aggregated(String op, Object input, JsonNode node, String name) {
        String fold = node.path("fold").asText("mix");
        long init = node.path("init").asLong(0);
        // Without a cache, the first change of a stream's aggregate has what the initializer made
        // as its old row, though there was none, and who reads it takes it back from a sum that it
        // was never added to. With a cache it has none. So a null row, which is 0 plus `init`.
        boolean compared = this.compared.contains(handles.size());
        Initializer<Long> initializer = () -> compared ? null : (Long) init;
        if (input instanceof KGroupedStream<?, ?> grouped) {
            KGroupedStream<String, Long> group = cast(grouped);
            return switch (op) {
                case "count" -> compared
                    ? group.aggregate(initializer, (k, v, n) -> n == null ? 1L : n + 1,
                        stored(node, name))
                    : group.count(stored(node, name));
                case "reduce" -> group.reduce(GoldenFunctions.fold(fold)::apply,
                    stored(node, name));
                default -> group.aggregate(initializer,
                    (k, v, sum) -> GoldenFunctions.added(k, v, sum == null ? init : sum),
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
            inits.get(group).set(init);
            return group.aggregate(initializer, stored(node, name));
        }
        if (input instanceof GoldenWindowTables.Group grouped) {
            return GoldenWindowTables.aggregated(op, grouped, fold, init, name);
        }
        var windowed = (GoldenWindows.Group) input;
        // A cogroup's aggregators have it from here.
        inits.getOrDefault(windowed.of(), new AtomicLong()).set(init);
        return new GoldenWindowTables.Table(
            GoldenWindows.aggregated(op, windowed, fold, initializer, init, name));
    }

    /** Each stream's aggregator is another one. */
    private Object cogrouped(JsonNode node) {
        CogroupedKStream<String, Long> cogrouped = null;
        AtomicLong init = new AtomicLong();
        long number = 0;
        for (JsonNode of : node.get("of")) {
            number++;
            long factor = number;
            Aggregator<String, Long, Long> add = (key, value, sum) ->
                GoldenFunctions.added(key, value, sum == null ? init.get() : sum, factor);
            KGroupedStream<String, Long> group = cast(handles.get(of.asInt()));
            cogrouped = cogrouped == null
                ? group.cogroup(add)
                : cogrouped.cogroup(group, add);
        }
        inits.put(cogrouped, init);
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
        var limit = node.has("max_records") ? maxRecords(node.get("max_records").asLong())
            : node.has("max_bytes") ? maxBytes(node.get("max_bytes").asLong())
            : unbounded();
        var strict = limit.shutDownWhenFull();
        var windows = input instanceof GoldenWindowTables.Table table ? table : null;
        if (node.get("until").asText().equals("close")) {
            return GoldenWindowTables.suppressed(
                windows, Suppressed.untilWindowCloses(strict).withName(name));
        }
        Duration wait = Duration.ofMillis(node.path("wait").asLong(0));
        if (node.path("strict").asBoolean()) {
            limit = strict;
        }
        if (windows != null) {
            return GoldenWindowTables.suppressed(windows, wait, limit, name);
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
