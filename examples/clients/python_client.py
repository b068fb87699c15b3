"""Prints the events of a stream, reconnects, and resumes after the event that it saw last.

    pip install httpx-sse
    python3 examples/clients/python_client.py http://127.0.0.1:8080/events/prices/eur
"""

import json
import sys
import time

import httpx
from httpx_sse import connect_sse


def events(url):
    last, retry = "", 3.0
    # Longer than the gateway's heartbeat of 15 seconds: a stream that is silent for longer is dead.
    with httpx.Client(timeout=httpx.Timeout(10, read=45)) as client:
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                with connect_sse(client, "GET", url, headers=headers) as source:
                    source.response.raise_for_status()
                    for event in source.iter_sse():
                        last = event.id or last
                        if event.retry is not None:
                            retry = event.retry / 1000
                        # An id without data is a position in the stream, and no event.
                        if event.data:
                            yield event
            except httpx.TransportError as error:
                print(error, file=sys.stderr)
            time.sleep(retry)


if __name__ == "__main__":
    for event in events(sys.argv[1]):
        # On a gap, fetch the current state.
        text = f"gap: {json.loads(event.data)['reason']}" if event.event == "gap" else event.data
        print(text, flush=True)
