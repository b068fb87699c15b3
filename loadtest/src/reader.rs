//! A client process: holds a part of the streams, does as it is told on stdin, and says on stdout how far it is. One
//! JSON value a line, both ways. One process can open no more files than its limit, so that more streams take more
//! processes; and streams that are read in another process than the publisher's don't delay it.

use std::{
    io::{BufRead as _, Write as _},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    Result,
    checker::Span,
    streams::{Plan, Streams},
    tally::{Expected, Status, Tally},
};

/// Between two looks for orders.
const TURN: Duration = Duration::from_millis(5);
/// Between two reports of how far we are.
const STATUS: Duration = Duration::from_millis(20);

/// What a client process is told.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Order {
    /// First of all: the streams, to be opened at once.
    Open(Box<Plan>),
    Measure(Span),
    /// Close all streams, but remember where they stood.
    Drop,
    /// Open them again.
    Resume,
    /// Close and open so many a second from now on.
    Churn(f64),
    /// Let stalled streams read on.
    Wake,
    /// Say what was found.
    Tally(Expected),
}

/// What it says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Word {
    Status(Status),
    /// An order that is not answered otherwise was carried out.
    Done,
    Tally(Box<Tally>),
    /// It has given up, and why.
    Failed(String),
}

/// Serves until stdin ends.
pub(crate) fn serve() -> Result<()> {
    let (orders, inbox) = mpsc::channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(|line| line.ok()) {
            let order = serde_json::from_str::<Order>(&line).map_err(|error| format!("an order is no order: {error}"));
            if orders.send(order).is_err() {
                return;
            }
        }
        // Whoever gave us orders has gone, perhaps in the middle of a turn of ours.
        std::process::exit(0);
    });
    let outcome = obey(&inbox);
    if let Err(problem) = &outcome {
        say(&Word::Failed(problem.clone()))?;
    }
    Ok(())
}

fn obey(inbox: &mpsc::Receiver<Result<Order>>) -> Result<()> {
    let Ok(Order::Open(plan)) = inbox.recv().map_err(|_| "no orders came".to_owned())? else {
        return Err("the first order must be to open streams".to_owned());
    };
    let mut streams = Streams::new(*plan)?;
    let mut told = Instant::now();
    loop {
        streams.turn(TURN)?;
        while let Ok(order) = inbox.try_recv() {
            if let Some(answer) = carry_out(order?, &mut streams)? {
                // Whoever reads the answer finds the status as it was then.
                say(&Word::Status(streams.status.clone()))?;
                say(&answer)?;
            }
        }
        if told.elapsed() >= STATUS {
            say(&Word::Status(streams.status.clone()))?;
            told = Instant::now();
        }
    }
}

/// The answer, if the order wants one.
fn carry_out(order: Order, streams: &mut Streams) -> Result<Option<Word>> {
    match order {
        Order::Open(_) => return Err("streams can be opened once".to_owned()),
        Order::Measure(span) => streams.checker.measure(span),
        Order::Resume => streams.open_all(),
        Order::Churn(per_second) => streams.churn(per_second),
        Order::Drop => {
            streams.drop_all()?;
            return Ok(Some(Word::Done));
        }
        Order::Wake => {
            streams.wake_stalled()?;
            return Ok(Some(Word::Done));
        }
        Order::Tally(expected) => {
            let tally = streams.checker.tally(&expected, |stream| streams.is_due_all(stream));
            return Ok(Some(Word::Tally(Box::new(tally))));
        }
    }
    Ok(None)
}

fn say(word: &Word) -> Result<()> {
    let line = serde_json::to_string(word).map_err(|error| error.to_string())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| format!("stdout: {error}"))
}
