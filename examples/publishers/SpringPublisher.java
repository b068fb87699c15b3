// Not run by a test: it needs Spring Boot 3.2 or newer, with spring-boot-starter-web and spring-tx.
//
// Spring: a component, and how a service uses it.

import java.util.UUID;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.stereotype.Component;
import org.springframework.transaction.event.TransactionPhase;
import org.springframework.transaction.event.TransactionalEventListener;
import org.springframework.web.client.HttpServerErrorException;
import org.springframework.web.client.ResourceAccessException;
import org.springframework.web.client.RestClient;

@Component
class SpringPublisher {
    record OrderPaid(long order) {}

    private record Answer(String id) {}

    private final RestClient http;

    SpringPublisher(RestClient.Builder builder, @Value("${sluicegate.control:http://127.0.0.1:8081}") String control) {
        this.http = builder.baseUrl(control).build();
    }

    /** Publishes an event, and repeats that until there is an answer: with its key the event counts once. */
    String publish(String topic, String data) throws InterruptedException {
        String key = UUID.randomUUID().toString();
        for (int attempt = 1; ; attempt++) {
            try {
                return http.post().uri("/events/{topic}", topic).header("Idempotency-Key", key).body(data)
                    .retrieve().body(Answer.class).id();
            } catch (HttpServerErrorException | ResourceAccessException error) {
                if (attempt == 5) {
                    throw error;
                }
            }
            Thread.sleep(200L << attempt);
        }
    }

    // After the commit, so that nobody hears of what was rolled back.
    @TransactionalEventListener(phase = TransactionPhase.AFTER_COMMIT)
    void on(OrderPaid paid) throws InterruptedException {
        publish("orders/" + paid.order(), "{\"state\":\"paid\"}");
    }
}
