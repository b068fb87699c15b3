//! The server under test: a child of ours, started as its profile says, or one that already runs.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Result,
    args::{Engine, Launch, ServerArgs},
    process::{Process, Processes},
    profile::{Profile, Start, fill},
    record::Contender,
    request, streams,
};

/// A server that does not listen by then has failed.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Events that a server is asked to keep for those who come back. Mercure 0.x replays nothing if it keeps 10,000.
const HISTORY: u32 = 9_000;

/// What is to be measured, and how to come by it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) profile: Profile,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Start { program: Option<PathBuf>, extra: Vec<String>, cluster: Option<Cluster>, settings: String },
    Runs { streams: SocketAddr, control: SocketAddr, process: Option<Process> },
}

/// Why a server that runs is not changed.
const RUNS: &str = "this scenario starts its server itself, with a config of its own: leave --url out";

/// Gateways whose events are on a nats-server.
#[derive(Clone, Debug)]
struct Cluster {
    /// The server, if it runs already.
    nats: Option<SocketAddr>,
    /// Whether they are two.
    is_pair: bool,
}

impl Target {
    pub(crate) fn new(args: &ServerArgs) -> Result<Self> {
        let profile = Profile::named(&args.profile)?;
        let source = match &args.url {
            Some(url) => {
                let streams = address(url)?;
                let control = args.control.as_deref().map_or(Ok(streams), address)?;
                Source::Runs { streams, control, process: args.pid.map(Process) }
            }
            None => Source::Start {
                program: args.server.clone(),
                extra: args.server_arg.clone(),
                cluster: None,
                settings: String::new(),
            },
        };
        Self { profile, source }.with_engine(args.engine)
    }

    /// The same, but with its events in another place than memory, if that is asked for. It has a name of its own.
    pub(crate) fn with_engine(&self, engine: Engine) -> Result<Self> {
        if engine != Engine::Memory && self.name() != "sluicegate" {
            return Err(format!("--engine is for our gateway, and this is {}", self.name()));
        }
        match engine {
            Engine::Memory => Ok(self.clone()),
            Engine::Disk => {
                let arguments = ["--engine", "disk", "--disk-dir", "{dir}/events"];
                let mut this = self.with_arguments(&arguments.map(str::to_owned))?;
                this.profile.name.push_str("-disk");
                Ok(this)
            }
            Engine::Nats => self.in_cluster("-nats", Cluster { nats: None, is_pair: false }),
            Engine::NatsPair => self.in_cluster("-nats-pair", Cluster { nats: None, is_pair: true }),
        }
    }

    /// The same, on a nats-server that runs.
    pub(crate) fn on(&self, nats: &Nats) -> Result<Self> {
        self.in_cluster("-nats", Cluster { nats: Some(nats.address), is_pair: false })
    }

    fn in_cluster(&self, suffix: &str, cluster: Cluster) -> Result<Self> {
        let mut this = self.clone();
        this.profile.name.push_str(suffix);
        let Source::Start { cluster: of_source, .. } = &mut this.source else { return Err(RUNS.to_owned()) };
        *of_source = Some(cluster);
        Ok(this)
    }

    /// The same with settings of our gateway, as its configuration has them; an error if it already runs.
    pub(crate) fn with_settings(&self, text: &str) -> Result<Self> {
        let mut this = self.clone();
        let Source::Start { settings, .. } = &mut this.source else { return Err(RUNS.to_owned()) };
        settings.push_str(text);
        Ok(this)
    }

    /// A built-in server, started as its profile says.
    pub(crate) fn built_in(name: &str) -> Result<Self> {
        let source = Source::Start { program: None, extra: Vec::new(), cluster: None, settings: String::new() };
        Ok(Self { profile: Profile::named(name)?, source })
    }

    /// A build of the gateway under a name of its own; without a program, the one beside us.
    pub(crate) fn build(name: &str, program: Option<PathBuf>) -> Result<Self> {
        let mut this = Self::built_in("sluicegate")?;
        name.clone_into(&mut this.profile.name);
        this.source = Source::Start { program, extra: Vec::new(), cluster: None, settings: String::new() };
        Ok(this)
    }

