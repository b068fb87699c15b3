//! All streams of a run, held by client processes of ours: opened, told what to do, and summed up.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Result,
    args::PROCESSES_MAX,
    checker::{Reading, Span},
    clock::Clock,
    process::{Cpu, Process},
    profile::Subscribe,
    reader::{Order, Word},
    server::{Server, own_program},
    streams::{self, Plan, SPARE_DESCRIPTORS, Topic},
    tally::{Expected, Status, Tally},
};

/// With no stream opening for so long, opening has failed.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);
/// A client process that has not answered by then hangs.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// What streams to hold, and how.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    /// Another request than the profile's, if any.
    pub(crate) subscribe: Option<Subscribe>,
    pub(crate) topic: Topic,
    pub(crate) count: u32,
    pub(crate) reading: Reading,
    /// Connects and requests not yet answered, at most, over all processes.
    pub(crate) in_flight: u32,
    pub(crate) keep_ids: bool,
    pub(crate) stalled: f64,
    /// Client processes; 0: as few as the limit of open files allows.
    pub(crate) processes: u32,
}

impl Streams {
    /// Streams of one topic that start with what is published from now on.
    pub(crate) fn of(topic: String, count: u32, size: usize) -> Self {
        Self {
            subscribe: None,
            topic: Topic::Shared(topic),
            count,
            reading: Reading::Events { size },
            in_flight: 256,
            keep_ids: false,
            stalled: 0.0,
            processes: 0,
        }
    }
}

#[derive(Debug)]
struct Reader {
    child: Child,
    status: Status,
    /// The answer to the last order that wants one.
    answer: Option<Word>,
}

/// The client processes at work.
#[derive(Debug)]
pub(crate) struct Fleet {
    readers: Vec<Reader>,
    words: mpsc::Receiver<(usize, Result<Word>)>,
    clock: Clock,
    streams: u32,
    /// How long it took until all were open.
    pub(crate) opened_in: Duration,
}

impl Fleet {
    /// Opens all streams and returns when each has its response head.
    pub(crate) fn open(streams: &Streams, server: &Server, clock: Clock) -> Result<Self> {
        let mut this = Self::begin(streams, server, clock)?;
        this.wait_until_open(clock.now_ns())?;
        Ok(this)
    }

    /// Begins to open all streams.
    pub(crate) fn begin(streams: &Streams, server: &Server, clock: Clock) -> Result<Self> {
        let processes = processes_for(streams.count, streams.processes)?;
        let (words, inbox) = mpsc::channel();
        let mut this =
            Self { readers: Vec::new(), words: inbox, clock, streams: streams.count, opened_in: Duration::ZERO };
        let in_flight = server.profile.subscribe.in_flight_max.unwrap_or(u32::MAX).min(streams.in_flight);
        let mut first = 0;
        for index in 0..processes {
            let count = streams.count / processes + u32::from(index < streams.count % processes);
            let plan = Plan {
                clock,
                server: server.streams,
                subscribe: streams.subscribe.as_ref().unwrap_or(&server.profile.subscribe).clone(),
                topic: streams.topic.clone(),
                first,
                count,
                in_flight: (in_flight / processes).max(1),
                reading: streams.reading.clone(),
                keep_ids: streams.keep_ids,
                stalled: streams.stalled,
                source: fresh_source(),
            };
            first += count;
            let reader = Reader::start(index as usize, words.clone())?;
            this.readers.push(reader);
            this.order(index as usize, &Order::Open(Box::new(plan)))?;
        }
        Ok(this)
    }

    /// Hears what the processes say until `done` or the deadline, whichever is first. An error if a process fails or
    /// the server has closed every stream.
    pub(crate) fn read_until(&mut self, deadline_ns: u64, mut done: impl FnMut(&Status) -> bool) -> Result<()> {
        loop {
            let status = self.status();
            if done(&status) || self.clock.now_ns() >= deadline_ns {
                return Ok(());
            }
            if status.closed > 0 && status.open == 0 && status.closed == u64::from(self.streams) {
                return self.all_still_open();
            }
            let left = Duration::from_nanos(deadline_ns.saturating_sub(self.clock.now_ns()));
            self.hear(left.min(Duration::from_millis(20)))?;
        }
    }

