// Header-aware stores (KIP-1271) of programs that are data.

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.kstream.internals.SessionWindow;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.AggregationWithHeaders;
import org.apache.kafka.streams.state.SessionStoreWithHeaders;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.TimestampedKeyValueStoreWithHeaders;
import org.apache.kafka.streams.state.TimestampedWindowStoreWithHeaders;
import org.apache.kafka.streams.state.ValueTimestampHeaders;

final class GoldenHeaders {
    private static final long SIZE = 20;
    /** Nothing expires here: how rows do is known of stores without headers. */
    private static final Duration RETENTION = Duration.ofDays(1);

    private GoldenHeaders() {
    }

    static KStream<String, Long> process(
            StreamsBuilder builder, KStream<String, Long> stream, JsonNode node, String name) {
        String kind = node.get("kind").asText();
        builder.addStateStore(store(kind, name));
        return stream.process(() -> new Recalling(kind, name), Named.as(name), name);
    }

    private static StoreBuilder<?> store(String kind, String name) {
        return switch (kind) {
            case "rows" -> Stores.timestampedKeyValueStoreWithHeadersBuilder(
                Stores.persistentTimestampedKeyValueStoreWithHeaders(name),
                GoldenGraph.KEY, GoldenGraph.VALUE);
            case "windows" -> Stores.timestampedWindowStoreWithHeadersBuilder(
                Stores.persistentTimestampedWindowStoreWithHeaders(
                    name, RETENTION, Duration.ofMillis(SIZE), false),
                GoldenGraph.KEY, GoldenGraph.VALUE);
            case "sessions" -> Stores.sessionStoreWithHeadersBuilder(
                Stores.persistentSessionStoreWithHeaders(name, RETENTION),
                GoldenGraph.KEY, GoldenGraph.VALUE);
            default -> throw new IllegalArgumentException(kind);
        };
    }

    /** What a place held before. */
    private record Held(Long value, Headers headers) {
    }

    /** Puts each value with its headers, and tells it with what its place held before, and with the
     * headers of that. */
    private static final class Recalling implements Processor<String, Long, String, Long> {
        private final String kind;
        private final String name;
        private ProcessorContext<String, Long> context;

        Recalling(String kind, String name) {
            this.kind = kind;
            this.name = name;
        }

        @Override
        public void init(ProcessorContext<String, Long> context) {
            this.context = context;
        }

        @Override
        public void process(Record<String, Long> record) {
            if (record.key() == null) {
                context.forward(record);
                return;
            }
            var before = switch (kind) {
                case "rows" -> row(record);
                case "windows" -> window(record);
                default -> session(record);
            };
            var told = GoldenFunctions.joined(record.value(), before.value());
            context.forward(record.withValue(told).withHeaders(before.headers()));
        }

        private Held row(Record<String, Long> record) {
            TimestampedKeyValueStoreWithHeaders<String, Long> store = context.getStateStore(name);
            var before = store.get(record.key());
            store.put(record.key(), made(record));
            return held(before);
        }

        private Held window(Record<String, Long> record) {
            TimestampedWindowStoreWithHeaders<String, Long> store = context.getStateStore(name);
            long start = start(record);
            var before = store.fetch(record.key(), start);
            store.put(record.key(), made(record), start);
            return held(before);
        }

        private Held session(Record<String, Long> record) {
            SessionStoreWithHeaders<String, Long> store = context.getStateStore(name);
            long start = start(record);
            long end = start + SIZE - 1;
            var before = store.fetchSession(record.key(), start, end);
            store.put(new Windowed<>(record.key(), new SessionWindow(start, end)),
                AggregationWithHeaders.make(record.value(), record.headers()));
            return before == null
                ? new Held(null, new RecordHeaders())
                : new Held(before.aggregation(), before.headers());
        }

        private static long start(Record<String, Long> record) {
            return record.timestamp() - Math.floorMod(record.timestamp(), SIZE);
        }

        private static ValueTimestampHeaders<Long> made(Record<String, Long> record) {
            return ValueTimestampHeaders.make(
                record.value(), record.timestamp(), record.headers());
        }

        private static Held held(ValueTimestampHeaders<Long> before) {
            return before == null
                ? new Held(null, new RecordHeaders())
                : new Held(before.value(), before.headers());
        }
    }
}
