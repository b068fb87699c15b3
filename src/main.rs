//! The gateway as a program: configuration, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use sluicegate::Builder;
use sluicegate::ops::cli::Cli;
use sluicegate::ops::config::{Config, Loaded};
use sluicegate::ops::logging;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluicegate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> Result<(), Box<dyn std::error::Error>> {
    let Loaded { config, file, warnings } = Config::load(&cli.flags)?;
    if cli.print_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    if cli.check_config {
        warnings.iter().for_each(|warning| eprintln!("sluicegate: {warning}"));
        println!("the configuration is valid");
        return Ok(());
    }
    logging::init(&config.log)?;
    if let Some(file) = file {
        tracing::info!(file = %file.display(), "configuration read");
    }
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Builder::from_config(config).run()?;
    Ok(())
}
