//! The binary, as its operator runs it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::publish::Publisher;
use super::{Conversation, Head, Metrics, SOON, within};

const BINARY: &str = env!("CARGO_BIN_EXE_sluicegate");
/// The configuration file, in the server's own folder.
const CONFIG: &str = "sluicegate.toml";

/// The binary, with none of our own variables set.
fn command() -> Command {
    bare(Command::new(BINARY))
}

fn bare(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SLUICEGATE_") {
            command.env_remove(name);
        }
    }
    command
}

/// The binary with these limits on open files, soft and hard.
fn limited_command(soft: u32, hard: u32) -> Command {
    let mut shell = bare(Command::new("/bin/sh"));
    shell.args(["-c", &format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\""), BINARY]);
    shell
}

/// Runs the binary to its end, which must come soon.
#[track_caller]
pub(crate) fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    run_to_end(command(), arguments, variables)
}

/// As [`run`], with a limit on open files.
#[track_caller]
pub(crate) fn run_limited(open_files: u32, arguments: &[&str]) -> Output {
    run_to_end(limited_command(open_files, open_files), arguments, &[])
}

#[track_caller]
fn run_to_end(mut command: Command, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    if !within(SOON, || child.try_wait().expect("a child of ours").is_some()) {
        let _ = child.kill();
        panic!("did not end: {arguments:?}: {:?}", child.wait_with_output());
    }
    child.wait_with_output().expect("a child of ours")
}

/// How a [`Server`] is started, beyond its configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    config: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    open_files: Option<(u32, u32)>,
    default_addresses: bool,
}

impl Launch {
    /// With this configuration file.
    pub(crate) fn config(text: &str) -> Launch {
        Launch { config: text.to_owned(), ..Launch::default() }
    }

    /// With this flag or argument, too.
    pub(crate) fn argument(mut self, argument: &str) -> Launch {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With this variable, too.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Launch {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a limit on open files, soft and hard.
    pub(crate) fn open_files(self, limit: u32) -> Launch {
        self.soft_open_files(limit, limit)
    }

    /// With these limits on open files.
    pub(crate) fn soft_open_files(mut self, soft: u32, hard: u32) -> Launch {
        self.open_files = Some((soft, hard));
        self
    }

    /// Without `--listen` and `--control`, which otherwise ask for free ports: the configuration,
    /// the arguments or the variables give the addresses.
    pub(crate) fn own_addresses(mut self) -> Launch {
        self.default_addresses = true;
        self
    }

    /// Starts the binary and waits until it serves.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        let (mut server, stderr) = self.spawn(Stdio::piped());
        let into = server.lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr.expect("a pipe")).lines().map_while(Result::ok) {
                into.lock().push(line);
            }
        });
        let ready = within(SOON, || {
            server.log("publishing, metrics and health are served").is_some() || server.has_ended().is_some()
        });
        assert!(ready && server.has_ended().is_none(), "the server does not start: {:#?}", server.lines.lock());
        let address = |line: &Value| line["address"].as_str().and_then(|text| text.parse().ok()).expect("an address");
        server.public = server.logs("streams are served").iter().map(address).collect();
        server.secure = server.logs("streams are served over TLS").iter().map(address).collect();
        server.health = server.log("health and metrics are served").as_ref().map(address);
        server.control =
            server.log("publishing, metrics and health are served").as_ref().map(address).expect("it was logged");
        server
    }

    /// Starts the binary with a stderr that nobody reads, and waits until it serves.
    #[track_caller]
    pub(crate) fn start_unheard(self, stderr: impl Into<Stdio>) -> Server {
        // Two addresses of loopback, so that the listeners are told apart.
        let launch = self.argument("--listen=127.0.0.1:0").argument("--control=127.0.0.2:0").own_addresses();
        let (mut server, _) = launch.spawn(stderr.into());
        let mut listening = Vec::new();
        let ready = within(SOON, || {
            listening = server.listening();
            let ips: Vec<_> = listening.iter().map(|address| address.ip().to_string()).collect();
            server.has_ended().is_some() || ["127.0.0.1", "127.0.0.2"].iter().all(|ip| ips.iter().any(|i| i == ip))
        });
        assert!(ready && server.has_ended().is_none(), "the server does not start: {:?}", server.ended);
        let of = |ip: [u8; 4]| *listening.iter().find(|address| address.ip() == IpAddr::from(ip)).expect("just seen");
        server.public = vec![of([127, 0, 0, 1])];
        server.control = of([127, 0, 0, 2]);
        server
    }

    /// Starts the binary.
    #[track_caller]
    fn spawn(self, stderr: Stdio) -> (Server, Option<ChildStderr>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join(CONFIG);
        fs::write(&file, &self.config).expect("a file in it");
        let mut command = match self.open_files {
            None => command(),
            Some((soft, hard)) => limited_command(soft, hard),
        };
        command.arg("--config").arg(&file);
        if !self.default_addresses {
            command.args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        }
        command.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let mut child = command.spawn().expect("the binary starts");
        let stderr = child.stderr.take();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        (
            Server {
                child,
                public: Vec::new(),
                secure: Vec::new(),
                control: nowhere,
                health: None,
                lines: Arc::default(),
                ended: None,
                folder,
            },
            stderr,
        )
    }
}

/// A running gateway. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    public: Vec<SocketAddr>,
    secure: Vec<SocketAddr>,
    control: SocketAddr,
    health: Option<SocketAddr>,
    lines: Arc<Mutex<Vec<String>>>,
    ended: Option<ExitStatus>,
    folder: TempDir,
}

impl Server {
    /// Starts the binary on free ports, with this configuration file.
    #[track_caller]
    pub(crate) fn start(config: &str) -> Server {
        Launch::config(config).start()
    }

