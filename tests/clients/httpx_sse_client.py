"""Subscribes with httpx-sse, which leaves coming back to its caller: `httpx_sse_client.py URL COUNT`."""

import json
import sys
import time

import httpx
from httpx_sse import connect_sse

url, left = sys.argv[1], int(sys.argv[2])
last_id, retry_s = None, 1.0
with httpx.Client() as client:
    while left > 0:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        with connect_sse(client, "GET", url, headers=headers) as source:
            source.response.raise_for_status()
            print(json.dumps({"type": "open"}), flush=True)
            for event in source.iter_sse():
                if event.retry is not None:
                    retry_s = event.retry / 1000
                last_id = event.id or last_id
                # To httpx-sse a block without data is an event; to the standard it is none.
                if not event.data:
                    continue
                line = {"type": event.event, "id": event.id, "data": event.data}
                print(json.dumps(line), flush=True)
                left -= 1
                if left == 0:
                    break
        if left > 0:
            time.sleep(retry_s)
