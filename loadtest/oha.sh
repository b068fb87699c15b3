#!/usr/bin/env bash
# A gateway under oha, a load client of other hands: `loadtest/oha.sh --help` says what it measures.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() {
    cat <<'END'
usage: loadtest/oha.sh [connect|streams|publish|all]

Drives a gateway with oha 1.16 (`cargo install oha --locked`) and prints what each figure means. It starts
target/release/sluicegate on free ports and ends it, unless URL and CONTROL name one that runs.

  connect   CONNECTS connects, CONNECTIONS under way at once: connects a second, time to the first byte.
            Each stream asks for one event that is in the log already (max_events=1 and last_event_id=earliest),
            so that it ends at once, by itself, and nothing but the gateway is waited for. With an event still to
            come, as the default hello every 2 seconds, the figure would be that event's schedule.
  streams   STREAMS streams, all open before the first of EVENTS events, RATE a second; each ends by itself
            after the last one (max_events=EVENTS): how long streams took, bytes a second.
  publish   POSTS posts of one event each, first on a schedule of POST_RATE a second, latency counted from
            when a post was due; then closed loop, each of CONNECTIONS posting again once it is answered.

oha reads a response to its end: its response time is the time to the END of a stream, and `firstByte`, which only
its JSON has, the time from before the connect to the first piece of the body (the gateway sends a comment as it
accepts a stream). It sees no events: not when one came, nor their order, nor one that came twice. What it can see
is checked: every request was answered 200, and on `streams` the bodies are as long as EVENTS events are. Delivery
latency, order and exactly once are what `loadtest fanout` is for.

Environment, with defaults:
  URL, CONTROL      both listeners of a gateway that runs, such as http://127.0.0.1:8080 and http://127.0.0.1:8081;
                    only this machine's, unless ALLOW_REMOTE=1; nobody else should open streams there meanwhile
  GATEWAY           the program to start otherwise
  CONNECTS=10000    STREAMS=1000      POSTS=10000
  CONNECTIONS=64    EVENTS=50         POST_RATE=1000
  BYTES=100         RATE=10

The exit code is 0 when every request was answered as it should be. Otherwise one line on stderr says what was wrong.
END
}

die() {
    printf 'oha.sh: %s\n' "$1" >&2
    exit 1
}

