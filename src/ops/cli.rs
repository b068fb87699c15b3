//! The command line. Bad usage ends the process with exit code 2, and that of `log` with 4.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};

use super::config::{EngineKind, listen};
use crate::client::Base;
use crate::client::publish::Publish;
use crate::client::tail::Tail;
use crate::engine::disk::verify::CANT_LOOK;

/// The commit that the binary was built from: `SLUICEGATE_COMMIT` at build time, of a release build else what git
/// says, or `unknown`.
pub const REVISION: &str = env!("SLUICEGATE_REVISION");

/// The version of the crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

static VERSION_AND_REVISION: LazyLock<String> = LazyLock::new(|| format!("{VERSION} ({REVISION})"));

/// An SSE gateway: publishers hand it events, and it writes them to all open streams.
///
/// Without a command it serves.
#[derive(Clone, Debug, Parser)]
#[command(name = "sluicegate", version = VERSION_AND_REVISION.as_str(), disable_help_subcommand = true)]
#[command(after_help = "Every setting a.b is also the variable SLUICEGATE_A_B. A flag wins over a variable, \
                        a variable over the file, the file over the default.\n\n\
                        First minute:  sluicegate                    serves streams on port 8080\n               \
                        sluicegate tail news          shows the events of a topic\n               \
                        sluicegate publish news hello publishes one")]
pub struct Cli {
    /// The settings that have a flag.
    #[command(flatten)]
    pub flags: Flags,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub task: Option<Task>,
}

/// What the program does beside serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Task {
    /// Publish an event, or one for each line of standard input
    Publish(PublishTask),
    /// Show the events of topics as they come
    Tail(TailTask),
    /// Show a gateway at a glance: streams, rates, the slowest streams, the busiest topics
    Top(TopTask),
    /// Exit with 0 if a gateway is ready for streams, with 1 if not
    Healthcheck(At),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigTask),
    /// Look at what the disk engine has stored; a gateway may be running on it
    #[command(subcommand)]
    Log(LogTask),
    /// Print a script that completes commands and flags
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Where the gateway is.
#[derive(Args, Clone, Debug)]
pub struct At {
    /// The listener's URL, such as http://127.0.0.1:8081 [default: as the configuration says, on this machine]
    #[arg(long, value_name = "URL")]
    pub url: Option<Base>,
}

/// What to publish.
#[derive(Args, Clone, Debug)]
pub struct PublishTask {
    /// The topic
    pub topic: String,
    /// The data; `-`, or none, reads standard input
    #[arg(conflicts_with = "lines")]
    pub data: Option<String>,
    /// Publish an event for each line of standard input
    #[arg(long, conflicts_with_all = ["id", "retry", "idempotency_key"])]
    pub lines: bool,
    /// Its type, `message` by default
    #[arg(long, value_name = "TYPE")]
    pub event: Option<String>,
    /// An id of its own
    #[arg(long)]
    pub id: Option<String>,
    /// How long clients wait before they reconnect
    #[arg(long, value_name = "MS")]
    pub retry: Option<String>,
    /// Of events with one key, slow streams may get only the newest
    #[arg(long)]
    pub key: Option<String>,
    /// Do not retain it: it gets no generated id, and is never replayed
    #[arg(long)]
    pub live_only: bool,
    /// With the same key, the same call publishes nothing twice
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Where the control listener is
    #[command(flatten)]
    pub at: At,
}

/// What to show.
#[derive(Args, Clone, Debug)]
pub struct TailTask {
    /// Topics, or patterns in quotes: `*` matches one segment, a trailing `**` one or more
    #[arg(required = true, value_name = "TOPIC")]
    pub names: Vec<String>,
    /// Begin after the event with this id, or with all that is retained: `earliest`
    #[arg(long, value_name = "ID")]
    pub since: Option<String>,
    /// Show JSON objects, a line each
    #[arg(long)]
    pub json: bool,
    /// End after so many events
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_events: Option<u64>,
    /// Where the public listener is
    #[command(flatten)]
    pub at: At,
}

/// How to look.
#[derive(Args, Clone, Debug)]
pub struct TopTask {
    /// Look once, over one second
    #[arg(long)]
    pub once: bool,
    /// Where the control listener is
    #[command(flatten)]
    pub at: At,
}

/// What to do with the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigTask {
    /// Say what is wrong with it, or that it is valid
    Check,
    /// Print all that would be used, as TOML
    Print,
    /// Print the defaults, as TOML
    Default,
}