    /// The same with further arguments; an error if it already runs.
    pub(crate) fn with_arguments(&self, more: &[String]) -> Result<Self> {
        let mut this = self.clone();
        let Source::Start { extra, .. } = &mut this.source else {
            return Err(RUNS.to_owned());
        };
        extra.extend_from_slice(more);
        Ok(this)
    }

    pub(crate) fn name(&self) -> &str {
        &self.profile.name
    }

    /// What a report says of it; `missing` is filled in if it cannot be started here.
    pub(crate) fn contender(&self) -> Contender {
        let notes = vec![self.profile.about.clone()];
        let mut contender = Contender { name: self.name().to_owned(), notes, ..Contender::default() };
        let (Source::Start { program, extra, cluster, .. }, Some(start)) = (&self.source, &self.profile.start) else {
            return contender;
        };
        if let Some(Err(why)) = cluster.as_ref().map(|_| on_path(NATS)) {
            contender.missing = Some(why);
            return contender;
        }
        // Ports and folders are other ones each time.
        let [cores, history] = constants();
        let values = [("cores", cores.as_str()), ("history", history.as_str())];
        contender.notes.extend(start.notes.iter().map(|note| fill(note, &values)));
        for file in &start.file {
            contender.files.push((file.name.clone(), fill(file.contents().unwrap_or_default(), &values)));
        }
        let words = fill(&[&start.arguments[..], extra].concat().join(" "), &values);
        let named = program.as_ref().map(|program| program.display().to_string());
        let named = named.as_deref().unwrap_or(start.program.trim_start_matches("self:"));
        contender.command = format!("{named} {words}").trim_end().to_owned();
        match find(program.as_ref(), start) {
            Ok(found) => contender.version = version(start, program.is_some().then_some(found)),
            Err(why) => contender.missing = Some(why),
        }
        contender
    }

    pub(crate) fn start(&self) -> Result<Server> {
        match &self.source {
            Source::Runs { streams, control, process } => Ok(Server {
                profile: self.profile.clone(),
                streams: *streams,
                control: *control,
                metrics: *control,
                processes: process.map(Processes::With),
                child: None,
                beside: Vec::new(),
            }),
            Source::Start { program, extra, cluster, settings } => {
                let start = self.profile.start.as_ref().ok_or_else(|| {
                    format!("the profile {} does not say how to start the server: give --url", self.name())
                })?;
                let program = find(program.as_ref(), start)?;
                let Some(Cluster { nats, is_pair }) = cluster else {
                    return self.spawn(&program, start, extra, settings);
                };
                let own = if nats.is_none() { Some(Nats::start()?) } else { None };
                let nats = nats.or(own.as_ref().map(|own| own.address));
                let urls = nats.map(|address| format!("\"nats://{address}\"")).unwrap_or_default();
                let settings = format!("engine = \"nats\"\n[cluster]\nurls = [{urls}]\nreplicas = 1\n{settings}");
                let mut server = self.spawn(&program, start, extra, &settings)?;
                if *is_pair {
                    // Published to the first, which is not measured; streams are at the second.
                    let first = server;
                    server = self.spawn(&program, start, extra, &settings)?;
                    server.control = first.control;
                    server.beside.extend(first.child);
                }
                server.beside.extend(own.map(|own| own.child));
                Ok(server)
            }
        }
    }

