"""Django: a view that changes something, and tells everybody. A project in one file; needs publish.py beside it.

    pip install django
    python3 examples/publishers/django_app.py, then: curl -X POST http://127.0.0.1:5000/orders/17/paid

In a project with a database, publish in `transaction.on_commit`, so that nobody hears of what was rolled back.
"""

import json
import os

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from publish import publish

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="for this example only")


@csrf_exempt
@require_POST
def paid(request, order):
    return JsonResponse({"id": publish(f"orders/{order}", json.dumps({"state": "paid"}))})


urlpatterns = [path("orders/<int:order>/paid", paid)]

if __name__ == "__main__":
    execute_from_command_line(["", "runserver", "--noreload", os.environ.get("PORT", "5000")])
