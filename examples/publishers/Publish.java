// Publishes an event, and repeats that until there is an answer: with its key the event counts once. Java 17 or newer:
//
//   java examples/publishers/Publish.java prices/eur 1.0823

import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.UUID;

public class Publish {
    private static final HttpClient HTTP = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    static String publish(String topic, String data) throws IOException, InterruptedException {
        String control = System.getenv().getOrDefault("SLUICEGATE_CONTROL", "http://127.0.0.1:8081");
        String name = URLEncoder.encode(topic, StandardCharsets.UTF_8).replace("+", "%20");
        HttpRequest request = HttpRequest.newBuilder(URI.create(control + "/events/" + name))
            .header("Idempotency-Key", UUID.randomUUID().toString())
            .timeout(Duration.ofSeconds(10))
            .POST(HttpRequest.BodyPublishers.ofString(data))
            .build();
        for (int attempt = 1; ; attempt++) {
            try {
                HttpResponse<String> response = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
                if (response.statusCode() == 200) {
                    return response.body();
                }
                // What the gateway does not understand, it never will.
                if (response.statusCode() < 500 || attempt == 5) {
                    throw new IllegalStateException(response.body());
                }
            } catch (IOException error) {
                if (attempt == 5) {
                    throw error;
                }
            }
            Thread.sleep(200L << attempt);
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.out.print(publish(arguments[0], arguments[1]));
    }
}
