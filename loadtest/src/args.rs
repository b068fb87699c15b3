//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};

/// Opens many event streams, publishes, checks every delivery, and prints what it cost the server.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// N streams of one topic, R events a second: delivery, latency, CPU a delivery
    Fanout(FanoutArgs),
    /// The same against the least server there can be
    Floor(FanoutArgs),
    /// Floor and gateway in turn, in the same minutes, and the ratios between them
    Ratios(RatiosArgs),
    /// How CPU a delivery grows from few streams to many, floor and gateway
    Scale(ScaleArgs),
    /// Memory a stream, what is given back, and the CPU of heartbeats
    Idle(IdleArgs),
    /// N connects as fast as they are taken: CPU a connect
    Connect(ConnectArgs),
    /// All streams drop, miss events, come back with Last-Event-ID: exactly the missed ones, and their cost
    Resume(ResumeArgs),
    /// Each stream on its own topic, batches to random topics: CPU a delivery, publishing included
    Topics(TopicsArgs),
    /// Batches as fast as they are taken, nobody subscribed: events a second
    Publish(PublishArgs),
    /// Everything above, as one Markdown table of what must be reached and what was
    Table(TableArgs),
    /// The least server: one send per stream and event
    FloorServer(FloorServer),
    /// Run a program that ends when we do
    #[command(hide = true)]
    Launch(Launch),
}

/// Which server is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Gateway,
    Floor,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Gateway program to start, on free ports [default: sluicegate, beside this program]
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub(crate) server: Option<PathBuf>,
    /// Config file for the gateway we start
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) config: Option<PathBuf>,
    /// One more argument for the gateway we start (may be repeated)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, conflicts_with = "url")]
    pub(crate) server_arg: Vec<String>,
    /// Drive a gateway that already runs here (loopback only)
    #[arg(long, value_name = "http://HOST:PORT")]
    pub(crate) url: Option<String>,
    /// Its control listener [default: the same as --url]
    #[arg(long, value_name = "http://HOST:PORT", requires = "url")]
    pub(crate) control: Option<String>,
    /// Its process, for CPU and memory; without it those figures are left out
    #[arg(long, requires = "url")]
    pub(crate) pid: Option<u32>,
    /// Sending threads of the floor server
    #[arg(long, value_name = "1|2", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) floor_threads: u8,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Measure the floor server too, right before
    #[arg(long)]
    pub(crate) with_floor: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// A fan-out's size.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Load {
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Events a second
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Seconds measured, after the warm-up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    /// Bytes of data in an event
    #[arg(long, default_value_t = 100, value_parser = size)]
    pub(crate) size: usize,
    /// Seconds before: checked, but in no figure
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=600))]
    pub(crate) warmup: u32,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RatiosArgs {
    #[command(flatten)]
    pub(crate) load: Load,
    /// Gateway rates to hold against the floor's send at --rate
    #[arg(long, value_delimiter = ',', default_values_t = [10.0, 100.0, 200.0], value_parser = rate)]
    pub(crate) rates: Vec<f64>,
    /// Floor and gateway in turn, so many times; medians are reported
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) few: u32,
    #[arg(long, default_value_t = 18_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) many: u32,
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub(crate) rate: f64,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct IdleArgs {
    #[arg(long, default_value_t = 18_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Seconds over which the CPU of heartbeats is taken
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Connects under way at once
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) in_flight: u32,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Events published while the streams are away
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) missed: u32,
    #[arg(long, default_value_t = 100, value_parser = size)]
    pub(crate) size: usize,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TopicsArgs {
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) streams: u32,
    /// Batches a second
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Events in a batch, each to a random topic
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch: u32,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    #[arg(long, default_value_t = 100, value_parser = size)]
    pub(crate) size: usize,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PublishArgs {
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) connections: u32,
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch: u32,
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    #[arg(long, default_value_t = 100, value_parser = size)]
    pub(crate) size: usize,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TableArgs {
    /// Shorter runs and one round: a look, not a measurement
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write all figures here too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
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
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number from 0.01 to 100000".to_owned()),
    }
}

fn size(text: &str) -> Result<usize, String> {
    let (least, most) = (crate::payload::HEAD, 1 << 20);
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
}