    fn spawn(&self, program: &Path, start: &Start, extra: &[String], settings: &str) -> Result<Server> {
        streams::raise_descriptor_limit()?;
        let streams = free_port()?;
        let control = if start.one_port { streams } else { free_port()? };
        let folder = Folder::new()?;
        let [cores, history] = constants();
        let values = [
            ("listen", streams.to_string()),
            ("listen_port", streams.port().to_string()),
            ("control", control.to_string()),
            ("control_port", control.port().to_string()),
            ("spare_port", free_port()?.port().to_string()),
            ("dir", folder.0.display().to_string()),
            ("cores", cores),
            ("history", history),
        ];
        let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for file in &start.file {
            folder.write(&file.name, &fill(file.contents()?, &values))?;
        }
        let words = start.arguments.iter().chain(extra).map(|argument| fill(argument, &values));
        let mut words: Vec<String> = words.collect();
        if !settings.is_empty() {
            let file = folder.write("settings.toml", settings)?;
            words.extend(["--config".to_owned(), file.display().to_string()]);
        }
        let child = Supervised::start(program, &words, folder)?;
        let processes = Some(Processes::Below(Process(child.child.id())));
        let profile = self.profile.clone();
        let mut server =
            Server { profile, streams, control, metrics: control, processes, child: Some(child), beside: Vec::new() };
        server.wait_until_it_listens()?;
        Ok(server)
    }
}

/// Where to subscribe and publish, and which processes pay for it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) profile: Profile,
    pub(crate) streams: SocketAddr,
    pub(crate) control: SocketAddr,
    /// Where the node that has the streams tells of itself.
    metrics: SocketAddr,
    pub(crate) processes: Option<Processes>,
    child: Option<Supervised>,
    /// What it needs, and what goes with it.
    beside: Vec<Supervised>,
}

/// The program that keeps the events of a cluster.
const NATS: &str = "nats-server";

/// A nats-server of our own, with nothing stored.
#[derive(Debug)]
pub(crate) struct Nats {
    address: SocketAddr,
    child: Supervised,
}

