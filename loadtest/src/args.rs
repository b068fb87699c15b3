//! The command line. A scenario's arguments are also its settings in the record, so their names bear their units.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::payload;

/// Client processes, at most.
pub(crate) const PROCESSES_MAX: u32 = 64;

/// Opens many event streams, publishes, checks every delivery, and prints what it cost the server.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// N streams of one topic, R events a second: delivery, latency, CPU per delivery
    Fanout(Run<FanoutArgs>),
    /// Many topics, batches to topics drawn at random, evenly or by Zipf's law: CPU per delivery, publishing included
    Topics(Run<TopicsArgs>),
    /// N connects as fast as they are taken: CPU per connection
    Connect(Run<ConnectArgs>),
    /// All streams drop, miss events, and come back at once with Last-Event-ID: exactly the missed ones, how soon
    Storm(Run<StormArgs>),
    /// A share of the readers stalls: what that costs the others, and the server's memory
    Slow(Run<SlowArgs>),
    /// For as long as you like, with streams that leave and resume all the while: memory, latency, nothing lost
    Soak(Run<SoakArgs>),
    /// Streams of another topic end all the while: what that costs a delivery
    Ends(Run<EndsArgs>),
    /// Streams of many patterns resume from the beginning of a full history: what live streams notice of it
    Attack(Run<AttackArgs>),
    /// The highest rate that is held
    Rate(Run<RateArgs>),
    /// Memory per stream, what is given back, and the CPU of heartbeats
    Idle(Run<IdleArgs>),
    /// Schedules and heartbeats: are they on time, and what do they cost
    Ticks(Run<TicksArgs>),
    /// Batches as fast as they are taken, nobody subscribed: events a second
    Publish(Run<PublishArgs>),
    /// The gateway with its events in memory and on disk, in turn: what the second costs, and how soon it starts again
    Durability(Run<EngineArgs>),
    /// The gateway with its events in memory and on a nats-server, in turn: what another node gets, and when
    Cluster(Run<EngineArgs>),
    /// Floor and server in turn, in the same minutes, and the ratios between them
    Ratios(Run<RatiosArgs>),
    /// How CPU per delivery grows from few streams to many, floor and server
    Scale(Run<ScaleArgs>),
    /// The figures of docs/benchmarks.md: what must be reached and what was
    Table(Run<TableArgs>),
    /// Two builds of the gateway in turn: fails if a figure of the new one is more than 5 % worse
    Ab(AbArgs),
    /// Servers side by side, in turn: one table and one plot
    Compare(CompareArgs),
    /// Prints the HTML report of what --json has written, or the plot of its table
    Render(RenderArgs),
    /// The least server: one send per stream and event
    FloorServer(FloorServer),
    /// Run a program that ends when we do
    #[command(hide = true)]
    Launch(Launch),
    /// Hold streams for another process of ours
    #[command(hide = true)]
    Reader,
}

/// A scenario, the server it is for, and what to keep of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run<S: clap::Args> {
    #[command(flatten)]
    pub(crate) settings: S,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) keep: Keep,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Built-in profile (floor, floor-topics, sluicegate, sluicegate-tls, nchan, axum, node, pushpin, mercure, mercure-local, mercure-1,
    /// mercure-1-local, centrifugo) or a file.toml
    #[arg(long, value_name = "NAME|FILE", default_value = "sluicegate")]
    pub(crate) profile: String,
    /// Where our gateway keeps its events; its files are in a temporary folder
    #[arg(long, value_enum, default_value_t, conflicts_with = "url")]
    pub(crate) engine: Engine,
    /// Program to start instead of the profile's
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub(crate) server: Option<PathBuf>,
    /// One more argument for the server we start (may be repeated)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, conflicts_with = "url")]
    pub(crate) server_arg: Vec<String>,
    /// Drive a server that already runs here (loopback only)
    #[arg(long, value_name = "http://HOST:PORT")]
    pub(crate) url: Option<String>,
    /// Where it takes events [default: the same as --url]
    #[arg(long, value_name = "http://HOST:PORT", requires = "url")]
    pub(crate) control: Option<String>,
    /// Its process, for CPU and memory (with all that it has started); without it those figures are left out
    #[arg(long, requires = "url")]
    pub(crate) pid: Option<u32>,
}

