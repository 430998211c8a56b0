// The peer of the side-by-side benches: the same programs in Apache Kafka Streams, on the JVM.
//
//   java -Xms512m -Xmx512m -XX:+UseG1GC -cp 'CLASSES:libs/*' StreamsBench WORKLOAD KEY=VALUE...
//
// Invariant: it prints exactly one line of JSON, after everything it did is committed; whatever
// went wrong ends the process with another code than 0 and no line. The workloads, and what their
// outputs are, byte for byte, stand in tests/src/bench/kafka/mod.rs, which starts this.

import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.CloseOptions.GroupMembershipOperation;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TableJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

public final class StreamsBench {
    private static final Serde<String> KEY = Serdes.String();
    private static final Serde<byte[]> VALUE = Serdes.ByteArray();
    /** How long the group may take to be formed, and a state of any size to be restored. */
    private static final long START_SECONDS_MAX = 600;
    /** A program without a result for so long has no more to come. */
    private static final long QUIET_NANOS = 5_000_000_000L;
    /** How often it is looked how far the program is. */
    private static final long LOOK_MILLIS = 5;
    private static final Duration WINDOW = Duration.ofSeconds(10);
    private static final Duration GAP = Duration.ofSeconds(1);
    private static final Duration APART = Duration.ofMillis(100);
    private static final long ROWS = 100_000;

    /** Only the stream thread writes it, so a lazy store is enough and costs next to nothing. */
    private final AtomicLong seen = new AtomicLong();
    /** Results of a join whose records go over topics of the program's own. */
    private final AtomicLong results = new AtomicLong();
    private final Map<String, String> options = new HashMap<>();
    private final String workload;

    private StreamsBench(String[] words) {
        workload = words[0];
        for (int i = 1; i < words.length; i++) {
            String[] pair = words[i].split("=", 2);
            options.put(pair[0], pair[1]);
        }
    }

    public static void main(String[] words) throws Exception {
        int code = 1;
        try {
            System.out.println(new StreamsBench(words).run());
            code = 0;
        } catch (Exception error) {
            error.printStackTrace();
        }
        // Not a return: client threads that are stuck must not keep a failed run alive.
        System.exit(code);
    }