impl Nats {
    pub(crate) fn start() -> Result<Self> {
        let (program, address, folder) = (on_path(NATS)?, free_port()?, Folder::new()?);
        let store = folder.path().join("store");
        let text = format!(
            "listen: \"{address}\"\njetstream {{ store_dir: {store:?}, max_mem: 1GB, max_file: 16GB }}\nmax_payload: 8MB\n"
        );
        let file = folder.write("nats.conf", &text)?;
        let child = Supervised::start(&program, &["-c".to_owned(), file.display().to_string()], folder)?;
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > START_PATIENCE {
                return Err(format!("{NATS} does not listen on {address} after 10 s"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { address, child })
    }
}

/// Our child, and what it has printed.
#[derive(Debug)]
struct Supervised {
    child: Child,
    log: File,
    _folder: Folder,
}

impl Server {
    /// The server's processes, for scenarios that are nothing without them.
    pub(crate) fn measured(&self) -> Result<Processes> {
        self.processes.ok_or_else(|| "this scenario measures the server's process: name it with --pid".to_owned())
    }

    /// A counter of our gateway's, at the node that has the streams: `None` if there is none.
    pub(crate) fn counter(&self, sample: &str) -> Option<u64> {
        let text = request::text(self.metrics, "/metrics").ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
        value.trim().parse::<f64>().ok().map(|value| value as u64)
    }

    fn is_ready(&self) -> bool {
        if [self.streams, self.control].iter().any(|address| TcpStream::connect(address).is_err()) {
            return false;
        }
        match self.profile.start.as_ref().and_then(|start| start.ready.as_deref()) {
            Some(path) => request::get(self.streams, path).is_ok(),
            None => true,
        }
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let began = Instant::now();
        while !self.is_ready() {
            let Supervised { child, log, .. } = self.child.as_mut().expect("only a child is waited for");
            if let Ok(Some(status)) = child.try_wait() {
                let mut said = String::new();
                let _ = log.seek(SeekFrom::Start(0)).and_then(|_| log.read_to_string(&mut said));
                let mut lines = said.lines().filter(|line| !line.trim().is_empty());
                // What is wrong is said first where there is more, as in a usage error, and last in a log.
                let error = lines.clone().find(|line| line.starts_with("error")).or_else(|| lines.next_back());
                return Err(format!("the server ended at once ({status}): {}", error.unwrap_or("it said nothing")));
            }
            if began.elapsed() > START_PATIENCE {
                return Err(format!("the server does not listen on {} and {} after 10 s", self.streams, self.control));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Supervised {
    /// Through `launch`, which ends all that it has started when we end, however we do.
    fn start(program: &Path, words: &[String], folder: Folder) -> Result<Self> {
        let (log, sink, errors) = folder.log().map_err(|error| format!("no file for the server's log: {error}"))?;
        let child = Command::new(own_program()?)
            .arg("launch")
            .arg(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(sink)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("cannot start {}: {}", program.display(), streams::plain(&error)))?;
        Ok(Self { child, log, _folder: folder })
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // The supervisor takes the end of its input for ours.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The cores of this machine and the events to keep, as profiles have them filled in.
fn constants() -> [String; 2] {
    [thread::available_parallelism().map_or(1, usize::from).to_string(), HISTORY.to_string()]
}

/// A temporary folder that goes away with this.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("sluicegate-loadtest-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).map_err(|error| format!("cannot make {}: {}", path.display(), streams::plain(&error)))?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.0.join(name);
        fs::write(&file, text)
            .map_err(|error| format!("cannot write {}: {}", file.display(), streams::plain(&error)))?;
        Ok(file)
    }

    /// A log: one handle to read, two to write.
    fn log(&self) -> std::io::Result<(File, File, File)> {
        let file = File::options().read(true).append(true).create_new(true).open(self.0.join("loadtest.log"))?;
        Ok((file.try_clone()?, file.try_clone()?, file))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs another program until it ends or our input does, and leaves nothing behind of what it has started.
pub(crate) fn launch(launch: &Launch) -> Result<()> {
    let own = Process::own();
    // What loses its parent becomes our child, so that a daemon can't slip away.
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(own.0 as i32))
        .map_err(|error| format!("prctl: {error}"))?;
    let mut child = Command::new(&launch.program)
        .args(&launch.words)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot run {}: {}", launch.program.display(), streams::plain(&error)))?;
    thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        end_all_below(own);
        std::process::exit(0);
    });
    let status = child.wait().map_err(|error| format!("wait: {error}"))?;
    end_all_below(own);
    std::process::exit(status.code().unwrap_or(1));
}

fn end_all_below(own: Process) {
    let mut left = own.descendants();
    while !left.is_empty() {
        for process in &left {
            if let Some(pid) = rustix::process::Pid::from_raw(process.0 as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
        thread::sleep(Duration::from_millis(2));
        left = own.descendants();
    }
}

pub(crate) fn own_program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| format!("cannot find the load client's own program: {error}"))
}

/// The program to start, if all that it needs is there.
fn find(program: Option<&PathBuf>, start: &Start) -> Result<PathBuf> {
    for name in &start.needs {
        on_path(name)?;
    }
    match program {
        Some(program) if program.is_file() => Ok(program.clone()),
        Some(program) => Err(format!("there is no server at {}", program.display())),
        None => named(&start.program),
    }
}

/// A program by the name that profiles use.
fn named(name: &str) -> Result<PathBuf> {
    let Some(name) = name.strip_prefix("self:") else { return on_path(name) };
    let own = own_program()?;
    let beside = [own.with_file_name(name), own.with_file_name("examples").join(name)];
    beside.iter().find(|program| program.is_file()).cloned().ok_or_else(|| {
        format!(
            "there is no server at {}: build it (cargo build --release --workspace --examples), or name one with --server or --url",
            beside[0].display()
        )
    })
}

fn on_path(name: &str) -> Result<PathBuf> {
    // Debian keeps servers where only root's PATH looks.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| format!("{name} is not on PATH"))
}

/// The first line that the server, or another program in its place, says of its version; empty if it says nothing.
fn version(start: &Start, other: Option<PathBuf>) -> String {
    let said = || {
        let (program, words) = start.version.split_first()?;
        let program = other.clone().map_or_else(|| named(program), Ok).ok()?;
        let said = Command::new(program).args(words).stdin(Stdio::null()).output().ok()?;
        let text = [said.stdout, said.stderr].concat();
        Some(String::from_utf8_lossy(&text).lines().next()?.trim().to_owned())
    };
    said().unwrap_or_default()
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
