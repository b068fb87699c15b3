//! `sluicegate top`: a gateway at a glance, once a second.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::Value;

use super::http::{Base, ClientError, Http, Target};
use super::paint::{Paint, Painter, harmless};
use super::scrape::Scrape;

/// The time from one look to the next.
const EVERY: Duration = Duration::from_secs(1);
/// How many streams and topics are listed.
const ROWS: usize = 10;
/// Clears from the cursor to the end of the line.
const CLEAR_LINE: &str = "\x1b[K";
/// The other screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// What the gateway says at one moment.
struct Look {
    at: tokio::time::Instant,
    scrape: Scrape,
    streams: Option<Value>,
    topics: Option<Value>,
}

/// Shows a gateway until Ctrl-C; where no person looks, or `once`, after a second and once.
///
/// # Errors
/// If the gateway can't be reached at first.
pub async fn top(base: Base, once: bool) -> Result<(), ClientError> {
    let http = Http::new(base.clone());
    let once = once || !io::stdout().is_terminal();
    let painter = Painter::for_stdout();
    let mut before = look(&http).await?;
    if once {
        tokio::time::sleep(EVERY).await;
        let now = look(&http).await?;
        return write(&screen(&base, painter, &now, &before));
    }
    write(ENTER)?;
    let done = tokio::select! {
        failed = refresh(&http, &base, painter, &mut before) => failed,
        signal = tokio::signal::ctrl_c() => signal.map_err(ClientError::System),
    };
    write(LEAVE)?;
    done
}

async fn refresh(http: &Http, base: &Base, painter: Painter, before: &mut Look) -> Result<(), ClientError> {
    loop {
        tokio::time::sleep(EVERY).await;
        let shown = match look(http).await {
            Ok(now) => {
                let shown = screen(base, painter, &now, before);
                *before = now;
                shown
            }
            Err(error) if error.passes() => format!("{}\n", painter.paint(Paint::Warning, error)),
            Err(error) => return Err(error),
        };
        let lines = shown.replace('\n', &format!("{CLEAR_LINE}\r\n"));
        write(&format!("\x1b[H{lines}\x1b[J"))?;
    }
}

fn write(text: &str) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ClientError::System)
}

