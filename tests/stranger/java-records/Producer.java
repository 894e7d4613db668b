import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Publishes a payment as the guide shows it: java -cp 'libs/*' Producer.java BROKERS TOPIC ID ACCOUNT CENTS. */
public class Producer {
    record Payment(String id, String account, long amountCents) {
        String json() {
            return "{\"account\":\"%s\",\"amountCents\":%d}".formatted(account, amountCents);
        }
    }

    public static void main(String[] args) throws Exception {
        var topic = args[1];
        var payment = new Payment(args[2], args[3], Long.parseLong(args[4]));
        Map<String, Object> config = Map.of("bootstrap.servers", args[0]);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            var record = new ProducerRecord<>(topic, payment.account(), payment.json());  // the key: what must stay in order
            record.headers()
                .add("ce_type", "com.bank.PaymentReceived".getBytes(UTF_8))
                .add("ce_source", "billing".getBytes(UTF_8))
                .add("ce_id", payment.id().getBytes(UTF_8));                              // the same when it is sent again
            producer.send(record).get();
        }
    }
}
