#!/bin/sh
# Prints the data of each event, reconnects, and resumes after the event that it saw last.
#
#   examples/clients/curl.sh http://127.0.0.1:8080/events/prices/eur
last=$(mktemp)
trap 'rm -f "$last"' EXIT
while true; do
    curl --no-buffer --silent --header "Last-Event-ID: $(cat "$last")" "$1" | while IFS= read -r line; do
        case $line in
            'id: '*) printf %s "${line#id: }" >"$last" ;;
            'data: '*) printf '%s\n' "${line#data: }" ;;
        esac
    done
    sleep 1
done