async fn look(http: &Http) -> Result<Look, ClientError> {
    let text = http.ask("GET", &Target::path("/metrics"), &[], Bytes::new()).await?;
    let scrape = Scrape::parse(&String::from_utf8_lossy(&text));
    let limit = ROWS.to_string();
    let mut lists = [None, None];
    for (list, (path, sort)) in lists.iter_mut().zip([("/admin/streams", "lag"), ("/admin/topics", "rate")]) {
        let target = Target::path(path).with("sort", sort).with("limit", &limit);
        // They are off unless `admin = true`, and busy while another asks.
        *list = match http.ask("GET", &target, &[], Bytes::new()).await {
            Ok(body) => serde_json::from_slice(&body).ok(),
            Err(ClientError::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
    }
    let [streams, topics] = lists;
    Ok(Look { at: tokio::time::Instant::now(), scrape, streams, topics })
}

fn screen(base: &Base, painter: Painter, now: &Look, before: &Look) -> String {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
    let (all, new) = (&now.scrape, now.scrape.since(&before.scrape));
    let rate = |name: &str| short(new.sum(name) / seconds);
    let started = Duration::from_secs_f64(all.sum("process_start_time_seconds").max(0.0));
    let up = SystemTime::now().duration_since(UNIX_EPOCH + started).unwrap_or_default().as_secs();
    let up = humantime::format_duration(Duration::from_secs(up));
    let state = all.label("sluicegate_engine_state", "state").unwrap_or("unknown");
    let late = new.quantile("sluicegate_delivery_seconds", 0.99);
    let late = late.map_or("-".to_owned(), |edge| format!("below {} ms", edge * 1e3));
    let mut text = String::new();
    let mut line = |name: &str, rest: String| {
        // Writing to a text does not fail.
        let _ = writeln!(text, "{} {rest}", painter.paint(Paint::Dim, format!("{name:<9}")));
    };
    line("gateway", format!("{}   up {up}   engine {state}", painter.paint(Paint::Bold, base)));
    line(
        "streams",
        format!(
            "{} of {}   behind {}   opened {}/s   closed {}/s   shed {}/s",
            painter.paint(Paint::Bold, short(all.sum("sluicegate_streams"))),
            short(all.sum("sluicegate_streams_max")),
            short(all.sum("sluicegate_behind_streams")),
            rate("sluicegate_streams_opened_total"),
            rate("sluicegate_streams_closed_total"),
            rate("sluicegate_streams_shed_total"),
        ),
    );
    line(
        "events",
        format!(
            "{}/s published   {}/s delivered in {}/s writes   99 % {late}   refused {}/s",
            painter.paint(Paint::Bold, rate("sluicegate_events_published_total")),
            painter.paint(Paint::Bold, rate("sluicegate_deliveries_total")),
            rate("sluicegate_writes_total"),
            rate("sluicegate_publish_rejected_total"),
        ),
    );
    line(
        "log",
        format!(
            "{} events of {}   {} MiB of {}",
            short(all.sum("sluicegate_log_events")),
            short(all.sum("sluicegate_log_events_max")),
            mib(all.sum("sluicegate_log_bytes")),
            mib(all.sum("sluicegate_log_bytes_max")),
        ),
    );
    line(
        "process",
        format!(
            "{:.2} cores   busiest shard {:.0} %   {} MiB   {} open files of {}",
            new.sum("process_cpu_seconds_total") / seconds,
            100.0 * new.highest("sluicegate_shard_busy_seconds_total") / seconds,
            mib(all.sum("process_resident_memory_bytes")),
            short(all.sum("process_open_fds")),
            short(all.sum("process_max_fds")),
        ),
    );
    text.push('\n');
    match (&now.streams, &now.topics) {
        (None, None) => {
            let _ = writeln!(text, "{}", painter.paint(Paint::Dim, "`admin = true` shows streams and topics here"));
        }
        (streams, topics) => {
            text.push_str(&table(painter, "slowest streams", streams.as_ref(), stream_row));
            text.push('\n');
            text.push_str(&table(painter, "busiest topics", topics.as_ref(), topic_row));
        }
    }
    text
}

fn table(painter: Painter, title: &str, list: Option<&Value>, row: fn(&Value) -> String) -> String {
    let rows = list.and_then(|list| list["items"].as_array()).into_iter().flatten();
    rows.take(ROWS).fold(format!("{}\n", painter.paint(Paint::Dim, title)), |text, item| text + &row(item) + "\n")
}

fn stream_row(item: &Value) -> String {
    let names = ["topics", "patterns"].map(|list| item[list].as_array().into_iter().flatten());
    let names: Vec<_> = names.into_iter().flatten().filter_map(Value::as_str).map(harmless).collect();
    format!(
        "{:>10} behind  {:>8} s old  {:<21}  {}",
        short(item["lag"].as_f64().unwrap_or_default()),
        item["age_seconds"],
        item["peer"].as_str().unwrap_or("-"),
        names.join(" "),
    )
}

fn topic_row(item: &Value) -> String {
    let number = |key: &str| short(item[key].as_f64().unwrap_or_default());
    let topic = harmless(item["topic"].as_str().unwrap_or_default());
    format!("{:>10} /s  {:>8} retained  {topic}", number("rate"), number("events"))
}

/// A number that is read at a glance: `950`, `12.3k`, `4.5M`.
fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.1}k", n / 1e3),
        n if n >= 10.0 || n.fract() < 0.05 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

fn mib(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        let check = |number: f64, text: &str| assert_eq!(short(number), text);
        check(0.0, "0");
        check(0.5, "0.5");
        check(9999.0, "9999");
        check(12_345.0, "12.3k");
        check(4_500_000.0, "4.5M");
    }
}