/// Where our gateway keeps its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// In memory
    #[default]
    Memory,
    /// In files, which are synced before a publisher is answered
    Disk,
    /// In a stream of a nats-server, which is started with it
    Nats,
    /// The same, and two gateways share it: events are published to one, and streams are at the other
    NatsPair,
}

#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Keep {
    /// Write every figure here, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a report with plots here, one HTML file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// A fan-out's size.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct Load {
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Events a second
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Seconds measured, after the warm-up
    #[arg(long, default_value_t = 10, value_parser = seconds())]
    pub(crate) seconds: u32,
    /// Bytes of data in an event
    #[arg(long, default_value_t = 100, value_parser = size)]
    #[serde(rename = "size_bytes")]
    pub(crate) size: usize,
    /// Seconds before: checked, but in no figure
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=600))]
    #[serde(rename = "warmup_s")]
    pub(crate) warmup: u32,
    /// Client processes that hold the streams; 0 is as few as the limit of open files allows
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=i64::from(PROCESSES_MAX)))]
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) processes: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) load: Load,
    /// Measure the floor server too, right before
    #[arg(long)]
    #[serde(skip)]
    pub(crate) with_floor: bool,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct TopicsArgs {
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Stream i is on topic i modulo this [default: as many as streams]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=999_999))]
    pub(crate) topics: Option<u32>,
    /// Topic k gets events in proportion to 1/k to this power; 0 is evenly
    #[arg(long, default_value_t = 0.0, value_parser = exponent)]
    pub(crate) zipf: f64,
    /// Batches a second; where a server takes no batches, their events go one by one
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Events in a batch, each to a topic drawn at random
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch: u32,
    #[arg(long, default_value_t = 10, value_parser = seconds())]
    pub(crate) seconds: u32,
    #[arg(long, default_value_t = 100, value_parser = size)]
    #[serde(rename = "size_bytes")]
    pub(crate) size: usize,
    /// Measure the floor that sends by topic too, right before
    #[arg(long)]
    #[serde(skip)]
    pub(crate) with_floor: bool,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct ConnectArgs {
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Connects under way at once
    #[arg(long, default_value_t = 256, value_parser = in_flight())]
    pub(crate) in_flight: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct StormArgs {
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Events published while the streams are away
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    pub(crate) missed: u32,
    #[arg(long, default_value_t = 100, value_parser = size)]
    #[serde(rename = "size_bytes")]
    pub(crate) size: usize,
    /// Connects under way at once
    #[arg(long, default_value_t = 1_024, value_parser = in_flight())]
    pub(crate) in_flight: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct SlowArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) load: Load,
    /// The part of the streams that reads nothing after the response's head
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    pub(crate) stalled: f64,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct SoakArgs {
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Events a second
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    pub(crate) rate: f64,
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    #[arg(long, default_value_t = 100, value_parser = size)]
    #[serde(rename = "size_bytes")]
    pub(crate) size: usize,
    /// Streams a second that leave and come back with Last-Event-ID
    #[arg(long, default_value_t = 50.0, value_parser = churn)]
    #[serde(rename = "churn_per_second")]
    pub(crate) churn: f64,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct EndsArgs {
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Events a second
    #[arg(long, default_value_t = 100.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Short streams a second, each ended by the server after a second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    #[serde(rename = "ends_per_second")]
    pub(crate) ends: u32,
    /// Seconds with short streams, and as many without
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..=600))]
    pub(crate) seconds: u32,
    #[arg(long, default_value_t = 100, value_parser = size)]
    #[serde(rename = "size_bytes")]
    pub(crate) size: usize,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct AttackArgs {
    /// Live streams
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Events a second to them
    #[arg(long, default_value_t = 50.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Streams that resume from the beginning
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attackers: u32,
    /// Patterns of each of these
    #[arg(long, default_value_t = 127, value_parser = clap::value_parser!(u32).range(1..=128))]
    pub(crate) patterns: u32,
    /// Segments through which each of these patterns goes in a way of its own, so that every topic matches it but for its
    /// end; without, the first segments tell them apart
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=12))]
    pub(crate) depth: u32,
    /// Events in the history when they come, each for one of them
    #[arg(long, default_value_t = 95_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) kept: u32,
    /// Seconds of the live streams from then on
    #[arg(long, default_value_t = 15, value_parser = seconds())]
    pub(crate) seconds: u32,
    #[arg(long, default_value_t = 100, value_parser = size)]
    #[serde(rename = "size_bytes")]
    pub(crate) size: usize,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct RateArgs {
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Events a second that are tried first
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) from: u32,
    /// Events a second from one that is tried to the next, upwards or downwards
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) step: u32,
    #[arg(long, default_value_t = 10, value_parser = seconds())]
    pub(crate) seconds: u32,
    #[arg(long, default_value_t = 100, value_parser = size)]
    #[serde(rename = "size_bytes")]
    pub(crate) size: usize,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct IdleArgs {
    #[arg(long, default_value_t = 18_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Seconds over which the CPU of heartbeats is taken
    #[arg(long, default_value_t = 60, value_parser = seconds())]
    pub(crate) seconds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct TicksArgs {
    /// Half of them on a topic with a schedule, half on a silent one with heartbeats
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) streams: u32,
    /// Milliseconds from one event of the schedule to the next, and from one heartbeat to the next
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    pub(crate) every_ms: u32,
    #[arg(long, default_value_t = 20, value_parser = seconds())]
    pub(crate) seconds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct PublishArgs {
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) connections: u32,
    /// Events in a request; a single one is published as such
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch: u32,
    /// Requests a second [default: as fast as they are answered, two under way on each connection, or one of an event]
    #[arg(long, value_parser = rate)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<f64>,
    #[arg(long, default_value_t = 5, value_parser = seconds())]
    pub(crate) seconds: u32,
    #[arg(long, default_value_t = 100, value_parser = size)]
    #[serde(rename = "size_bytes")]
    pub(crate) size: usize,
}