/// What to do with a log on disk.
#[derive(Clone, Debug, Subcommand)]
pub enum LogTask {
    /// Read every byte and say what is there and what is wrong; exit with 1 if a write was cut short, 2
    /// if events are lost or damaged, 3 if a file can't be read by this build, 4 if the directory can't be read,
    /// 5 if it holds no log
    Verify {
        /// The log's directory
        dir: PathBuf,
    },
    /// Print all events, one a line
    Dump {
        /// The log's directory
        dir: PathBuf,
        /// The first sequence
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Print JSON objects
        #[arg(long)]
        json: bool,
    },
}

/// Settings given as flags; those not given are empty.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// Address to serve streams on; may be repeated [default: 0.0.0.0:8080]
    #[arg(long, global = true, help_heading = "Settings", value_name = "ADDR", value_parser = listen::public)]
    pub listen: Vec<SocketAddr>,
    /// Address of the control listener: publishing, metrics, health [default: 127.0.0.1:8081]
    #[arg(long, global = true, help_heading = "Settings", value_name = "ADDR", value_parser = listen::private)]
    pub control: Option<SocketAddr>,
    /// Address of the health listener: health, readiness, metrics [default: none]
    #[arg(long, global = true, help_heading = "Settings", value_name = "ADDR", value_parser = listen::private)]
    pub health: Option<SocketAddr>,
    /// Address to serve streams on over TLS; may be repeated
    #[arg(long, global = true, help_heading = "Settings", value_name = "ADDR", value_parser = listen::public)]
    pub listen_tls: Vec<SocketAddr>,
    /// File with a certificate and what leads to an authority, in PEM; may be repeated
    #[arg(long, global = true, help_heading = "Settings", value_name = "FILE")]
    pub tls_cert: Vec<PathBuf>,
    /// File with the certificate's private key, in PEM; one for each --tls-cert, in the same order
    #[arg(long, global = true, help_heading = "Settings", value_name = "FILE")]
    pub tls_key: Vec<PathBuf>,
    /// Serve over TLS with a certificate made for localhost, to try things [default address: 127.0.0.1:8443]
    #[arg(long, global = true, help_heading = "Settings")]
    pub dev_tls: bool,
    /// Where kept events live [default: memory]
    #[arg(long, global = true, help_heading = "Settings", value_name = "ENGINE")]
    pub engine: Option<EngineKind>,
    /// Directory of the disk engine
    #[arg(long, global = true, help_heading = "Settings", value_name = "DIR")]
    pub disk_dir: Option<PathBuf>,
    /// Configuration file, in TOML
    #[arg(long, global = true, help_heading = "Settings", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl From<PublishTask> for Publish {
    fn from(task: PublishTask) -> Publish {
        let PublishTask { topic, data, lines, event, id, retry, key, live_only, idempotency_key, at: _ } = task;
        let data = data.filter(|data| data != "-");
        Publish { topic, data, lines, event, id, retry, key, live_only, idempotency_key }
    }
}

impl From<TailTask> for Tail {
    fn from(task: TailTask) -> Tail {
        let TailTask { names, since, json, max_events, at: _ } = task;
        Tail { names, since, json, max_events }
    }
}

/// The exit code of a command line that was not understood: where `log` looks, 2 is damage.
pub fn usage_code(error: &clap::Error, arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let of_log = arguments.into_iter().nth(1).is_some_and(|first| first == "log");
    match error.exit_code() {
        0 => 0,
        _ if of_log => CANT_LOOK,
        code => code as u8,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_read() {
        let cli =
            Cli::parse_from(["sluicegate", "--listen", "[::]:80", "--listen", "127.0.0.1:0", "--config", "a.toml"]);
        assert_eq!(cli.flags.listen, ["[::]:80".parse().unwrap(), "127.0.0.1:0".parse().unwrap()]);
        assert_eq!(cli.flags.config, Some(PathBuf::from("a.toml")));
        assert!(cli.flags.control.is_none() && cli.task.is_none());
    }

    #[test]
    fn bad_usage_is_exit_code_2() {
        for bad in [&["--listen", "nowhere"][..], &["--what"], &["extra"], &["--control"], &["publish"], &["tail"]] {
            let error = Cli::try_parse_from([&["sluicegate"], bad].concat()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad:?}");
        }
        for bad in [&["publish", "a", "b", "--lines"][..], &["tail", "a", "-n", "0"], &["top", "--url", "https://a"]] {
            assert!(Cli::try_parse_from([&["sluicegate"], bad].concat()).is_err(), "{bad:?}");
        }
        assert_eq!(Cli::try_parse_from(["sluicegate", "--version"]).unwrap_err().exit_code(), 0);
    }
}
