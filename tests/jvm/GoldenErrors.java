// Bad records of programs that are data: operators and sinks that refuse some, and the three
// exception handlers, which answer as the program says. Invariant: who answers is the node, else
// the source, else the program, as with us; dead letters are those that Kafka Streams' own handlers
// write.

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.LongSerializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.DeserializationExceptionHandler;
import org.apache.kafka.streams.errors.ErrorHandlerContext;
import org.apache.kafka.streams.errors.ProcessingExceptionHandler;
import org.apache.kafka.streams.errors.ProductionExceptionHandler;
import org.apache.kafka.streams.errors.internals.ExceptionHandlerUtils;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.processor.api.Record;

/** The answers of one program. */
final class GoldenErrors {
    /** The handlers are made by Kafka Streams, and find the answers in their configuration. */
    private static final String ANSWERS = "golden.answers";
    private static final String DEAD_LETTERS = "dead";

    private final Map<String, JsonNode> nodes = new HashMap<>();
    private final Map<String, JsonNode> sources = new HashMap<>();
    private final JsonNode program;
    private final TreeSet<String> topics = new TreeSet<>();

    GoldenErrors(JsonNode program) {
        this.program = program.path("on_error");
        this.program.forEach(this::letters);
        int place = 0;
        for (JsonNode node : program.get("nodes")) {
            if (node.has("on_error")) {
                letters(node.get("on_error"));
                boolean source =
                    Set.of("stream", "table", "read_only").contains(node.get("op").asText());
                (source ? sources : nodes).put(
                    source ? node.get("topic").asText() : "n" + place, node.get("on_error"));
            }
            place++;
        }
    }

    /** The topics that dead letters go to. */
    TreeSet<String> topics() {
        return topics;
    }

    Map<String, Object> properties() {
        Map<String, Object> properties = new HashMap<>();
        properties.put(ANSWERS, this);
        properties.put(StreamsConfig.DESERIALIZATION_EXCEPTION_HANDLER_CLASS_CONFIG,
            Deserialization.class);
        properties.put(StreamsConfig.PROCESSING_EXCEPTION_HANDLER_CLASS_CONFIG, Processing.class);
        properties.put(StreamsConfig.PRODUCTION_EXCEPTION_HANDLER_CLASS_CONFIG, Production.class);
        return properties;
    }

    private void letters(JsonNode policy) {
        String topic = topic(policy);
        if (topic != null) {
            topics.add(topic);
        }
    }

    private static String topic(JsonNode policy) {
        return policy.isObject() ? policy.get("dead_letter_to").asText()
            : policy.asText().equals("dead_letter") ? DEAD_LETTERS : null;
    }

    /** The dead letters to write, or null to stop. */
    private List<ProducerRecord<byte[], byte[]>> answer(
            String kind, ErrorHandlerContext context, Exception error) {
        JsonNode policy = nodes.get(context.processorNodeId());
        if (policy == null && context.topic() != null) {
            policy = sources.get(context.topic());
        }
        if (policy == null) {
            policy = program.path(kind);
        }
        if (policy.isMissingNode() || policy.asText().equals("fail")) {
            return null;
        }
        return ExceptionHandlerUtils.maybeBuildDeadLetterQueueRecords(topic(policy),
            context.sourceRawKey(), context.sourceRawValue(), context, error);
    }

    /** What the handlers have in common: Kafka Streams makes them, and its settings tell them. */
    public abstract static class Answering {
        GoldenErrors answers;

        public void configure(Map<String, ?> configs) {
            answers = (GoldenErrors) configs.get(ANSWERS);
        }
    }

    public static final class Deserialization extends Answering
            implements DeserializationExceptionHandler {
        @Override
        public Response handleError(ErrorHandlerContext context,
                ConsumerRecord<byte[], byte[]> record, Exception error) {
            var letters = answers.answer("deserialization", context, error);
            return letters == null ? Response.fail() : Response.resume(letters);
        }
    }

    public static final class Processing extends Answering
            implements ProcessingExceptionHandler {
        @Override
        public Response handleError(
                ErrorHandlerContext context, Record<?, ?> record, Exception error) {
            var letters = answers.answer("processing", context, error);
            return letters == null ? Response.fail() : Response.resume(letters);
        }
    }

    public static final class Production extends Answering
            implements ProductionExceptionHandler {
        @Override
        public Response handleError(ErrorHandlerContext context,
                ProducerRecord<byte[], byte[]> record, Exception error) {
            return Response.fail();
        }

        @Override
        @SuppressWarnings("rawtypes")
        public Response handleSerializationError(ErrorHandlerContext context,
                ProducerRecord record, Exception error, SerializationExceptionOrigin origin) {
            var letters = answers.answer("production", context, error);
            if (letters == null) {
                // An answer to fail would be asked once more, as an error of the node in front.
                throw new IllegalStateException(error.getMessage(), error);
            }
            return Response.resume(letters);
        }
    }

    /** Refuses a value by field `field` of a node, if the node has one. */
    static void refuse(JsonNode node, String field, Long value) {
        if (node.has(field) && GoldenFunctions.predicate(node.get(field)).test(null, value)) {
            throw new IllegalStateException(text(value));
        }
    }

    private static String text(Long value) {
        return "refused " + value;
    }

    /** The serde of a sink that may refuse values. */
    static Serde<Long> values(JsonNode node) {
        if (!node.has("refuses")) {
            return GoldenGraph.VALUE;
        }
        var test = GoldenFunctions.predicate(node.get("refuses"));
        var numbers = new LongSerializer();
        return Serdes.serdeFrom((topic, value) -> {
            if (test.test(null, value)) {
                throw new SerializationException(text(value));
            }
            return numbers.serialize(topic, value);
        }, GoldenGraph.VALUE.deserializer());
    }

    /** What `how` says, of a value that is not refused. */
    static KStream<String, Long> attempt(KStream<String, Long> stream, JsonNode node, String name) {
        Named named = Named.as(name);
        return switch (node.get("how").asText()) {
            case "map" -> stream.map((k, v) -> {
                refuse(node, "if", v);
                return KeyValue.pair(key(k), mapped(v));
            }, named);
            case "map_values" -> stream.mapValues(v -> {
                refuse(node, "if", v);
                return mapped(v);
            }, named);
            case "select_key" -> stream.selectKey((k, v) -> {
                refuse(node, "if", v);
                return key(k);
            }, named);
            case "flat_map" -> stream.flatMap((k, v) -> {
                refuse(node, "if", v);
                List<KeyValue<String, Long>> records = new ArrayList<>();
                for (Long one : GoldenFunctions.several(v, 3)) {
                    records.add(KeyValue.pair(key(k), one));
                }
                return records;
            }, named);
            case "flat_map_values" -> stream.flatMapValues(v -> {
                refuse(node, "if", v);
                return GoldenFunctions.several(v, 3);
            }, named);
            case "filter" -> stream.filter((k, v) -> {
                refuse(node, "if", v);
                return Math.floorMod(GoldenFunctions.number(v), 2L) == 0;
            }, named);
            case "for_each" -> {
                stream.foreach((k, v) -> refuse(node, "if", v), named);
                yield stream;
            }
            default -> throw new IllegalArgumentException("try " + node);
        };
    }

    private static Long mapped(Long value) {
        return value == null ? null : (Long) (value * 2 + 1);
    }

    private static String key(String key) {
        return "k" + Math.floorMod(GoldenFunctions.code(key), 3L);
    }
}
