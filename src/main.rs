//! The gateway as a program: configuration, run, exit code.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;
use sluicegate::Builder;
use sluicegate::Config;
use sluicegate::config::EngineKind;
use sluicegate::internals::cli::{self, Cli, LogTask, Task};
use sluicegate::internals::descriptors::{self, Own, Plan};
use sluicegate::internals::logging;
use sluicegate::internals::stored::{CANT_LOOK, Disk, Format, NO_LOG, check_dir, dump, verify, wall_ms};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Where that fails there is nowhere to say so.
            let _ = error.print();
            return ExitCode::from(cli::usage_code(&error, std::env::args_os()));
        }
    };
    let (done, failed) = match cli.task.take() {
        Some(Task::Log(task)) => (look(&task), ExitCode::from(CANT_LOOK)),
        None => (start(cli).map(|()| ExitCode::SUCCESS), ExitCode::FAILURE),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            logging::say(&logging::with_causes(&*error));
            failed
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
        if loaded.config.engine == EngineKind::Disk {
            check_dir(&Disk, &loaded.config.disk.dir)?;
        }
        loaded.warnings.iter().for_each(|warning| logging::say(warning));
        plan.oddities().into_iter().for_each(logging::say);
        let read = loaded.file.map_or("no file was read".to_owned(), |file| format!("{} was read", file.display()));
        writeln!(io::stdout(), "the configuration is valid; {read}")?;
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

/// Looks at a log. Who reads what is printed may go away in the midst of it: `| head`.
fn look(task: &LogTask) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut out = BufWriter::new(io::stdout().lock());
    let (looked, failed) = match task {
        LogTask::Verify { dir } => {
            let found = verify(&Disk, dir).map_err(|error| format!("can't read {}: {error}", dir.display()))?;
            (write!(out, "{}", found.report(wall_ms())).map(|()| found.exit_status()), "can't print".to_owned())
        }
        LogTask::Dump { dir, from, json } => {
            let format = if *json { Format::Json } else { Format::Text };
            let dumped = dump(&Disk, dir, *from, format, &mut out);
            (dumped.map(|found| if found { 0 } else { NO_LOG }), format!("can't dump {}", dir.display()))
        }
    };
    match looked.and_then(|code| out.flush().map(|()| code)) {
        Ok(code) => {
            if let (NO_LOG, LogTask::Dump { dir, .. }) = (code, task) {
                logging::say(&format!("no log: there is no segment in {}", dir.display()));
            }
            Ok(ExitCode::from(code))
        }
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(format!("{failed}: {error}").into()),
    }
}
