//! The server under test: the gateway or the floor server as a child of ours, or one that already runs.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Result,
    args::{Kind, Launch, ServerArgs},
    process::Process,
    streams,
};

/// A server that does not listen by then has failed.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Where to subscribe and publish, and which process pays for it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) streams: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) process: Option<Process>,
    /// Our child, and what it has printed.
    child: Option<(Child, File)>,
}

impl Server {
    pub(crate) fn start(kind: Kind, args: &ServerArgs) -> Result<Self> {
        match kind {
            Kind::Floor => Self::floor(args),
            Kind::Gateway => Self::gateway(args),
        }
    }

    fn gateway(args: &ServerArgs) -> Result<Self> {
        if let Some(url) = &args.url {
            let streams = address(url)?;
            let control = args.control.as_deref().map_or(Ok(streams), address)?;
            return Ok(Self { kind: Kind::Gateway, streams, control, process: args.pid.map(Process), child: None });
        }
        let program = args.server.clone().map_or_else(beside_us, Ok)?;
        if !program.is_file() {
            return Err(format!(
                "there is no server at {}: build it (cargo build --release), or name one with --server or --url",
                program.display()
            ));
        }
        let mut words = Vec::new();
        if let Some(config) = &args.config {
            words.extend(["--config".to_owned(), config.display().to_string()]);
        }
        words.extend(args.server_arg.iter().cloned());
        Self::spawn(Kind::Gateway, program, words)
    }

    fn floor(args: &ServerArgs) -> Result<Self> {
        let words = vec!["floor-server".to_owned(), "--threads".to_owned(), args.floor_threads.to_string()];
        Self::spawn(Kind::Floor, own_program()?, words)
    }

    fn spawn(kind: Kind, program: PathBuf, words: Vec<String>) -> Result<Self> {
        streams::raise_descriptor_limit()?;
        let (streams, control) = (free_port()?, free_port()?);
        let (log, sink, errors) = nameless_file().map_err(|error| format!("no file for the server's log: {error}"))?;
        // Through `launch`, so that the kernel ends it when we end, however we do.
        let child = Command::new(own_program()?)
            .arg("launch")
            .arg(&program)
            .args(&words)
            .args(["--listen", &streams.to_string(), "--control", &control.to_string()])
            .stdin(Stdio::null())
            .stdout(sink)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("cannot start {}: {}", program.display(), streams::plain(&error)))?;
        let process = Some(Process(child.id()));
        let mut this = Self { kind, streams, control, process, child: Some((child, log)) };
        this.wait_until_it_listens()?;
        Ok(this)
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let began = Instant::now();
        while [self.streams, self.control].iter().any(|address| TcpStream::connect(address).is_err()) {
            let (child, log) = self.child.as_mut().expect("only a child is waited for");
            if let Ok(Some(status)) = child.try_wait() {
                let mut said = String::new();
                let _ = log.seek(SeekFrom::Start(0)).and_then(|_| log.read_to_string(&mut said));
                let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("and said nothing");
                return Err(format!("the server ended at once ({status}): {last}"));
            }
            if began.elapsed() > START_PATIENCE {
                return Err(format!("the server does not listen on {} and {} after 10 s", self.streams, self.control));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A file that goes away with its last handle: one to read, two to write.
fn nameless_file() -> std::io::Result<(File, File, File)> {
    let path = std::env::temp_dir().join(format!("sluicegate-loadtest-{}.log", std::process::id()));
    let file = File::options().read(true).append(true).create_new(true).open(&path)?;
    fs::remove_file(path)?;
    Ok((file.try_clone()?, file.try_clone()?, file))
}

/// Becomes another program that dies with our parent.
pub(crate) fn launch(launch: &Launch) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| format!("prctl: {error}"))?;
    let error = Command::new(&launch.program).args(&launch.words).exec();
    Err(format!("cannot run {}: {}", launch.program.display(), streams::plain(&error)))
}

fn own_program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| format!("cannot find the load client's own program: {error}"))
}

fn beside_us() -> Result<PathBuf> {
    Ok(own_program()?.with_file_name("sluicegate"))
}

fn free_port() -> Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no free port: {error}"))
}

/// The address in `http://host:port`; loopback only, since a load client is a weapon.
fn address(url: &str) -> Result<SocketAddr> {
    let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let address = authority
        .to_socket_addrs()
        .map_err(|error| format!("{url} is not http://HOST:PORT: {error}"))?
        .find(SocketAddr::is_ipv4)
        .ok_or_else(|| format!("{url} has no IPv4 address"))?;
    if address.ip().is_loopback() { Ok(address) } else { Err(format!("{url} is not on this machine: loopback only")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_driven() {
        assert_eq!(address("http://127.0.0.1:8080/").unwrap().port(), 8080);
        assert_eq!(address("127.0.0.1:1").unwrap().port(), 1);
        assert!(address("http://192.0.2.1:80").unwrap_err().contains("loopback"));
        assert!(address("http://127.0.0.1").is_err());
    }
}
