//! Real nats-servers: one, or three that are a cluster.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{SOON, tool, within};

/// Servers on loopback. Dropping them kills them.
pub(crate) struct Nats {
    program: PathBuf,
    folder: TempDir,
    ports: Vec<u16>,
    routes: Vec<u16>,
    extra: String,
    servers: Vec<Option<Child>>,
}

impl Nats {
    /// Starts so many servers, or says that there is no such program.
    pub(crate) fn start(servers: usize) -> Option<Nats> {
        Nats::start_with(servers, "")
    }

    /// The same, with these lines in their configuration.
    pub(crate) fn start_with(servers: usize, extra: &str) -> Option<Nats> {
        let program = tool("nats-server")?;
        // All at once, so that they differ. They are free again when servers take them, and after a kill.
        let taken: Vec<_> = (0..2 * servers).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let mut ports: Vec<_> = taken.iter().map(|socket| socket.local_addr().expect("it is bound").port()).collect();
        drop(taken);
        let routes = ports.split_off(servers);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let servers = (0..servers).map(|_| None).collect();
        let mut nats = Nats { program, folder, ports, routes, extra: extra.to_owned(), servers };
        (0..nats.servers.len()).for_each(|index| nats.start_server(index));
        Some(nats)
    }

    pub(crate) fn store(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("store-{index}"))
    }

    /// Starts a server that does not run, on its address of before, with what it stored.
    pub(crate) fn start_server(&mut self, index: usize) {
        let (port, store) = (self.ports[index], self.store(index));
        let mut text = format!("server_name: n{index}\nlisten: \"127.0.0.1:{port}\"\n");
        if !self.extra.contains("jetstream") {
            text += &format!("jetstream {{ store_dir: {store:?}, max_mem: 256MB, max_file: 1GB }}\n");
        }
        if self.servers.len() > 1 {
            let routes: Vec<_> = self.routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
            let (route, routes) = (self.routes[index], routes.join(", "));
            text += &format!("cluster {{ name: sg, listen: \"127.0.0.1:{route}\", routes: [{routes}] }}\n");
        }
        text += &self.extra;
        let file = self.folder.path().join(format!("n{index}.conf"));
        fs::write(&file, text).expect("a file");
        let log = fs::File::options().create(true).append(true).open(self.log(index)).expect("a file");
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.servers[index] = Some(command.spawn().expect("it starts"));
        let up = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(within(SOON, up), "nats-server does not start: {:?}", fs::read_to_string(self.log(index)));
    }

    fn log(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("n{index}.log"))
    }

    /// The servers' addresses, as the gateway's settings have them.
    pub(crate) fn urls(&self) -> String {
        let urls: Vec<_> = self.ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        format!("[{}]", urls.join(", "))
    }

    pub(crate) fn port(&self, index: usize) -> u16 {
        self.ports[index]
    }

    /// Asks a question, as any client may, in the servers' own plain protocol. Answers what comes.
    #[track_caller]
    pub(crate) fn request(&self, subject: &str, payload: &str) -> String {
        let socket = (0..self.len()).find_map(|index| TcpStream::connect(("127.0.0.1", self.ports[index])).ok());
        let mut socket = socket.expect("a server runs");
        socket.set_read_timeout(Some(SOON)).expect("an open socket");
        let length = payload.len();
        write!(socket, "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\n").expect("it takes it");
        write!(socket, "PUB {subject} answer {length}\r\n{payload}\r\nPING\r\n").expect("it takes it");
        answer(socket)
    }

    /// Publishes a message with header fields, whole lines with their ends; waits until the stream has it.
    #[track_caller]
    pub(crate) fn publish(&self, subject: &str, fields: &str, payload: &str) -> String {
        let head = format!("NATS/1.0\r\n{fields}\r\n");
        let (head_bytes, bytes) = (head.len(), head.len() + payload.len());
        let mut socket = TcpStream::connect(("127.0.0.1", self.ports[0])).expect("the server runs");
        socket.set_read_timeout(Some(SOON)).expect("an open socket");
        write!(socket, "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB answer 1\r\n").expect("it takes it");
        write!(socket, "HPUB {subject} answer {head_bytes} {bytes}\r\n{head}{payload}\r\n").expect("it takes it");
        answer(socket)
    }

    /// Which server leads a stream.
    #[track_caller]
    pub(crate) fn leader(&self, stream: &str) -> usize {
        let mut leader = None;
        let found = within(SOON, || {
            let answer = self.request(&format!("$JS.API.STREAM.INFO.{stream}"), "");
            let info: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
            leader = info["cluster"]["leader"].as_str().and_then(|name| name.strip_prefix('n')?.parse().ok());
            leader.is_some()
        });
        assert!(found, "nobody leads {stream}");
        leader.expect("just found")
    }

    pub(crate) fn len(&self) -> usize {
        self.servers.len()
    }

    /// Sends a server a signal.
    pub(crate) fn signal(&self, index: usize, signal: Signal) {
        let server = self.servers[index].as_ref().expect("it runs");
        kill_process(Pid::from_raw(server.id() as i32).expect("a process id"), signal).expect("a child of ours");
    }

    /// Ends a server by a signal, and waits for its end.
    pub(crate) fn end(&mut self, index: usize, signal: Signal) {
        self.signal(index, signal);
        let mut server = self.servers[index].take().expect("it runs");
        assert!(within(Duration::from_secs(30), || server.try_wait().expect("a child of ours").is_some()));
    }
}

/// The next message that comes.
#[track_caller]
fn answer(socket: TcpStream) -> String {
    let mut reader = BufReader::new(socket);
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).expect("an answer in time") > 0, "the server went away");
        let message = line.strip_prefix("MSG ").or_else(|| line.strip_prefix("HMSG "));
        if let Some(length) = message.and_then(|line| line.trim().rsplit(' ').next()) {
            let mut answer = vec![0; length.parse().expect("a length")];
            reader.read_exact(&mut answer).expect("a whole answer");
            return String::from_utf8(answer).expect("UTF-8");
        }
        assert!(!line.starts_with("-ERR"), "{line}");
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for server in self.servers.iter_mut().flatten() {
            let _ = server.kill();
            let _ = server.wait();
        }
        if std::thread::panicking() {
            for index in 0..self.servers.len() {
                let log = fs::read_to_string(self.log(index)).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(30).collect();
                eprintln!("nats-server {index}, its last lines:");
                last.iter().rev().for_each(|line| eprintln!("  {line}"));
            }
        }
    }
}
