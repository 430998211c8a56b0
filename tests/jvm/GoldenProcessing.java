// What only processors have: schedules that they make and cancel while they run, children by name,
// and global stores with a processor. tests/src/golden/processing.rs has the same.

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.processor.Cancellable;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

final class GoldenProcessing {
    private GoldenProcessing() {
    }

    /** A global store by its name. */
    record Global(String name) {
    }

    static KStream<String, Long> schedules(
            KStream<String, Long> stream, JsonNode node, String name) {
        long interval = node.get("interval").asLong();
        return stream.process(() -> new Scheduling(interval), Named.as(name));
    }

    static List<KStream<String, Long>> children(KStream<String, Long> stream, String name) {
        var sent = stream.process(() -> new Sorting(name), Named.as(name));
        return List.of(
            sent.filter((key, value) -> true, Named.as(name + "-even")),
            sent.filter((key, value) -> true, Named.as(name + "-odd")));
    }

    static Global global(StreamsBuilder builder, String topic, String name) {
        builder.addGlobalStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(name),
                GoldenGraph.KEY, GoldenGraph.VALUE).withLoggingDisabled(),
            topic, Consumed.with(GoldenGraph.KEY, GoldenGraph.VALUE), () -> new Folding(name));
        return new Global(name);
    }

    static KStream<String, Long> lookUp(
            KStream<String, Long> stream, Global store, String name) {
        return stream.processValues(() -> new LookingUp(store.name()), Named.as(name));
    }

    /** The key of a row. */
    private static String row(String key) {
        return "g" + (key == null ? "n" : key.substring(0, 1));
    }

    /** Has a schedule in each of four slots; its values say what becomes of which. */
    private static final class Scheduling implements Processor<String, Long, String, Long> {
        private final long interval;
        private final Cancellable[] slots = new Cancellable[4];
        private ProcessorContext<String, Long> context;

        Scheduling(long interval) {
            this.interval = interval;
        }

        @Override
        public void init(ProcessorContext<String, Long> context) {
            this.context = context;
        }

        @Override
        public void process(Record<String, Long> record) {
            Long value = record.value();
            if (value == null) {
                for (int slot = 0; slot < 4; slot++) {
                    cancel(slot);
                }
            } else {
                int slot = (int) Math.floorMod(value, 4L);
                cancel(slot);
                if (Math.floorMod(Math.floorDiv(value, 4L), 3L) != 1) {
                    long start = record.timestamp() / 3 + Math.floorMod(value, 5L) - 2;
                    make(slot, 3 * Math.max(start, 0) + slot);
                }
            }
            context.forward(record);
        }

        private void make(int slot, long start) {
            var every = Duration.ofMillis(slot == 3 ? interval : 3 * interval);
            var clock = slot == 3
                ? PunctuationType.WALL_CLOCK_TIME : PunctuationType.STREAM_TIME;
            slots[slot] = slot == 1 || slot == 2
                ? context.schedule(Instant.ofEpochMilli(start), every, clock,
                    now -> tell(slot, now))
                : context.schedule(every, clock, now -> tell(slot, now));
        }

        private void tell(int slot, long now) {
            context.forward(new Record<>("s" + slot, now, now));
            if (slot == 1) {
                cancel(2);
            } else if (slot == 2 && now % 2 == 0) {
                cancel(2);
                cancel(1);
                make(1, 3 * (now / 3) + 1);
            }
        }

        private void cancel(int slot) {
            if (slots[slot] != null) {
                slots[slot].cancel();
                slots[slot].cancel();
            }
        }
    }

    /** Sends even values to one child, odd ones doubled to another, and null to both. */
    private static final class Sorting implements Processor<String, Long, String, Long> {
        private final String name;
        private ProcessorContext<String, Long> context;

        Sorting(String name) {
            this.name = name;
        }

        @Override
        public void init(ProcessorContext<String, Long> context) {
            this.context = context;
        }

        @Override
        public void process(Record<String, Long> record) {
            Long value = record.value();
            if (value == null || Math.floorMod(value, 2L) == 1) {
                Long doubled = value == null ? null : (Long) (2 * value);
                context.forward(record.withValue(doubled), name + "-odd");
            }
            if (value == null || Math.floorMod(value, 2L) == 0) {
                context.forward(record, name + "-even");
            }
        }
    }

    /** Folds values under the first letters of their keys; some delete another row. */
    private static final class Folding implements Processor<String, Long, Void, Void> {
        private final String name;
        private KeyValueStore<String, Long> store;

        Folding(String name) {
            this.name = name;
        }

        @Override
        public void init(ProcessorContext<Void, Void> context) {
            store = context.getStateStore(name);
        }

        @Override
        public void process(Record<String, Long> record) {
            String key = row(record.key());
            if (record.value() == null) {
                store.delete(key);
                return;
            }
            long next = GoldenFunctions.number(store.get(key)) * 31 + record.value();
            store.put(key, next);
            if (Math.floorMod(record.value(), 5L) == 4) {
                store.delete(row("x"));
            }
        }
    }

    /** Joins values with the rows of their keys. */
    private static final class LookingUp implements FixedKeyProcessor<String, Long, Long> {
        private final String name;
        private FixedKeyProcessorContext<String, Long> context;
        private KeyValueStore<String, Long> store;

        LookingUp(String name) {
            this.name = name;
        }

        @Override
        public void init(FixedKeyProcessorContext<String, Long> context) {
            this.context = context;
            store = context.getStateStore(name);
        }

        @Override
        public void process(FixedKeyRecord<String, Long> record) {
            Long found = store.get(row(record.key()));
            context.forward(record.withValue(GoldenFunctions.joined(record.value(), found)));
        }
    }
}
