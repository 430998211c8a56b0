// The functions that programs which are data name, with their parameters; tests/src/golden has the
// same ones. Invariant: each is total, also on nulls, and wraps around where numbers are too large.

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BiFunction;
import java.util.function.BinaryOperator;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.kstream.Predicate;
import org.apache.kafka.streams.state.VersionedRecord;

final class GoldenFunctions {
    private GoldenFunctions() {
    }

    static long number(Long value) {
        return value == null ? 0 : value;
    }

    /** A number that differs from key to key. */
    static long code(String key) {
        long code = 0;
        if (key != null) {
            for (byte letter : key.getBytes(StandardCharsets.UTF_8)) {
                code = code * 31 + letter;
            }
        }
        return code;
    }

    /** Field `if`: [MODULUS, REMAINDER] of the value, or [] for any value but null. */
    static Predicate<String, Long> predicate(JsonNode node) {
        if (node.isEmpty()) {
            return (key, value) -> value != null;
        }
        long modulus = node.get(0).asLong();
        long remainder = node.get(1).asLong();
        return (key, value) -> Math.floorMod(number(value), modulus) == remainder;
    }

    /**
     * Field `key`: ["value", MODULUS] or ["value", MODULUS, REMAINDER THAT MEANS NULL], ["code",
     * MODULUS] of the key's number, ["take", LETTERS] of the key.
     */
    static BiFunction<String, Long, String> selector(JsonNode node) {
        String kind = node.get(0).asText();
        int parameter = node.get(1).asInt();
        long none = node.size() > 2 ? node.get(2).asLong() : -1;
        return switch (kind) {
            case "value" -> (key, value) -> {
                long remainder = Math.floorMod(number(value), (long) parameter);
                return remainder == none ? null : "k" + remainder;
            };
            case "code" -> (key, value) -> "k" + Math.floorMod(code(key), (long) parameter);
            case "take" -> (key, value) ->
                key == null ? null : key.substring(0, Math.min(parameter, key.length()));
            default -> throw new IllegalArgumentException("key " + node);
        };
    }

    /** Field `map`: [FACTOR, SUMMAND], and the modulus at whose multiples there is no value. */
    static BiFunction<String, Long, Long> map(JsonNode node) {
        long factor = node.path(0).asLong(1);
        long summand = node.path(1).asLong(0);
        long none = node.path(2).asLong(0);
        return (key, value) -> {
            if (value == null) {
                return null;
            }
            long mapped = value * factor + summand;
            return none > 0 && Math.floorMod(mapped, none) == 0 ? null : (Long) mapped;
        };
    }

    /** Field `keyed`: whether the number of the key is added to a value. */
    static Long keyed(boolean keyed, String key, Long value) {
        return keyed && value != null ? (Long) (value + code(key)) : value;
    }

    /** Field `times`: a value's remainder by it says how many values it becomes. */
    static List<Long> several(Long value, long modulus) {
        List<Long> values = new ArrayList<>();
        for (long i = 0; i < Math.floorMod(number(value), modulus); i++) {
            values.add(value * 10 + i);
        }
        return values;
    }

    static List<KeyValue<String, Long>> several(
            String key, Long value, long modulus, BiFunction<String, Long, String> selector) {
        List<KeyValue<String, Long>> records = new ArrayList<>();
        for (Long one : several(value, modulus)) {
            records.add(KeyValue.pair(selector.apply(key, one), one));
        }
        return records;
    }

    static long added(String key, Long value, Long sum) {
        return added(key, value, sum, 1);
    }

    /** In a group of several streams each has a factor of its own. */
    static long added(String key, Long value, Long sum, long factor) {
        return sum * 31 + number(value) * factor;
    }

    static long subtracted(String key, Long value, Long sum) {
        return sum * 37 - value;
    }

    static BinaryOperator<Long> fold(String name) {
        return switch (name) {
            case "sum" -> (a, b) -> a + number(b);
            case "max" -> (a, b) -> Math.max(a, number(b));
            case "last" -> (a, b) -> number(b);
            case "mix" -> (a, b) -> a * 31 + number(b);
            default -> throw new IllegalArgumentException("fold " + name);
        };
    }

    /** What takes a row back from a fold; it need not be its inverse to show when it is called. */
    static BinaryOperator<Long> unfold(String name) {
        return switch (name) {
            case "sum" -> (a, b) -> a - b;
            case "max" -> Math::min;
            case "last" -> (a, b) -> a - 1;
            case "mix" -> (a, b) -> a * 37 - b;
            default -> throw new IllegalArgumentException("fold " + name);
        };
    }

    static long merged(long a, long b) {
        return a * 41 + b;
    }

    /**
     * Until when a value that was put holds, and what its key was, and since when. Processors are
     * not told until when it was that.
     */
    static long versions(long put, VersionedRecord<Long> was) {
        long told = was == null ? -7 : was.value() * 31 + was.timestamp();
        return put * 1_000_003 + told;
    }

    /** What becomes of a value that is the `number`th change of its key. */
    static Long numbered(Long value, long number) {
        if (value == null) {
            return number % 2 == 0 ? (Long) (-number) : null;
        }
        return Math.floorMod(value, 5L) == 4 ? null : (Long) (number * 1000 + value);
    }

    /** Which side was absent, and which was which, can be told from the result. */
    static Long joined(Long left, Long right) {
        return (left == null ? -7 : left) * 1009 + (right == null ? -3 : right);
    }
}