    private String run() throws Exception {
        long boot = cpuNanos();
        KafkaStreams streams = new KafkaStreams(topology().build(), properties());
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(2);
            return null;
        });
        long begin = System.nanoTime();
        streams.start();
        if (workload.equals("restore") && options.containsKey("restored")) {
            return restored(streams, begin, boot);
        }
        if (number("records") == 0) {
            return serve(streams);
        }
        long warmup = number("warmup");
        long records = number("records");
        await(warmup);
        long from = System.nanoTime();
        long fromCpu = cpuNanos();
        await(records);
        long last = workload.equals("foreign_join") ? quiet() : System.nanoTime();
        // Closing commits the tail: only then is all of the work done.
        if (!streams.close(leaving())) {
            throw new IllegalStateException("not closed in time");
        }
        long end = System.nanoTime();
        long cpu = cpuNanos();
        return json(records - warmup, last - from, end - from, cpu - fromCpu, cpu)
            + String.format(Locale.ROOT, ",\"startup_seconds\":%.3f}", (from - begin) / 1e9);
    }

    /**
     * What goes over topics of the program's own is not over with the input: waits until nothing
     * more comes; when the last one came.
     */
    private long quiet() throws Exception {
        long known = results.get();
        long last = System.nanoTime();
        while (System.nanoTime() < last + QUIET_NANOS) {
            Thread.sleep(LOOK_MILLIS);
            if (results.get() != known) {
                known = results.get();
                last = System.nanoTime();
            }
        }
        return last;
    }

    /** Works until its standard input ends; the load comes from elsewhere. */
    private String serve(KafkaStreams streams) throws Exception {
        while (System.in.read() >= 0) {
            continue;
        }
        streams.close(leaving());
        long cpu = cpuNanos();
        return json(seen.get(), 1, 1, cpu, cpu) + "}";
    }

    /** From start to running, with the local state deleted before; then counts what came back. */
    private String restored(KafkaStreams streams, long begin, long boot) throws Exception {
        long deadline = begin + START_SECONDS_MAX * 1_000_000_000L;
        while (streams.state() != KafkaStreams.State.RUNNING) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("still " + streams.state());
            }
            Thread.sleep(2);
        }
        long end = System.nanoTime();
        long cpu = cpuNanos();
        String line = json(number("restored"), end - begin, end - begin, cpu - boot, cpu);
        long rows = 0;
        var store = streams.store(StoreQueryParameters.fromNameAndType(
            "latest", QueryableStoreTypes.<String, byte[]>keyValueStore()));
        try (var all = store.all()) {
            for (; all.hasNext(); all.next()) {
                rows++;
            }
        }
        streams.close(leaving());
        if (rows != number("restored")) {
            throw new IllegalStateException(rows + " rows were restored");
        }
        return line + "}";
    }

    private StreamsBuilder topology() {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, byte[]> in = builder.stream(options.get("in"), Consumed.with(KEY, VALUE));
        in = in.peek((key, value) -> seen.lazySet(seen.get() + 1));
        String out = options.get("out");
        switch (workload) {
            case "stateless" -> in
                .filter((key, value) -> (value[0] & 7) != 0)
                .mapValues(StreamsBench::flipped)
                .to(out, Produced.with(KEY, VALUE));
            case "count" -> in
                .groupByKey(Grouped.with(KEY, VALUE))
                .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts")
                    .withKeySerde(KEY).withValueSerde(Serdes.Long()))
                .toStream()
                .to(out, Produced.with(KEY, Serdes.Long()));
            case "join" -> {
                KTable<String, byte[]> table = builder.table(options.get("table"),
                    Consumed.with(KEY, VALUE),
                    Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>as("profiles")
                        .withKeySerde(KEY).withValueSerde(VALUE));
                in.join(table, StreamsBench::joined, Joined.with(KEY, VALUE, VALUE))
                    .to(out, Produced.with(KEY, VALUE));
            }
            case "restore" -> in
                .groupByKey(Grouped.with(KEY, VALUE))
                .reduce((old, value) -> value,
                    Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>as("latest")
                        .withKeySerde(KEY).withValueSerde(VALUE));
            case "tumbling" -> in
                .groupByKey(Grouped.with(KEY, VALUE))
                .windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, WINDOW))
                .count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("windows")
                    .withKeySerde(KEY).withValueSerde(Serdes.Long()))
                .toStream()
                .filter((windowed, count) -> count != null)
                .map(StreamsBench::told)
                .to(out, Produced.with(KEY, VALUE));
            case "session" -> in
                .groupByKey(Grouped.with(KEY, VALUE))
                .windowedBy(SessionWindows.ofInactivityGapAndGrace(GAP, GAP))
                .count(Materialized.<String, Long, SessionStore<Bytes, byte[]>>as("sessions")
                    .withKeySerde(KEY).withValueSerde(Serdes.Long()))
                .toStream()
                .filter((windowed, count) -> count != null)
                .map(StreamsBench::told)
                .to(out, Produced.with(KEY, VALUE));
            case "stream_join" -> in
                .join(
                    builder.stream(options.get("table"), Consumed.with(KEY, VALUE))
                        .peek((key, value) -> seen.lazySet(seen.get() + 1)),
                    StreamsBench::joined,
                    JoinWindows.ofTimeDifferenceAndGrace(APART, GAP),
                    StreamJoined.with(KEY, VALUE, VALUE).withStoreName("pairs"))
                .to(out, Produced.with(KEY, VALUE));
            case "foreign_join" -> {
                KTable<String, byte[]> rows = builder.table(options.get("table"),
                    Consumed.with(KEY, VALUE),
                    Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>as("profiles")
                        .withKeySerde(KEY).withValueSerde(VALUE));
                in.toTable(Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>as("orders")
                        .withKeySerde(KEY).withValueSerde(VALUE))
                    .join(rows, StreamsBench::named,
                        (value, row) -> {
                            results.lazySet(results.get() + 1);
                            return joined(value, row);
                        },
                        TableJoined.<String, String>as("named"),
                        Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>with(KEY, VALUE))
                    .toStream()
                    .to(out, Produced.with(KEY, VALUE));
            }
            default -> throw new IllegalArgumentException("no workload " + workload);
        }
        return builder;
    }

    /** A window's count under its key and start: its end and the count. */
    private static KeyValue<String, byte[]> told(Windowed<String> windowed, Long count) {
        byte[] value = ByteBuffer.allocate(16).putLong(windowed.window().end()).putLong(count)
            .array();
        return KeyValue.pair(windowed.key() + "@" + windowed.window().start(), value);
    }

    /** The key of the row that a record names: its first eight bytes say which. */
    private static String named(byte[] value) {
        String digits = Long.toString(
            Long.remainderUnsigned(ByteBuffer.wrap(value).getLong(), ROWS));
        return "key-" + "0".repeat(6 - digits.length()) + digits;
    }

    private static byte[] flipped(byte[] value) {
        byte[] out = new byte[value.length];
        for (int i = 0; i < value.length; i++) {
            out[i] = (byte) (value[i] ^ 0x5a);
        }
        return out;
    }

    /** The first 16 bytes of the record, then the table's. */
    private static byte[] joined(byte[] value, byte[] profile) {
        byte[] out = new byte[16 + profile.length];
        System.arraycopy(value, 0, out, 0, 16);
        System.arraycopy(profile, 0, out, 16, profile.length);
        return out;
    }

    private Properties properties() {
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("application.id"));
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("bootstrap.servers"));
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, options.get("commit.interval.ms"));
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, "1");
        p.put(StreamsConfig.STATE_DIR_CONFIG, options.get("state.dir"));
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, options.get("cache"));
        p.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, "-1");
        p.put("auto.offset.reset", "earliest");
        return p;
    }

    /**
     * By default a member that ends stays in its group until its session is over: 45 seconds in
     * which the next one waits, and by which a restore would be measured, not by its work.
     */
    private static CloseOptions leaving() {
        return CloseOptions.groupMembershipOperation(GroupMembershipOperation.LEAVE_GROUP)
            .withTimeout(Duration.ofSeconds(60));
    }

    private void await(long count) throws Exception {
        long deadline = System.nanoTime() + number("seconds.max") * 1_000_000_000L;
        while (seen.get() < count) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException(seen.get() + " of " + count + " in time");
            }
            Thread.sleep(LOOK_MILLIS);
        }
    }

    private long number(String name) {
        return Long.parseLong(options.get(name));
    }

    /** Processor time of all threads of the process: compiler and collector included. */
    private static long cpuNanos() {
        var system = (com.sun.management.OperatingSystemMXBean)
            ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime();
    }

    private static String json(long records, long busy, long all, long cpu, long cpuTotal)
            throws Exception {
        String high = Files.readAllLines(Path.of("/proc/self/status")).stream()
            .filter(line -> line.startsWith("VmHWM:")).findFirst().orElseThrow();
        double rss = Double.parseDouble(high.replaceAll("[^0-9]", "")) / 1024;
        return String.format(Locale.ROOT,
            "{\"records\":%d,\"seconds\":%.3f,\"seconds_to_close\":%.3f,\"cpu_seconds\":%.3f,"
                + "\"cpu_seconds_total\":%.3f,\"max_rss_mb\":%.1f",
            records, busy / 1e9, all / 1e9, cpu / 1e9, cpuTotal / 1e9, rss);
    }
}
