"""Flask: a view that changes something, and tells everybody. Needs publish.py beside it.

    pip install flask
    python3 examples/publishers/flask_app.py, then: curl -X POST http://127.0.0.1:5000/orders/17/paid
"""

import json
import os

from flask import Flask, jsonify

from publish import publish

app = Flask(__name__)


@app.post("/orders/<int:order>/paid")
def paid(order):
    # First the database, then the event: whoever gets the event can read what it is about.
    return jsonify(id=publish(f"orders/{order}", json.dumps({"state": "paid"})))


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", 5000)))
