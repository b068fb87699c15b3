// Prints the events of a stream, reconnects, and resumes after the event that it saw last.
//
//	go run examples/clients/client.go http://127.0.0.1:8080/events/prices/eur
package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

type client struct {
	url   string
	id    string
	retry time.Duration
}

// read reads one response to its end, and hands over each event.
func (c *client) read(event func(kind, data string)) error {
	request, err := http.NewRequest("GET", c.url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/event-stream")
	if c.id != "" {
		request.Header.Set("Last-Event-ID", c.id)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", response.Status)
	}
	kind, data := "message", []string{}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 16<<20) // the longest line: events may be large
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "":
			// An id without data is a position in the stream, and no event.
			if len(data) > 0 {
				event(kind, strings.Join(data, "\n"))
			}
			kind, data = "message", data[:0]
		case field == "id":
			c.id = value
		case field == "event":
			kind = value
		case field == "data":
			data = append(data, value)
		case field == "retry":
			if ms, err := strconv.Atoi(value); err == nil {
				c.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
	return lines.Err()
}

func main() {
	c := client{url: os.Args[1], retry: 3 * time.Second}
	for {
		err := c.read(func(kind, data string) {
			// On an event of the type gap, fetch the current state.
			if kind == "gap" {
				data = "gap: " + data
			}
			fmt.Println(data)
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		time.Sleep(c.retry)
	}
}
