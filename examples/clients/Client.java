// Prints the events of a stream, reconnects, and resumes after the event that it saw last. Java 17 or newer:
//
//   java examples/clients/Client.java http://127.0.0.1:8080/events/prices/eur

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;

public class Client {
    private String id = "";
    private String type = "message";
    private long retryMs = 3000;
    private final List<String> data = new ArrayList<>();

    private void line(String line) {
        int colon = line.indexOf(':');
        String field = colon < 0 ? line : line.substring(0, colon);
        String value = colon < 0 ? "" : line.substring(colon + 1).stripLeading();
        switch (field) {
            case "id" -> id = value;
            case "event" -> type = value;
            case "retry" -> retryMs = Long.parseLong(value);
            case "data" -> data.add(line.startsWith("data: ") ? line.substring(6) : line.substring(5));
            default -> { }
        }
        if (line.isEmpty()) {
            // An id without data is a position in the stream, and no event.
            if (!data.isEmpty()) {
                // On an event of the type gap, fetch the current state.
                System.out.println((type.equals("gap") ? "gap: " : "") + String.join("\n", data));
            }
            data.clear();
            type = "message";
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        HttpClient http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        Client client = new Client();
        while (true) {
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(arguments[0])).header("Accept", "text/event-stream");
            if (!client.id.isEmpty()) {
                request.header("Last-Event-ID", client.id);
            }
            try {
                var response = http.send(request.build(), HttpResponse.BodyHandlers.ofLines());
                if (response.statusCode() == 200) {
                    response.body().forEach(client::line);
                } else {
                    System.err.println(response.statusCode());
                }
            } catch (IOException | java.io.UncheckedIOException error) {
                System.err.println(error);
            }
            Thread.sleep(client.retryMs);
        }
    }
}
