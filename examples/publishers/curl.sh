#!/bin/sh
# Publishes an event, and repeats that until there is an answer: with its key the event counts once.
#
#   examples/publishers/curl.sh prices/eur 1.0823
printf %s "$2" | curl --fail-with-body --silent --show-error --retry 5 --retry-connrefused --retry-max-time 30 \
    --header "Idempotency-Key: $(date +%s)-$$" --data-binary @- \
    "${SLUICEGATE_CONTROL:-http://127.0.0.1:8081}/events/$1"
