// The peer of tests/src/golden: runs programs that are data in Kafka Streams' own test driver.
//
//   java -Dlog4j2.level=OFF -cp 'CLASSES:libs/*' Golden memory|rocksdb <programs >answers
//
// Each line of input is a program (the format stands in tests/src/golden/mod.rs), each line of
// output its answer: {"outputs":{TOPIC:[[KEY,VALUE,TIME(,HEADER)],..]},"dropped":N} or
// {"refused":TEXT} or {"error":TEXT}. Invariant: answers come in the order of the programs, one
// for each; that Kafka Streams does not build a program or fails in it is an answer, and ends
// nothing.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.LongSerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyConfig;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers.RocksDBDslStoreSuppliers;
import org.apache.kafka.streams.test.TestRecord;

public final class Golden {
    private static final ObjectMapper JSON = new ObjectMapper();
    /** The only header there is; a script says its value. */
    static final String HEADER = "h";
    private static final LongSerializer NUMBERS = new LongSerializer();

    private final boolean memory;
    private final Path states;

    private Golden(boolean memory, Path states) {
        this.memory = memory;
        this.states = states;
    }

    private Properties properties(JsonNode nodes) {
        boolean memory = this.memory;
        for (JsonNode node : nodes) {
            // These stores tell sessions that close together in another order than RocksDB does.
            memory &= !(node.path("kind").asText().equals("session")
                && node.path("emit").asText().equals("close"));
        }
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "golden");
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "none:1");
        properties.put(StreamsConfig.STATE_DIR_CONFIG, states.toString());
        properties.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.LongSerde.class);
        // Each change of a table is told, so that outputs do not depend on when commits happen.
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
        properties.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.NO_OPTIMIZATION);
        properties.put(StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG,
            memory ? InMemoryDslStoreSuppliers.class : RocksDBDslStoreSuppliers.class);
        return properties;
    }

    public static void main(String[] words) throws Exception {
        PrintStream answers = System.out;
        // Whatever else is printed must not be taken for an answer.
        System.setOut(System.err);
        Path states = Files.createTempDirectory("golden");
        var golden = new Golden(words[0].equals("memory"), states);
        var programs = new BufferedReader(
            new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try {
            for (String line = programs.readLine(); line != null; line = programs.readLine()) {
                answers.println(golden.answer(line));
                answers.flush();
            }
        } finally {
            delete(states);
        }
    }

    private ObjectNode answer(String line) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        // What goes wrong until the program is built is a refusal, afterwards an error.
        String wrong = "refused";
        try {
            JsonNode program = JSON.readTree(line);
            JsonNode nodes = program.get("nodes");
            var errors = new GoldenErrors(program);
            Properties properties = properties(nodes);
            properties.putAll(errors.properties());
            var config = new TopologyConfig(new StreamsConfig(properties));
            var graph = new GoldenGraph(new StreamsBuilder(config), nodes);
            graph.addAll(nodes);
            Topology topology = graph.build(properties);
            wrong = "error";
            try (var driver = new TopologyTestDriver(topology, properties, Instant.EPOCH)) {
                run(driver, graph, errors.topics(), program.get("script"), answer);
            } catch (Exception error) {
                // A program that was to stop is not asked whether it ends well.
                if (!answer.has("failed")) {
                    throw error;
                }
                delete(states);
            }
        } catch (Exception error) {
            Throwable cause = error;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            answer.removeAll();
            answer.put(wrong, cause.toString());
            // A driver that failed may have left its lock and its stores behind.
            delete(states);
        }
        return answer;
    }

    private static void run(TopologyTestDriver driver, GoldenGraph graph, Set<String> letters,
            JsonNode script, ObjectNode answer) {
        int failed = play(script, graph, driver);
        ObjectNode outputs = answer.putObject("outputs");
        Set<String> chosen = driver.producedTopicNames();
        for (String topic : graph.sinks()) {
            read(driver, topic, outputs.putArray(topic));
        }
        for (String topic : graph.chosenSinks()) {
            ArrayNode records = outputs.putArray(topic);
            if (chosen.contains(topic)) {
                read(driver, topic, records);
            }
        }
        for (String topic : letters) {
            ArrayNode records = outputs.putArray(topic);
            if (chosen.contains(topic)) {
                GoldenLetters.read(driver, topic, records);
            }
        }
        double dropped = graph.dropped.get();
        for (Metric metric : driver.metrics().values()) {
            if (metric.metricName().name().equals("dropped-records-total")) {
                dropped += (Double) metric.metricValue();
            }
        }
        answer.put("dropped", (long) dropped);
        if (failed > 0) {
            answer.put("failed", failed);
        }
    }

    /** Whether that is a program's own way to stop: at what it is to stop at. */
    private static boolean shouldStop(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            String text = String.valueOf(cause.getMessage());
            if (text.contains("max capacity") || text.contains("(negative) timestamp")
                    || text.contains("Could not infer new timestamp")
                    || text.contains("refused ")
                    || text.contains("received by LongDeserializer is not 8")) {
                return true;
            }
        }
        return false;
    }

    /** Returns the number of the step at which the program stopped as it should, or 0. */
    private static int play(JsonNode script, GoldenGraph graph, TopologyTestDriver driver) {
        Map<String, TestInputTopic<String, byte[]>> topics = new HashMap<>();
        long clock = 0;
        int number = 0;
        for (JsonNode step : script) {
            number++;
            try {
                if (step.size() == 1) {
                    long now = step.get(0).asLong();
                    graph.clock.set(now);
                    driver.advanceWallClockTime(Duration.ofMillis(now - clock));
                    clock = now;
                } else if (graph.sources().contains(step.get(0).asText())) {
                    var topic = topics.computeIfAbsent(step.get(0).asText(), name ->
                        driver.createInputTopic(
                            name, new StringSerializer(), new ByteArraySerializer()));
                    topic.pipeInput(record(step));
                }
            } catch (RuntimeException error) {
                if (shouldStop(error)) {
                    return number;
                }
                throw error;
            }
        }
        return 0;
    }

    private static TestRecord<String, byte[]> record(JsonNode step) {
        String key = step.get(1).isNull() ? null : step.get(1).asText();
        JsonNode value = step.get(2);
        byte[] bytes = value.isNull() ? null
            : value.isTextual() ? value.asText().getBytes(StandardCharsets.UTF_8)
            : NUMBERS.serialize(null, value.asLong());
        Headers headers = new RecordHeaders();
        if (step.size() > 4) {
            headers.add(HEADER, step.get(4).asText().getBytes(StandardCharsets.UTF_8));
        }
        // Only as an instant may a time be negative.
        return new TestRecord<>(key, bytes, headers, Instant.ofEpochMilli(step.get(3).asLong()));
    }

    private static void read(TopologyTestDriver driver, String topic, ArrayNode out) {
        var records = driver.createOutputTopic(
            topic, new StringDeserializer(), new LongDeserializer()).readRecordsToList();
        for (TestRecord<String, Long> record : records) {
            ArrayNode line = out.addArray();
            line.add(record.key()).add(record.value()).add(record.timestamp());
            for (Header header : record.headers()) {
                line.add(new String(header.value(), StandardCharsets.UTF_8));
            }
        }
    }

    private static void delete(Path directory) throws Exception {
        if (!Files.exists(directory)) {
            return;
        }
        try (var paths = Files.walk(directory)) {
            for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(path);
            }
        }
    }
}
