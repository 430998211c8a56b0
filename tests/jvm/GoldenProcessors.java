// Processors of programs that are data, with a store and punctuation.

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.ValueTransformerWithKey;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.VersionedKeyValueStore;

final class GoldenProcessors {
    private GoldenProcessors() {
    }

    static KStream<String, Long> process(
            StreamsBuilder builder, KStream<String, Long> stream, JsonNode node, String name) {
        store(builder, name);
        return stream.process(() -> new Sums(node, name), Named.as(name), name);
    }

    static KStream<String, Long> processValues(
            StreamsBuilder builder, KStream<String, Long> stream, JsonNode node, String name) {
        store(builder, name);
        return stream.processValues(() -> new Numbered(node, name), Named.as(name), name);
    }

    static KStream<String, Long> processVersions(
            StreamsBuilder builder, KStream<String, Long> stream, JsonNode node, String name) {
        var history = Duration.ofMillis(node.get("history").asLong());
        builder.addStateStore(Stores.versionedKeyValueStoreBuilder(
            Stores.persistentVersionedKeyValueStore(name, history),
            GoldenGraph.KEY, GoldenGraph.VALUE));
        return stream.process(() -> new Versions(node.get("back").asLong(), name), name);
    }

    static <K> KTable<K, Long> transformValues(
            StreamsBuilder builder, KTable<K, Long> table, Function<K, String> text, JsonNode node,
            Materialized<K, Long, KeyValueStore<Bytes, byte[]>> stored, String name) {
        String seen = name + "-seen";
        store(builder, seen);
        return table.transformValues(
            () -> new Changes<K>(node, seen, text), stored, Named.as(name), seen);
    }

    private static void store(StreamsBuilder builder, String name) {
        builder.addStateStore(Stores.keyValueStoreBuilder(
            Stores.inMemoryKeyValueStore(name), GoldenGraph.KEY, GoldenGraph.VALUE));
    }

    /** Folds the values of each key; a punctuation tells all sums, and forgets them if told to. */
    private static final class Sums implements Processor<String, Long, String, Long> {
        private final JsonNode node;
        private final String name;
        private ProcessorContext<String, Long> context;
        private KeyValueStore<String, Long> store;

        Sums(JsonNode node, String name) {
            this.node = node;
            this.name = name;
        }

        @Override
        public void init(ProcessorContext<String, Long> context) {
            this.context = context;
            store = context.getStateStore(name);
            for (JsonNode every : node.path("every")) {
                var clock = every.get(0).asText().equals("wall")
                    ? PunctuationType.WALL_CLOCK_TIME : PunctuationType.STREAM_TIME;
                context.schedule(Duration.ofMillis(every.get(1).asLong()), clock, this::tell);
            }
        }

        @Override
        public void process(Record<String, Long> record) {
            if (record.key() == null) {
                context.forward(record);
            } else if (record.value() == null) {
                store.delete(record.key());
                context.forward(record);
            } else {
                Long sum = store.get(record.key());
                long next = GoldenFunctions.number(sum) * 31 + record.value();
                store.put(record.key(), next);
                context.forward(record.withValue(next));
            }
            GoldenErrors.refuse(node, "refuses", record.value());
        }

        private void tell(long now) {
            List<KeyValue<String, Long>> sums = new ArrayList<>();
            try (var all = store.all()) {
                all.forEachRemaining(sums::add);
            }
            for (KeyValue<String, Long> sum : sums) {
                if (node.path("clear").asBoolean()) {
                    store.delete(sum.key);
                }
                context.forward(new Record<>(sum.key, sum.value, now));
            }
            GoldenErrors.refuse(node, "refuses", now);
        }
    }

    /** Tells until when each value holds, and what its key was before. */
    private static final class Versions implements Processor<String, Long, String, Long> {
        private final long back;
        private final String name;
        private ProcessorContext<String, Long> context;
        private VersionedKeyValueStore<String, Long> store;

        Versions(long back, String name) {
            this.back = back;
            this.name = name;
        }

        @Override
        public void init(ProcessorContext<String, Long> context) {
            this.context = context;
            store = context.getStateStore(name);
        }

        @Override
        public void process(Record<String, Long> record) {
            if (record.key() == null) {
                context.forward(record);
                return;
            }
            long time = record.timestamp();
            long put = store.put(record.key(), record.value(), time);
            if (put == VersionedKeyValueStore.PUT_RETURN_CODE_NOT_PUT) {
                put = -2;
            }
            var was = store.get(record.key(), Math.max(0, time - back));
            context.forward(record.withValue(GoldenFunctions.versions(put, was)));
        }
    }

    /** Numbers the changes of each key, and refuses some. */
    private static final class Changes<K> implements ValueTransformerWithKey<K, Long, Long> {
        private final JsonNode node;
        private final String name;
        private final Function<K, String> text;
        private KeyValueStore<String, Long> store;

        Changes(JsonNode node, String name, Function<K, String> text) {
            this.node = node;
            this.name = name;
            this.text = text;
        }

        @Override
        public void init(org.apache.kafka.streams.processor.ProcessorContext context) {
            store = context.getStateStore(name);
        }

        @Override
        public Long transform(K key, Long value) {
            String at = text.apply(key);
            long number = GoldenFunctions.number(store.get(at)) + 1;
            store.put(at, number);
            GoldenErrors.refuse(node, "refuses", value);
            return GoldenFunctions.numbered(value, number);
        }

        @Override
        public void close() {
        }
    }

    /** Says how many records of its key came before; of an even value it makes two. */
    private static final class Numbered implements FixedKeyProcessor<String, Long, Long> {
        private final JsonNode node;
        private final String name;
        private FixedKeyProcessorContext<String, Long> context;
        private KeyValueStore<String, Long> store;

        Numbered(JsonNode node, String name) {
            this.node = node;
            this.name = name;
        }

        @Override
        public void init(FixedKeyProcessorContext<String, Long> context) {
            this.context = context;
            store = context.getStateStore(name);
        }

        @Override
        public void process(FixedKeyRecord<String, Long> record) {
            tell(record);
            GoldenErrors.refuse(node, "refuses", record.value());
        }

        private void tell(FixedKeyRecord<String, Long> record) {
            if (record.key() == null || record.value() == null) {
                context.forward(record);
                return;
            }
            long number = GoldenFunctions.number(store.get(record.key())) + 1;
            store.put(record.key(), number);
            context.forward(record.withValue(number * 1000 + record.value()));
            if (Math.floorMod(record.value(), 2L) == 0) {
                context.forward(record.withValue(-record.value()));
            }
        }
    }
}