    /// The public listener's first address.
    pub(crate) fn public(&self) -> SocketAddr {
        self.public[0]
    }

    /// The first address for TLS.
    #[track_caller]
    pub(crate) fn secure(&self) -> SocketAddr {
        self.secure[0]
    }

    /// All addresses that streams are served on.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.public
    }

    /// The control listener's address.
    pub(crate) fn control(&self) -> SocketAddr {
        self.control
    }

    /// The health listener's address.
    #[track_caller]
    pub(crate) fn health(&self) -> SocketAddr {
        self.health.expect("--health")
    }

    // ===== as a client =====

    /// Connects to the public listener.
    #[track_caller]
    pub(crate) fn connect(&self) -> Conversation {
        Conversation::to(self.public())
    }

    /// Connects to the control listener.
    #[track_caller]
    pub(crate) fn connect_control(&self) -> Conversation {
        Conversation::to(self.control)
    }

    /// Connects to the health listener.
    #[track_caller]
    pub(crate) fn connect_health(&self) -> Conversation {
        Conversation::to(self.health())
    }

    /// Opens a stream and reads its head and first comment, so that it is open when this returns.
    /// `fields` are whole header lines without their line ends.
    #[track_caller]
    pub(crate) fn open(&self, target: &str, fields: &[&str]) -> (Head, Conversation) {
        let mut conversation = self.connect();
        let asked = fields;
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        conversation.send(format!("GET {target} HTTP/1.1\r\nhost: h\r\n{fields}\r\n"));
        let head = conversation.head();
        assert_eq!(head.status, 200, "{}", head.text);
        conversation.beginning();
        let resumes = |text: &str| {
            let text = text.to_ascii_lowercase();
            text.contains("last_event_id") || text.contains("lasteventid") || text.contains("last-event-id")
        };
        if !resumes(target) && !asked.iter().any(|field| resumes(field)) {
            conversation.mark();
        }
        (head, conversation)
    }

    /// Opens a stream, such as `/events/a`.
    #[track_caller]
    pub(crate) fn subscribe(&self, target: &str) -> Conversation {
        self.open(target, &[]).1
    }

    #[track_caller]
    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::to(self.control)
    }

    /// Publishes one event, over a connection of its own. Answers its id.
    #[track_caller]
    pub(crate) fn publish(&self, topic: &str, data: &str) -> String {
        self.publisher().publish(topic, data)
    }

    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::of(self.control)
    }

    // ===== as an operator =====

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a process id");
        kill_process(pid, signal).expect("a child that has not been waited for");
    }

    /// Gives it a new configuration file and SIGHUP. Answers the log line that says what became of it.
    #[track_caller]
    pub(crate) fn reload(&self, config: &str) -> Value {
        let outcomes = || {
            let messages = ["configuration reloaded", "the new configuration is refused, and nothing has changed"];
            messages.map(|message| self.logs(message))
        };
        let before = outcomes().map(|lines| lines.len());
        fs::write(self.folder.path().join(CONFIG), config).expect("a file");
        self.signal(Signal::HUP);
        let after = || outcomes().into_iter().zip(before).find_map(|(lines, before)| lines.get(before).cloned());
        assert!(within(SOON, || after().is_some()), "no word of the new configuration");
        after().expect("there was one")
    }

    fn has_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child of ours");
        }
        self.ended
    }

    /// Waits for the process' end.
    #[track_caller]
    pub(crate) fn wait(&mut self, time: Duration) -> ExitStatus {
        let began = Instant::now();
        assert!(within(time, || self.has_ended().is_some()), "still runs after {:?}", began.elapsed());
        self.ended.expect("it has ended")
    }

    /// The log lines so far, as they were written.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    /// The log lines so far that have this message.
    pub(crate) fn logs(&self, message: &str) -> Vec<Value> {
        let lines = self.lines.lock();
        let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|line| line["message"] == message).collect()
    }

    /// The first log line that has this message.
    pub(crate) fn log(&self, message: &str) -> Option<Value> {
        self.logs(message).into_iter().next()
    }

    // ===== what the kernel says of it =====

    /// How many descriptors it holds.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// The IPv4 addresses that it listens on.
    fn listening(&self) -> Vec<SocketAddr> {
        let sockets: Vec<_> = fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned()))
            .collect();
        let hex = |text: &str| u32::from_str_radix(text, 16).expect("a number in hexadecimal");
        let table = fs::read_to_string("/proc/net/tcp").expect("a table of sockets");
        let address = |line: &str| {
            // Of proc_net_tcp(5): the local address second, the state fourth, the inode tenth.
            let fields: Vec<_> = line.split_whitespace().collect();
            if fields[3] != "0A" || !sockets.contains(&format!("socket:[{}]", fields[9])) {
                return None;
            }
            let (ip, port) = fields[1].split_once(':')?;
            Some(SocketAddr::from((Ipv4Addr::from(hex(ip).to_ne_bytes()), hex(port) as u16)))
        };
        table.lines().skip(1).filter_map(address).collect()
    }

    /// A number of `/proc/…/status`, such as `VmRSS` (in KiB) or `Threads`.
    #[track_caller]
    pub(crate) fn status(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {name}"))
    }

    /// The CPU time it took so far, to a hundredth of a second.
    pub(crate) fn cpu(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        let after_name = text.rsplit(')').next().unwrap_or_default();
        // Fields 14 and 15 of proc(5), in ticks, of which Linux has 100 a second.
        let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap_or(0)).sum();
        Duration::from_millis(10 * ticks)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.has_ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("the server's log:");
            self.lines.lock().iter().for_each(|line| eprintln!("  {line}"));
        }
    }
}
