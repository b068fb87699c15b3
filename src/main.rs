//! The gateway as a program: configuration, run, exit code.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;
use sluicegate::Builder;
use sluicegate::Config;
use sluicegate::internals::cli::{Cli, LogTask, Task};
use sluicegate::internals::descriptors::{self, Own, Plan};
use sluicegate::internals::logging;
use sluicegate::internals::stored::{Disk, Format, dump, verify, wall_ms};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    let done = match cli.task.take() {
        Some(Task::Log(task)) => look(&task),
        None => start(cli).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            logging::say(&logging::with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    let loaded = Config::load(&cli.flags)?;
    if cli.print_config {
        io::stdout().write_all(loaded.config.to_toml().as_bytes())?;
        return Ok(());
    }
    if cli.check_config {
        let plan = Plan::new(descriptors::highest()?, &Own::of(&loaded.config), &loaded.config.limits)?;
        loaded.warnings.iter().for_each(|warning| logging::say(warning));
        plan.oddities().into_iter().for_each(logging::say);
        writeln!(io::stdout(), "the configuration is valid")?;
        return Ok(());
    }
    let _last_lines = logging::init(&loaded.config.log)?;
    let config = loaded.logged();
    Builder::from_config(config)
        .raise_descriptor_limit(true)
        .on_hangup(move || Ok(Config::load(&cli.flags)?.logged()))
        .run()?;
    Ok(())
}

fn look(task: &LogTask) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut out = BufWriter::new(io::stdout().lock());
    let code = match task {
        LogTask::Verify { dir } => {
            let found = verify(&Disk, dir).map_err(|error| format!("can't read {}: {error}", dir.display()))?;
            write!(out, "{}", found.report(wall_ms()))?;
            ExitCode::from(found.exit_status())
        }
        LogTask::Dump { dir, from, json } => {
            let format = if *json { Format::Json } else { Format::Text };
            dump(&Disk, dir, *from, format, &mut out)
                .map_err(|error| format!("can't dump {}: {error}", dir.display()))?;
            ExitCode::SUCCESS
        }
    };
    out.flush()?;
    Ok(code)
}
