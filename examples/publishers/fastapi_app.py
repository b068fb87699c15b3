"""FastAPI: an endpoint that changes something, and tells everybody. Needs publish.py beside it.

    pip install fastapi uvicorn
    python3 examples/publishers/fastapi_app.py, then: curl -X POST http://127.0.0.1:5000/orders/17/paid
"""

import json
import os

import uvicorn
from fastapi import FastAPI

from publish import publish

app = FastAPI()


# Without `async`, so that FastAPI runs it on a thread of its own: publish() blocks.
@app.post("/orders/{order}/paid")
def paid(order: int):
    # First the database, then the event: whoever gets the event can read what it is about.
    return {"id": publish(f"orders/{order}", json.dumps({"state": "paid"}))}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", 5000)), log_level="warning")
