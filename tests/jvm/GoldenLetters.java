// Dead letters as a program's answer has them: what KIP-1034's headers say, apart from the stack
// trace. Invariant: they are told as they are, but for the bytes of records from topics of Kafka
// Streams' own, which are its affair.

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.test.TestRecord;

final class GoldenLetters {
    private static final LongDeserializer NUMBERS = new LongDeserializer();

    private GoldenLetters() {
    }

    static void read(TopologyTestDriver driver, String topic, ArrayNode out) {
        var records = driver.createOutputTopic(topic, new ByteArrayDeserializer(),
            new ByteArrayDeserializer()).readRecordsToList();
        for (TestRecord<byte[], byte[]> record : records) {
            String from = said(record.headers(), "topic");
            boolean internal = from != null && from.startsWith("golden-");
            byte[] value = internal ? null : record.value();
            boolean number = value != null && value.length == Long.BYTES;
            ArrayNode line = out.addArray();
            line.add(internal ? null : text(record.key()));
            line.add(number ? NUMBERS.deserialize(null, value) : null);
            line.add(record.timestamp());
            Header header = record.headers().lastHeader(Golden.HEADER);
            if (header != null) {
                line.add(text(header.value()));
            }
            ObjectNode letter = line.addObject();
            letter.put("exception", said(record.headers(), "exception"));
            letter.put("message", said(record.headers(), "message"));
            letter.put("topic", from);
            letter.put("partition", said(record.headers(), "partition"));
            letter.put("offset", said(record.headers(), "offset"));
            if (value != null && !number) {
                letter.put("bytes", text(value));
            }
        }
    }

    private static String said(Headers headers, String name) {
        return text(headers.lastHeader("__streams.errors." + name).value());
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }
}
