//! The command line. Bad usage ends the process with exit code 2, and that of `log` with 4.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};

use super::config::EngineKind;
use crate::engine::disk::verify::CANT_LOOK;

/// The commit that the binary was built from: `SLUICEGATE_COMMIT` at build time, or `unknown`.
pub const REVISION: &str = match option_env!("SLUICEGATE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The version of the crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

static VERSION_AND_REVISION: LazyLock<String> = LazyLock::new(|| format!("{VERSION} ({REVISION})"));

/// An SSE gateway: publishers hand it events, and it writes them to all open streams.
#[derive(Clone, Debug, Parser)]
#[command(name = "sluicegate", version = VERSION_AND_REVISION.as_str())]
#[command(after_help = "Every setting a.b is also the variable SLUICEGATE_A_B. A flag wins over a variable, \
                        a variable over the file, the file over the default.")]
pub struct Cli {
    /// The settings that have a flag.
    #[command(flatten)]
    pub flags: Flags,
    /// Check the configuration, say what is wrong with it and exit
    #[arg(long)]
    pub check_config: bool,
    /// Print the configuration that would be used, as TOML, and exit
    #[arg(long)]
    pub print_config: bool,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub task: Option<Task>,
}

/// What the program does beside serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Task {
    /// Look at what the disk engine has stored; a gateway may be running on it
    #[command(subcommand)]
    Log(LogTask),
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
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<SocketAddr>,
    /// Address of the control listener: publishing, metrics, health [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    pub control: Option<SocketAddr>,
    /// Address of the health listener: health, readiness, metrics [default: none]
    #[arg(long, value_name = "ADDR")]
    pub health: Option<SocketAddr>,
    /// Where kept events live [default: memory]
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<EngineKind>,
    /// Directory of the disk engine
    #[arg(long, value_name = "DIR")]
    pub disk_dir: Option<PathBuf>,
    /// Configuration file, in TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
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
        assert!(cli.flags.control.is_none() && !cli.check_config && !cli.print_config);
    }

    #[test]
    fn bad_usage_is_exit_code_2() {
        for bad in [&["--listen", "nowhere"][..], &["--what"], &["extra"], &["--control"]] {
            let error = Cli::try_parse_from([&["sluicegate"], bad].concat()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad:?}");
        }
        assert_eq!(Cli::try_parse_from(["sluicegate", "--version"]).unwrap_err().exit_code(), 0);
    }
}