# whole NAME DEFAULT LEAST MOST: a setting from the environment that is a whole number.
whole() {
    local text=${!1:-$2}
    if [[ ! $text =~ ^[0-9]{1,9}$ ]] || ((10#$text < $3 || 10#$text > $4)); then
        die "$1=$text is no whole number from $3 to $4"
    fi
    printf -v "$1" %d "$((10#$text))"
}

# here_only NAME: an address must be this machine's.
here_only() {
    local url='^http://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]+)?(/.*)?$'
    [[ ${!1} =~ $url || ${ALLOW_REMOTE:-} == 1 && ${!1} == http://* ]] ||
        die "$1=${!1} is no http:// address of this machine; ALLOW_REMOTE=1 drives others"
    printf -v "$1" %s "${!1%/}"
}

what=${1:-all}
case $what in
    connect | streams | publish | all) (($# <= 1)) || die 'one of connect, streams, publish, all, or --help' ;;
    -h | --help) usage && exit ;;
    *) die "$what: one of connect, streams, publish, all, or --help" ;;
esac
whole CONNECTS 10000 1 1000000
whole CONNECTIONS 64 1 100 # The control listener takes 128 at once.
whole STREAMS 1000 1 20000 # One address has 28,232 ports.
whole EVENTS 50 1 10000
whole RATE 10 1 1000
whole POSTS 10000 1 1000000
whole POST_RATE 1000 1 100000
whole BYTES 100 1 1000000
for tool in oha curl python3; do
    command -v "$tool" >/dev/null || die "$tool is needed, and absent"
done

# ----- what is started is ended, by its id -----

scratch=$(mktemp -d)
declare -A running=()
end() {
    local id
    for id in "${!running[@]}"; do kill "$id" 2>/dev/null || true; done
    wait
    rm -r "$scratch"
}
trap end EXIT
trap 'exit 130' INT TERM

# ----- descriptors -----

# oha takes what it is given; the gateway raises its own limit to the hard one, and keeps 768 for itself.
ulimit -Sn "$(ulimit -Hn)"
files=$(ulimit -n)
[[ $files != unlimited ]] || files=1048576
[[ $what != streams && $what != all ]] || ((STREAMS + 1024 <= files)) ||
    die "STREAMS=$STREAMS needs $((STREAMS + 1024)) open files, and \`ulimit -n\` is $files"

# ----- the gateway -----

start_gateway() {
    local program=${GATEWAY:-$here/../target/release/sluicegate} log=$scratch/gateway
    [[ -x $program ]] || die "there is no gateway at $program: cargo build --release, or give URL and CONTROL"
    : >"$log"
    SLUICEGATE_LOG_FORMAT=json SLUICEGATE_LOG_LEVEL=info \
        "$program" --listen 127.0.0.1:0 --control 127.0.0.1:0 >/dev/null 2>"$log" &
    local gateway=$!
    running[$gateway]=1
    address() { sed -n "s|.*\"message\":\"$1\",\"address\":\"\([^\"]*\)\".*|http://\1|p" "$log"; }
    for _ in {1..100}; do
        # It logs this one last.
        CONTROL=$(address 'publishing, metrics and health are served')
        URL=$(address 'streams are served')
        [[ -z $CONTROL ]] || return 0
        kill -0 "$gateway" 2>/dev/null || break
        sleep 0.1
    done
    die "$program does not start; the end of its log: $(tail -n 1 "$log")"
}

if [[ -n ${URL:-}${CONTROL:-} ]]; then
    [[ -n ${URL:-} && -n ${CONTROL:-} ]] || die 'give both URL and CONTROL, or neither'
    here_only URL
    here_only CONTROL
else
    start_gateway
fi

# ----- requests of our own -----

request() { curl --silent --show-error --fail --noproxy '*' --max-time 60 "$@" 2>"$scratch/curl"; }

# publish TOPIC: publishes one event, and prints its id.
publish() {
    request --data-binary "@$scratch/event" "$CONTROL/events/$1" | sed -n 's/.*"id":"\([^"]*\)".*/\1/p' ||
        die "$CONTROL takes no event: $(head -n 1 "$scratch/curl")"
}

# How many streams the gateway has ever opened.
opened() {
    request "$CONTROL/metrics" | sed -n 's/^sluicegate_streams_opened_total \([0-9]*\).*/\1/p' ||
        die "$CONTROL has no metrics: $(head -n 1 "$scratch/curl")"
}

head -c "$BYTES" /dev/zero | tr '\0' x >"$scratch/event"
# A topic that only this run uses.
topic=loadtest/oha/$$-$RANDOM

# ----- oha -----

# start NAME SECONDS ARGUMENT...: starts oha as $job; its JSON goes to $scratch/NAME.
start() {
    local name=$1 limit=$2
    shift 2
    timeout --kill-after=5 "$limit" oha --no-tui --output-format json -t "${limit}s" "$@" \
        >"$scratch/$name" 2>"$scratch/$name.err" &
    job=$!
    running[$job]=1
}

# finish JOB NAME REQUESTS [BYTES]: waits for it, dies unless each of the requests was answered 200 and so many bytes
# came in all, and prints its figures.
finish() {
    local status=0
    wait "$1" || status=$?
    unset "running[$1]"
    ((status != 124)) || die "$2: oha did not end in time"
    ((status == 0)) || die "$2: oha failed: $(head -n 1 "$scratch/$2.err")"
    python3 - "$scratch/$2" "$2" "$3" "${4:-0}" <<'END'
import json, sys

path, name, requests, least = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def die(why):
    sys.exit(f"oha.sh: {name}: {why}")


try:
    with open(path) as file:
        report = json.load(file)
except ValueError as error:
    die(f"oha wrote no JSON: {error}")
summary, statuses = report["summary"], report["statusCodeDistribution"]
wrong = [f"{count} x {error}" for error, count in report["errorDistribution"].items()]
wrong += [f"{count} x status {status}" for status, count in statuses.items() if status != "200"]
if wrong:
    die(f"of {requests} requests failed " + ", ".join(wrong))
# Requests that oha itself gave up are in no distribution, and its success rate is then NaN.
if statuses.get("200") != requests or summary["successRate"] != 1:
    die(f"{statuses.get('200', 0)} of {requests} requests were answered")
if summary["totalData"] < least:
    die(f"{summary['totalData']} bytes came, and whole streams are {least}: some ended early")


def spread(percentiles):
    return ", ".join(f"{p} {percentiles[p] * 1000:,.2f} ms" for p in ("p50", "p99", "p99.9"))


rate = f"{summary['requestsPerSec']:,.0f}"
latency, first = report["latencyPercentiles"], report["firstBytePercentiles"]
figures = {
    "connect": [
        ("connects/s", rate, "connect, request, one event, proper end"),
        ("time to first byte", spread(first), "from before the connect to the body's begin"),
        ("time to the end", spread(latency), "... to the stream's end, after its event"),
    ],
    "streams": [
        ("time to first byte", spread(first), "all connect at once"),
        (
            "duration",
            f"{summary['average'] - report['details']['firstByte']['average']:,.2f} s on average",
            "first byte to end: the last opens, then the events",
        ),
        ("bytes/s", f"{summary['sizePerSec']:,.0f}", "of all bodies, over the run"),
    ],
    "scheduled": [
        ("posts/s", rate, "answered"),
        ("latency", spread(latency), "from when a post was due to the end of its answer"),
    ],
    "closed": [
        ("posts/s", rate, "answered; the most that these connections reach"),
        ("latency", spread(latency), "from sending, which waited for the one before"),
    ],
}
for label, figure, meaning in figures.get(name, []):
    print(f"  {label:<20}{figure:<48}{meaning}")
END
}

# ----- what is measured -----

connect() {
    publish "$topic/connect" >/dev/null
    echo "connect: $CONNECTS streams, $CONNECTIONS under way at once"
    start connect 300 -n "$CONNECTS" -c "$CONNECTIONS" --disable-keepalive -H 'accept: text/event-stream' \
        "$URL/events/$topic/connect?max_events=1&last_event_id=earliest"
    finish "$job" connect "$CONNECTS"
}

streams() {
    local first target before now readers whole seconds=$((EVENTS / RATE + 60))
    first=$(publish "$topic/streams")
    target="$URL/events/$topic/streams?max_events=$EVENTS&last_event_id=$first"
    before=$(opened)
    echo "streams: $STREAMS streams, $EVENTS events of $BYTES bytes, $RATE a second"
    start streams "$seconds" -n "$STREAMS" -c "$STREAMS" --disable-keepalive -H 'accept: text/event-stream' "$target"
    readers=$job
    for _ in {1..100}; do
        now=$(opened)
        ((now - before < STREAMS)) || break
        # Over already: it says why.
        kill -0 "$readers" 2>/dev/null || finish "$readers" streams "$STREAMS"
        sleep 0.1
    done
    ((now - before >= STREAMS)) || die "streams: $((now - before)) of $STREAMS streams opened in 10 seconds"
    start feed "$seconds" -n "$EVENTS" -c 1 -q "$RATE" --latency-correction -m POST -D "$scratch/event" \
        "$CONTROL/events/$topic/streams"
    finish "$job" feed "$EVENTS"
    # What a whole stream is: the same events, read once more.
    whole=$(request "$target" | wc -c) ||
        die "streams: the events can't be read once more: $(head -n 1 "$scratch/curl")"
    finish "$readers" streams "$STREAMS" $((STREAMS * whole))
}

publish_rates() {
    local post=(-n "$POSTS" -c "$CONNECTIONS" -m POST -D "$scratch/event" "$CONTROL/events/$topic/publish")
    echo "publish: $POSTS posts of $BYTES bytes, $POST_RATE a second"
    start scheduled $((POSTS / POST_RATE + 60)) -q "$POST_RATE" --latency-correction "${post[@]}"
    finish "$job" scheduled "$POSTS"
    echo "publish: $POSTS posts of $BYTES bytes, $CONNECTIONS connections, each posting as soon as it is answered"
    start closed 300 "${post[@]}"
    finish "$job" closed "$POSTS"
}

echo "$(oha --version), $URL, ulimit -n $files"
[[ $what != connect && $what != all ]] || connect
[[ $what != streams && $what != all ]] || streams
[[ $what != publish && $what != all ]] || publish_rates
