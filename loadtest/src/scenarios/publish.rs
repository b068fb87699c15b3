//! `publish`: how many events a second the server takes when nobody listens, and how soon it answers.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::book::Outcome;
use crate::{
    Result,
    args::PublishArgs,
    payload::{Event, Layout},
    process::Processes,
    publisher::Requests,
    report::{Quantiles, grouped},
    request::Connection,
    server::Target,
    streams::fresh_topic,
    tally::histogram,
};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) events: u64,
    pub(crate) events_per_second: f64,
    /// From when a request was due, or sent if there is no rate, to the end of its answer.
    #[serde(flatten)]
    pub(crate) answered: Quantiles,
    /// Microseconds of server CPU an event.
    pub(crate) cpu_us: Option<f64>,
}

pub(crate) fn measure(args: &PublishArgs, target: &Target) -> Result<Outcome<Figures>> {
    let server = target.start()?;
    let topic = fresh_topic("publish");
    let layout = Layout::new(args.size);
    let mut request = Vec::new();
    let requests = Requests::new(&server);
    let mut events = (0..args.batch).map(|number| Event { number, due_ns: 0, key: 0 });
    match (args.batch, events.next()) {
        (1, Some(event)) => requests.one(&topic, &mut request, |data| layout.write(event, data)),
        (_, first) => {
            requests.batch(first.into_iter().chain(events).map(|event| (&*topic, event)), &layout, &mut request)?
        }
    }
    let request: Arc<[u8]> = request.into();

    let used = || server.processes.map(Processes::cpu).transpose();
    let before = used()?;
    let began = Instant::now();
    let until = began + Duration::from_secs(u64::from(args.seconds));
    // A batch is taken while the next is on its way; who publishes single events waits for each.
    let ahead = if args.batch == 1 { 1 } else { 2 };
    let threads: Vec<_> = (0..args.connections)
        .map(|number| {
            let (request, control) = (Arc::clone(&request), server.control);
            let due = args.rate.map(|rate| Due {
                began,
                step_s: f64::from(args.connections) / rate,
                number,
                of: args.connections,
            });
            thread::spawn(move || match due {
                Some(due) => publish_when_due(control, &request, &due, until),
                None => publish_until(control, &request, ahead, until),
            })
        })
        .collect();
    let mut answers = histogram();
    for thread in threads {
        answers += thread.join().map_err(|_| "a publisher panicked".to_owned())??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let events = answers.len() * u64::from(args.batch);
    let cpu = used()?.zip(before).map(|(after, before)| after.since(before).total());
    let figures = Figures {
        events,
        events_per_second: events as f64 / seconds,
        answered: Quantiles::of(&answers),
        cpu_us: cpu.map(|cpu| cpu * 1e6 / events.max(1) as f64),
    };
    let what =
        if args.batch == 1 { "one by one".to_owned() } else { format!("in batches of {}", grouped(args.batch.into())) };
    let mut said = format!(
        "publish: {} events/s of {} bytes to {}, {what}, on {} connections\n  answered      {}\n",
        grouped(figures.events_per_second as u64),
        args.size,
        target.name(),
        args.connections,
        figures.answered
    );
    if let Some(cpu) = figures.cpu_us {
        said += &format!("  server CPU    {cpu:.2} µs an event\n");
    }
    Ok(Outcome::new(args, figures, said))
}

/// Sends the same request again and again, so many ahead of their answers; how long these took.
fn publish_until(control: SocketAddr, request: &[u8], ahead: usize, until: Instant) -> Result<Histogram<u64>> {
    let mut connection = Connection::open(control)?;
    let (mut answers, mut sent) = (histogram(), VecDeque::new());
    loop {
        while sent.len() < ahead && Instant::now() < until {
            sent.push_back(Instant::now());
            connection.send(request)?;
        }
        let Some(sent) = sent.pop_front() else { return Ok(answers) };
        connection.reply()?;
        answers.saturating_record(sent.elapsed().as_nanos() as u64);
    }
}

/// When the requests of one of several connections are due.
struct Due {
    began: Instant,
    step_s: f64,
    number: u32,
    of: u32,
}

/// Sends the same request whenever one is due; how long after that its answer was there.
fn publish_when_due(control: SocketAddr, request: &[u8], due: &Due, until: Instant) -> Result<Histogram<u64>> {
    let mut connection = Connection::open(control)?;
    let mut answers = histogram();
    let first_s = due.step_s * f64::from(due.number) / f64::from(due.of);
    for k in 0.. {
        let due_at = due.began + Duration::from_secs_f64(first_s + f64::from(k) * due.step_s);
        if due_at >= until {
            break;
        }
        thread::sleep(due_at.saturating_duration_since(Instant::now()));
        connection.send(request)?;
        connection.reply()?;
        answers.saturating_record(due_at.elapsed().as_nanos() as u64);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    const TAKES: Duration = Duration::from_millis(30);
    const REQUEST: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n";

    /// Answers the requests of one connection, each after a while.
    fn slow_server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            while connection.read_exact(&mut [0; REQUEST.len()]).is_ok() {
                thread::sleep(TAKES);
                let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        address
    }

    #[test]
    fn a_request_is_sent_whenever_one_is_due_and_its_answer_timed_from_then() {
        let began = Instant::now();
        let due = Due { began, step_s: 0.1, number: 1, of: 2 };
        let answers = publish_when_due(slow_server(), REQUEST, &due, began + Duration::from_secs(1)).unwrap();
        assert_eq!(answers.len(), 10, "at 50 ms, 150 ms and so on");
        assert!(answers.min() >= TAKES.as_nanos() as u64 * 99 / 100, "{} ns", answers.min());
        // What is due while the one before is under way waits, and that counts.
        let began = Instant::now();
        let due = Due { began, step_s: 0.001, number: 0, of: 1 };
        let answers = publish_when_due(slow_server(), REQUEST, &due, began + Duration::from_millis(5)).unwrap();
        assert_eq!(answers.len(), 5);
        assert!(answers.max() >= 4 * TAKES.as_nanos() as u64, "{} ns", answers.max());
    }

    #[test]
    fn without_a_rate_so_many_are_under_way() {
        for ahead in [1, 2] {
            let until = Instant::now() + Duration::from_millis(200);
            let answers = publish_until(slow_server(), REQUEST, ahead, until).unwrap();
            assert!(answers.len() >= ahead as u64, "{}", answers.len());
            // The second of two waits for the first.
            assert!(answers.max() >= ahead as u64 * TAKES.as_nanos() as u64 * 99 / 100, "{} ns", answers.max());
        }
    }
}
