// Read-only stores of programs that are data, and those who look up in them. Kafka Streams has them
// in topologies only: they are added when the streams have been built.

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

final class GoldenReadOnly {
    final AtomicLong dropped = new AtomicLong();
    /** What is still to be done to the topology. */
    private final List<java.util.function.Consumer<Topology>> later = new ArrayList<>();

    String store(String topic, String name) {
        later.add(topology -> topology.addReadOnlyStateStore(
            Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(name),
                GoldenGraph.KEY, GoldenGraph.VALUE).withLoggingDisabled(),
            name + "-source", GoldenGraph.KEY.deserializer(), GoldenGraph.VALUE.deserializer(),
            topic, name, () -> new Copying(name)));
        return name;
    }

    KStream<String, Long> lookUp(KStream<String, Long> stream, String store, String name) {
        later.add(topology -> topology.connectProcessorAndStateStores(name, store));
        return stream.processValues(() -> new LookingUp(store), Named.as(name));
    }

    /** Stores come before those who are connected to them. */
    void addAll(Topology topology) {
        later.forEach(step -> step.accept(topology));
    }

    private final class Copying implements Processor<String, Long, Void, Void> {
        private final String name;
        private KeyValueStore<String, Long> store;

        Copying(String name) {
            this.name = name;
        }

        @Override
        public void init(ProcessorContext<Void, Void> context) {
            store = context.getStateStore(name);
        }

        @Override
        public void process(Record<String, Long> record) {
            if (record.key() == null) {
                dropped.incrementAndGet();
            } else {
                store.put(record.key(), record.value());
            }
        }
    }

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
            Long row = record.key() == null ? null : store.get(record.key());
            context.forward(record.withValue(GoldenFunctions.joined(record.value(), row)));
        }
    }
}
