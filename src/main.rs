//! The gateway as a program: configuration, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use sluicegate::Builder;
use sluicegate::ops::cli::Cli;
use sluicegate::ops::config::Config;
use sluicegate::ops::logging;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluicegate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    let loaded = Config::load(&cli.flags)?;
    if cli.print_config {
        print!("{}", loaded.config.to_toml());
        return Ok(());
    }
    if cli.check_config {
        loaded.warnings.iter().for_each(|warning| eprintln!("sluicegate: {warning}"));
        println!("the configuration is valid");
        return Ok(());
    }
    logging::init(&loaded.config.log)?;
    let config = loaded.told();
    Builder::from_config(config).on_hangup(move || Ok(Config::load(&cli.flags)?.told())).run()?;
    Ok(())
}