/// Memory and another engine, side by side.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EngineArgs {
    /// Streams that events go to
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Connections that publish
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) connections: u32,
    /// Events that are there when a gateway starts
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) events: u32,
    /// Seconds measured in each run
    #[arg(long, default_value_t = 5, value_parser = seconds())]
    pub(crate) seconds: u32,
    /// Memory and the other engine in turn, so many times; medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RatiosArgs {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Rates to hold against the floor's send at --rate
    #[arg(long, value_delimiter = ',', default_values_t = [10.0, 100.0, 200.0], value_parser = rate)]
    pub(crate) rates: Vec<f64>,
    /// Floor and server in turn, so many times; medians are reported
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) few: u32,
    #[arg(long, default_value_t = 18_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) many: u32,
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub(crate) rate: f64,
    #[arg(long, default_value_t = 10, value_parser = seconds())]
    pub(crate) seconds: u32,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TableArgs {
    /// Shorter runs and one round: a look, not a measurement
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AbArgs {
    /// The build to hold the other against
    #[arg(long, value_name = "PATH")]
    pub(crate) old: PathBuf,
    /// The build to be judged [default: the one beside the load client]
    #[arg(long, value_name = "PATH")]
    pub(crate) new: Option<PathBuf>,
    /// Old and new in turn, so many times; medians are compared
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
    /// Only these parts [default: all]
    #[arg(long, value_delimiter = ',', value_name = "PART,...")]
    pub(crate) only: Vec<Part>,
    /// Seconds measured in each run
    #[arg(long, default_value_t = 10, value_parser = seconds())]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) keep: Keep,
}

/// What two builds are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// 10 events/s to 10,000 streams
    #[value(name = "10")]
    Fanout10,
    /// 100 events/s to 10,000 streams
    #[value(name = "100")]
    Fanout100,
    /// 200 events/s to 10,000 streams
    #[value(name = "200")]
    Fanout200,
    /// 800 events/s to 10,000 streams
    #[value(name = "800")]
    Fanout800,
    /// 5 events/s to 10,000 streams: the time to the last of them
    Last,
    /// 10 events/s to 1,000 streams
    Few,
    /// 10 events/s to 18,000 streams
    Many,
    /// 10,000 events/s to 10,000 topics of a stream each
    Topics,
    /// 10,000 connects
    Connect,
    /// 10,000 streams resume 100 events
    Storm,
    /// Batches, nobody subscribed
    Publish,
    /// 200 ends a second beside 100 events/s to 10,000 streams
    Ends,
    /// 1,000 streams of 127 patterns resume from the beginning
    Attack,
    /// 18,000 streams, nothing published
    Idle,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Profiles to compare [default: all servers that we know; who is not installed is left out, and named]
    #[arg(long, value_delimiter = ',', value_name = "NAME|FILE,...")]
    pub(crate) servers: Vec<String>,
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    #[arg(long, default_value_t = 100, value_parser = size)]
    pub(crate) size: usize,
    /// All servers in turn, so many times; medians are reported
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
    /// Shorter runs and one round: a look, not a measurement
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write the plot alone here, as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) keep: Keep,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RenderArgs {
    /// What `--json` wrote
    pub(crate) file: PathBuf,
    /// Only the plot of its side-by-side table, as an SVG file
    #[arg(long)]
    pub(crate) plot: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FloorServer {
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Where events come in, a line each
    #[arg(long, default_value = "127.0.0.1:8081")]
    pub(crate) control: SocketAddr,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) threads: u8,
    /// Send an event to the streams of its topic alone, one thread; a line is the topic, a blank and the data
    #[arg(long, conflicts_with = "threads")]
    pub(crate) by_topic: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// What a scenario takes where nothing is said.
pub(crate) fn defaults<S: clap::Args>() -> S {
    let command = S::augment_args(clap::Command::new("defaults"));
    S::from_arg_matches(&command.get_matches_from(["defaults"])).expect("every argument has a default")
}

impl TicksArgs {
    pub(crate) fn every(&self) -> Duration {
        Duration::from_millis(self.every_ms.into())
    }
}

/// A setting that is left to the client is none.
fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn seconds() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=3600)
}

