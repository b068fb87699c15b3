//! The gateway as a program: configuration, run, exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use sluicegate::Builder;
use sluicegate::Config;
use sluicegate::internals::cli::Cli;
use sluicegate::internals::descriptors::{self, Own, Plan};
use sluicegate::internals::logging;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
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
    let config = loaded.told();
    Builder::from_config(config)
        .raise_descriptor_limit(true)
        .on_hangup(move || Ok(Config::load(&cli.flags)?.told()))
        .run()?;
    Ok(())
}
