// Publishes an event, and repeats that until there is an answer: with its key the event counts once.
//
//	go run examples/publishers/publish.go prices/eur 1.0823
package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

func publish(topic, data string) (string, error) {
	control := os.Getenv("SLUICEGATE_CONTROL")
	if control == "" {
		control = "http://127.0.0.1:8081"
	}
	key := rand.Text()
	var last error
	for attempt := range 5 {
		time.Sleep(time.Duration(attempt*attempt) * 200 * time.Millisecond)
		request, err := http.NewRequest("POST", control+"/events/"+url.PathEscape(topic), strings.NewReader(data))
		if err != nil {
			return "", err
		}
		request.Header.Set("Idempotency-Key", key)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			last = err
			continue
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err == nil && response.StatusCode == http.StatusOK {
			return string(answer), nil
		}
		last = fmt.Errorf("%s: %s", response.Status, answer)
		// What the gateway does not understand, it never will.
		if response.StatusCode < 500 {
			break
		}
	}
	return "", last
}

func main() {
	answer, err := publish(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(answer)
}