    pub(crate) fn status(&self) -> Status {
        Status::sum(self.readers.iter().map(|reader| &reader.status))
    }

    /// One line about streams that the server has closed, if any.
    pub(crate) fn all_still_open(&self) -> Result<()> {
        let status = self.status();
        match &status.first_close {
            Some(first) => {
                let streams = self.streams;
                Err(format!(
                    "the server closed {} of {streams} streams{}; the first: {first}",
                    status.closed,
                    hint(streams)
                ))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn measure(&mut self, span: Span) -> Result<()> {
        self.order_all(&Order::Measure(span))
    }

    /// Closes all streams; each remembers the last id it saw.
    pub(crate) fn drop_all(&mut self) -> Result<()> {
        self.ask(&Order::Drop).map(drop)
    }

    /// Opens them again, after the ids they saw; from the first connect on is what `opened_in` tells.
    pub(crate) fn resume_all(&mut self) -> Result<()> {
        let began_ns = self.clock.now_ns();
        self.order_all(&Order::Resume)?;
        self.wait_until_open(began_ns)
    }

    pub(crate) fn churn(&mut self, per_second: f64) -> Result<()> {
        let each = per_second / self.readers.len() as f64;
        self.order_all(&Order::Churn(each))
    }

    pub(crate) fn wake_stalled(&mut self) -> Result<()> {
        self.ask(&Order::Wake).map(drop)
    }

    /// What all of them have found.
    pub(crate) fn tally(&mut self, expected: Expected) -> Result<Tally> {
        let mut sum = Tally::default();
        for word in self.ask(&Order::Tally(expected))? {
            if let Word::Tally(tally) = word {
                sum.add(&tally);
            }
        }
        Ok(sum)
    }

    /// CPU that the client processes have used, ours included.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let readers = self.readers.iter().map(|reader| Process(reader.child.id()));
        readers.chain([Process::own()]).try_fold(Cpu::default(), |sum, process| Ok(sum.plus(process.cpu()?)))
    }

    fn wait_until_open(&mut self, began_ns: u64) -> Result<()> {
        let all = u64::from(self.streams);
        let bar = streams::bar(all, "streams opened");
        let (mut most, mut progress) = (0, Instant::now());
        loop {
            let status = self.status();
            bar.set_position(status.open);
            self.all_still_open()?;
            if status.open == all {
                self.opened_in = Duration::from_nanos(status.opened_ns.saturating_sub(began_ns));
                bar.finish_and_clear();
                return Ok(());
            }
            if status.open > most {
                (most, progress) = (status.open, Instant::now());
            } else if progress.elapsed() > OPEN_PATIENCE {
                let seconds = OPEN_PATIENCE.as_secs();
                let hint = hint(self.streams);
                return Err(format!("only {most} of {all} streams opened{hint}, and none in the last {seconds} s"));
            }
            self.hear(Duration::from_millis(20))?;
        }
    }

    /// Gives an order that is answered, and waits for all answers.
    fn ask(&mut self, order: &Order) -> Result<Vec<Word>> {
        self.order_all(order)?;
        let asked = Instant::now();
        while self.readers.iter().any(|reader| reader.answer.is_none()) {
            if asked.elapsed() > ANSWER_PATIENCE {
                return Err("a client process does not answer".to_owned());
            }
            self.hear(Duration::from_millis(20))?;
        }
        Ok(self.readers.iter_mut().filter_map(|reader| reader.answer.take()).collect())
    }

    fn order_all(&mut self, order: &Order) -> Result<()> {
        (0..self.readers.len()).try_for_each(|index| self.order(index, order))
    }

    fn order(&mut self, index: usize, order: &Order) -> Result<()> {
        let line = serde_json::to_string(order).map_err(|error| error.to_string())?;
        let sent = self.readers[index].child.stdin.as_mut().map(|stdin| writeln!(stdin, "{line}"));
        match sent {
            Some(Ok(())) => Ok(()),
            // It will have said why.
            _ => self.hear(Duration::from_secs(1)).and(Err("a client process has ended".to_owned())),
        }
    }

    fn hear(&mut self, wait: Duration) -> Result<()> {
        match self.words.recv_timeout(wait) {
            Ok((index, word)) => self.note(index, word?)?,
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Err("all client processes have ended".to_owned()),
        }
        while let Ok((index, word)) = self.words.try_recv() {
            self.note(index, word?)?;
        }
        Ok(())
    }

    fn note(&mut self, index: usize, word: Word) -> Result<()> {
        match word {
            Word::Status(status) => self.readers[index].status = status,
            Word::Failed(problem) => return Err(self.all_still_open().err().unwrap_or(problem)),
            answer => self.readers[index].answer = Some(answer),
        }
        Ok(())
    }
}

impl Reader {
    fn start(index: usize, words: mpsc::Sender<(usize, Result<Word>)>) -> Result<Self> {
        let mut child = Command::new(own_program()?)
            .arg("reader")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start a client process: {}", streams::plain(&error)))?;
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        thread::spawn(move || {
            for line in lines.lines().map_while(|line| line.ok()) {
                let word = serde_json::from_str(&line).map_err(|error| format!("a client process rambles: {error}"));
                if words.send((index, word)).is_err() {
                    return;
                }
            }
            let _ = words.send((index, Ok(Word::Failed("a client process has ended".to_owned()))));
        });
        Ok(Self { child, status: Status::default(), answer: None })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What may be the reason if a server does not bear so many streams.
fn hint(streams: u32) -> String {
    match streams::raise_descriptor_limit() {
        Ok(limit) if u64::from(streams) + SPARE_DESCRIPTORS > limit => {
            format!(" (a process may have {limit} open files here: is that too few for it? ulimit -Hn)")
        }
        _ => String::new(),
    }
}

/// A part of a source address that no other client process has, here or in a run beside this one: an address of which most ports still wait out
/// a run before makes connecting slow.
pub(crate) fn fresh_source() -> u8 {
    static USED: AtomicU32 = AtomicU32::new(0);
    let used = USED.fetch_add(1, Ordering::Relaxed);
    (std::process::id().wrapping_add(used) % 250) as u8 + 1
}

/// How many processes hold so many streams.
fn processes_for(streams: u32, wanted: u32) -> Result<u32> {
    let limit = streams::raise_descriptor_limit()?;
    processes_within(streams, wanted, limit)
}

fn processes_within(streams: u32, wanted: u32, limit: u64) -> Result<u32> {
    let room = limit.saturating_sub(SPARE_DESCRIPTORS).clamp(1, u64::from(u32::MAX)) as u32;
    let processes = if wanted == 0 { streams.div_ceil(room) } else { wanted.min(streams) };
    let each = streams.div_ceil(processes);
    if processes > PROCESSES_MAX || each > room {
        let (processes, most) = (processes.min(PROCESSES_MAX), PROCESSES_MAX);
        let needed = u64::from(streams.div_ceil(processes)) + SPARE_DESCRIPTORS;
        return Err(format!(
            "{streams} streams in {processes} client processes need {needed} open files in each and the limit is {limit}: raise it (ulimit -Hn), or take more --processes (at most {most}) or fewer --streams"
        ));
    }
    Ok(processes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_spread_over_as_few_processes_as_hold_them() {
        for (streams, wanted, processes) in [(1, 0, 1), (936, 0, 1), (937, 0, 2), (10, 3, 3), (2, 5, 2)] {
            assert_eq!(processes_within(streams, wanted, 1_000), Ok(processes), "{streams} in {wanted}");
        }
        for (streams, wanted) in [(937, 1), (100_000, 0)] {
            let problem = processes_within(streams, wanted, 1_000).unwrap_err();
            assert!(problem.contains("the limit is 1000"), "{problem}");
        }
    }
}
