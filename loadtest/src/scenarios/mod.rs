//! What can be measured, one file each; `window` and `book` are what they share, `table`, `ab` and `compare` put
//! several of them together.

mod ab;
mod attack;
mod book;
mod cluster;
mod compare;
mod connect;
mod durability;
mod ends;
mod fanout;
mod idle;
mod publish;
mod rate;
mod ratios;
mod scale;
mod slow;
mod soak;
mod storm;
mod table;
mod ticks;
mod topics;
mod window;

use std::io::Write as _;

use book::{Book, Outcome};

use crate::{
    Result,
    args::{Args, Run, Scenario},
    floor, html, reader,
    server::{self, Target},
};

/// Whether all was right.
pub(crate) fn run(args: Args) -> Result<bool> {
    match args.scenario {
        Scenario::Fanout(args) => with_book(&args, fanout::run),
        Scenario::Topics(args) => with_book(&args, topics::run),
        Scenario::Connect(args) => alone("connect", &args, connect::measure),
        Scenario::Storm(args) => alone("storm", &args, storm::measure),
        Scenario::Slow(args) => alone("slow", &args, slow::measure),
        Scenario::Soak(args) => alone("soak", &args, soak::measure),
        Scenario::Ends(args) => alone("ends", &args, ends::measure),
        Scenario::Attack(args) => alone("attack", &args, attack::measure),
        Scenario::Rate(args) => with_book_of(Book::forgiving(), &args, rate::run),
        Scenario::Idle(args) => alone("idle", &args, idle::measure),
        Scenario::Ticks(args) => alone("ticks", &args, ticks::measure),
        Scenario::Publish(args) => alone("publish", &args, publish::measure),
        Scenario::Durability(args) => with_book(&args, durability::run),
        Scenario::Cluster(args) => with_book(&args, cluster::run),
        Scenario::Ratios(args) => with_book(&args, |ratios, target, book| {
            book.set_columns(target);
            ratios::fill(ratios, target, book)
        }),
        Scenario::Scale(args) => with_book(&args, |scale, target, book| {
            book.set_columns(target);
            scale::fill(scale, target, book)
        }),
        Scenario::Table(args) => with_book(&args, table::run),
        Scenario::Ab(args) => ab::run(&args),
        Scenario::Compare(args) => compare::run(&args),
        Scenario::Render(args) => print(&html::render(&args.file, args.plot)?).map(|()| true),
        Scenario::FloorServer(args) => floor::serve(&args).map(|()| true),
        Scenario::Launch(args) => server::launch(&args).map(|()| true),
        Scenario::Reader => reader::serve().map(|()| true),
    }
}

fn with_book<S: clap::Args>(
    args: &Run<S>,
    scenario: impl FnOnce(&S, &Target, &mut Book) -> Result<()>,
) -> Result<bool> {
    with_book_of(Book::new(), args, scenario)
}

fn with_book_of<S: clap::Args>(
    mut book: Book,
    args: &Run<S>,
    scenario: impl FnOnce(&S, &Target, &mut Book) -> Result<()>,
) -> Result<bool> {
    Book::check(&[&args.keep.json, &args.keep.html])?;
    scenario(&args.settings, &Target::new(&args.server)?, &mut book)?;
    book.close(&args.keep)
}

/// A scenario that is one run.
fn alone<S: clap::Args, F: serde::Serialize>(
    name: &str,
    args: &Run<S>,
    measure: impl FnOnce(&S, &Target) -> Result<Outcome<F>>,
) -> Result<bool> {
    with_book(args, |settings, target, book| {
        book.take(name, target, measure(settings, target));
        Ok(())
    })
}

/// To a pipe that closed early, too, without a panic.
fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("standard output: {error}"))
}