fn in_flight() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=4096)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.01, 100_000.0)
}

fn churn(text: &str) -> Result<f64, String> {
    number(text, 0.0, 10_000.0)
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0)
}

fn exponent(text: &str) -> Result<f64, String> {
    number(text, 0.0, 4.0)
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("it is a number from {least} to {most}")),
    }
}

fn size(text: &str) -> Result<usize, String> {
    let (least, most) = (payload::HEAD, 1 << 20);
    match text.parse() {
        Ok(size) if (least..=most).contains(&size) => Ok(size),
        _ => Err(format!("an event's number and stamp need {least} bytes, and {most} is the most")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let load = defaults::<Load>();
        assert_eq!((load.streams, load.rate, load.seconds, load.size, load.warmup), (10_000, 10.0, 10, 100, 2));
        assert_eq!((defaults::<TopicsArgs>().topics, defaults::<StormArgs>().missed), (None, 100));
        assert_eq!((defaults::<ConnectArgs>().in_flight, defaults::<PublishArgs>().connections), (256, 2));
        assert_eq!((defaults::<IdleArgs>().streams, defaults::<EndsArgs>().ends), (18_000, 200));
        assert_eq!((defaults::<AttackArgs>().patterns, defaults::<ScaleArgs>().many), (127, 18_000));
    }
}
