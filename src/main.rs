//! The gateway as a program: configuration, run, exit code.

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use listenfd::ListenFd;
use sluicegate::Builder;
use sluicegate::Config;
use sluicegate::config::EngineKind;
use sluicegate::internals::cli::{self, At, Cli, ConfigTask, Flags, LogTask, Task};
use sluicegate::internals::client::{self, Base, ClientError};
use sluicegate::internals::descriptors::{self, Own, Plan};
use sluicegate::internals::listen::reachable;
use sluicegate::internals::logging;
use sluicegate::internals::stored::{CANT_LOOK, Disk, Format, NO_LOG, check_dir, dump, verify, wall_ms};
use sluicegate::internals::tls_server;

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
    let task = cli.task.take();
    let failed = ExitCode::from(if matches!(task, Some(Task::Log(_))) { CANT_LOOK } else { 1 });
    let done = match task {
        None => serve(cli.flags).map(|()| ExitCode::SUCCESS),
        Some(Task::Log(task)) => look(&task),
        Some(task) => carry_out(task, &cli.flags).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            logging::say(&logging::with_causes(&*error));
            failed
        }
    }
}

fn serve(flags: Flags) -> Result<(), Box<dyn Error>> {
    let loaded = Config::load(&flags)?;
    let _last_lines = logging::init(&loaded.config.log)?;
    let config = loaded.logged();
    passed_sockets(Builder::from_config(config))?
        .raise_descriptor_limit(true)
        .notify_systemd(true)
        .on_hangup(move || Ok(Config::load(&flags)?.logged()))
        .run()?;
    Ok(())
}

/// Listens on the sockets that systemd passes (sd_listen_fds(3)): those whose units name them `control` or `health`
/// (`FileDescriptorName=`) for the operator, `tls` for streams over TLS, the others for streams, in the place of the configured
/// addresses.
fn passed_sockets(mut builder: Builder) -> Result<Builder, Box<dyn Error>> {
    let mut passed = ListenFd::from_env();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let (mut public, mut tls) = (Vec::new(), Vec::new());
    for index in 0..passed.len() {
        let name = names.next().unwrap_or_default();
        let socket =
            passed.take_tcp_listener(index).map_err(|error| format!("the socket {name} of systemd: {error}"))?;
        match (name, socket) {
            (_, None) => {}
            ("control", Some(socket)) => builder = builder.control_on(socket),
            ("health", Some(socket)) => builder = builder.health_on(socket),
            ("tls", Some(socket)) => tls.push(socket),
            (_, Some(socket)) => public.push(socket),
        }
    }
    let builder = if tls.is_empty() { builder } else { builder.listen_tls_only_on(tls) };
    Ok(if public.is_empty() { builder } else { builder.listen_only_on(public) })
}

fn carry_out(task: Task, flags: &Flags) -> Result<(), Box<dyn Error>> {
    // Who reads what is printed may go away in the midst of it: `| head`.
    let unread = |error: &ClientError| matches!(error, ClientError::System(e) if e.kind() == io::ErrorKind::BrokenPipe);
    let done = match task {
        Task::Config(task) => return configuration(task, flags),
        Task::Log(_) => Ok(()),
        Task::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "sluicegate", &mut io::stdout());
            Ok(())
        }
        Task::Man => clap_mangen::Man::new(Cli::command()).render(&mut io::stdout()).map_err(ClientError::System),
        Task::Publish(task) => {
            let base = base(&task.at, flags, |config| Some(config.control))?;
            client::run(client::publish::publish(base, task.into()))
        }
        Task::Tail(task) => {
            let base = base(&task.at, flags, |config| config.listen.addresses().first().copied())?;
            client::run(client::tail::tail(base, task.into()))
        }
        Task::Top(task) => {
            client::run(client::top::top(base(&task.at, flags, |config| Some(config.control))?, task.once))
        }
        Task::Healthcheck(at) => {
            let said = client::run(client::healthcheck::healthcheck(base(&at, flags, |config| {
                Some(config.health.address().unwrap_or(config.control))
            })?));
            said.and_then(|said| io::stdout().write_all(said.as_bytes()).map_err(ClientError::System))
        }
    };
    done.or_else(|error| if unread(&error) { Ok(()) } else { Err(error.into()) })
}

/// Where the gateway is: as its flag says, or else the configuration.
fn base(at: &At, flags: &Flags, listener: fn(&Config) -> Option<SocketAddr>) -> Result<Base, Box<dyn Error>> {
    match &at.url {
        Some(base) => Ok(base.clone()),
        None => {
            let address =
                listener(&Config::load(flags)?.config).ok_or("there is no listener without TLS: give --url")?;
            Ok(Base::from(reachable(address)))
        }
    }
}

fn configuration(task: ConfigTask, flags: &Flags) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    match task {
        ConfigTask::Default => out.write_all(Config::default().to_toml().as_bytes())?,
        ConfigTask::Print => out.write_all(Config::load(flags)?.config.to_toml().as_bytes())?,
        ConfigTask::Check => {
            let loaded = Config::load(flags)?;
            let plan = Plan::new(descriptors::highest()?, &Own::of(&loaded.config), &loaded.config.limits)?;
            if loaded.config.engine == EngineKind::Disk {
                check_dir(&Disk, &loaded.config.disk.dir)?;
            }
            tls_server(&loaded.config)?;
            loaded.warnings.iter().for_each(|warning| logging::say(warning));
            plan.oddities().into_iter().for_each(logging::say);
            let read = loaded.file.map_or("no file was read".to_owned(), |file| format!("{} was read", file.display()));
            writeln!(out, "the configuration is valid; {read}")?;
        }
    }
    Ok(())
}

/// Looks at a log. Who reads what is printed may go away in the midst of it: `| head`.
fn look(task: &LogTask) -> Result<ExitCode, Box<dyn Error>> {
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
