"""Publishes an event, and repeats that until there is an answer: with its key the event counts once.

    python3 examples/publishers/publish.py prices/eur 1.0823
"""

import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

CONTROL = os.environ.get("SLUICEGATE_CONTROL", "http://127.0.0.1:8081")


def publish(topic, data, attempts=5):
    url = f"{CONTROL}/events/{urllib.parse.quote(topic)}"
    request = urllib.request.Request(url, data.encode(), {"Idempotency-Key": str(uuid.uuid4())})
    for attempt in range(1, attempts + 1):
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)["id"]
        except urllib.error.HTTPError as error:
            # What the gateway cannot do now, it may be able to do soon; what it does not understand, it never will.
            if error.code != 503 or attempt == attempts:
                raise RuntimeError(json.load(error)["detail"]) from error
        except OSError:
            if attempt == attempts:
                raise
        time.sleep(0.2 * 2**attempt)


if __name__ == "__main__":
    print(publish(sys.argv[1], sys.argv[2]))
