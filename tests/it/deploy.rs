//! What starts the gateway elsewhere than at a terminal: systemd, containers, Kubernetes.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::certificates::{Folder, Pair, client};
use crate::support::{Conversation, Launch, SOON, tool, within};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

#[track_caller]
fn passes(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{command:?}: {said}");
}

#[test]
fn systemd_takes_the_units_and_finds_them_hardened() {
    let Some(systemd_analyze) = tool("systemd-analyze") else { return };
    let folder = tempfile::tempdir().unwrap();
    for unit in ["sluicegate.service", "sluicegate.socket"] {
        let text = std::fs::read_to_string(deploy().join("systemd").join(unit)).unwrap();
        // Where it is not installed, it verifies the binary that is here, and asks for no manual page.
        let text = text.replace("/usr/bin/sluicegate", env!("CARGO_BIN_EXE_sluicegate"));
        std::fs::write(folder.path().join(unit), text.replace("Documentation=man:sluicegate(1)\n", "")).unwrap();
    }
    let unit = folder.path().join("sluicegate.service");
    passes(Command::new(&systemd_analyze).arg("verify").arg(&unit).arg(folder.path().join("sluicegate.socket")));
    // From 0, where all is shut, to 100.
    passes(Command::new(&systemd_analyze).args(["security", "--offline=true", "--threshold=20"]).arg(&unit));
}

/// What the gateway tells systemd from here on, until one tells this.
#[track_caller]
fn told(socket: &UnixDatagram, until: &str) -> Vec<String> {
    let mut told = Vec::new();
    let mut bytes = [0; 4096];
    let gives_up = Instant::now() + SOON;
    while Instant::now() < gives_up {
        let Ok(length) = socket.recv(&mut bytes) else { continue };
        told.extend(std::str::from_utf8(&bytes[..length]).unwrap().lines().map(str::to_owned));
        if told.iter().any(|line| line == until) {
            return told;
        }
    }
    panic!("{until} was not told: {told:?}");
}

#[test]
fn systemd_is_told_what_the_gateway_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut server = Launch::config("")
        .variable("NOTIFY_SOCKET", path.to_str().unwrap())
        .variable("WATCHDOG_USEC", "600000")
        .start();
    told(&socket, "READY=1");
    told(&socket, "WATCHDOG=1");
    told(&socket, "WATCHDOG=1");
    server.signal(Signal::HUP);
    let reloading = told(&socket, "RELOADING=1");
    let rest = told_of_reload(&socket, reloading);
    assert!(rest.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{rest:?}");
    server.signal(Signal::TERM);
    told(&socket, "STOPPING=1");
    assert!(server.wait(SOON).success());
}

/// With what follows until it is ready again.
fn told_of_reload(socket: &UnixDatagram, mut told_so_far: Vec<String>) -> Vec<String> {
    told_so_far.extend(told(socket, "READY=1"));
    told_so_far
}

fn client_of(pair: &Pair) -> Arc<rustls::ClientConfig> {
    client(&[&rustls::version::TLS13], &[pair])
}

#[test]
fn a_socket_of_systemd_is_listened_on() {
    let Some(activate) = tool("systemd-socket-activate") else { return };
    let free = |_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let [public, control, tls] = [0, 1, 2].map(free);
    let pair = Pair::of(&["localhost"]);
    let folder = Folder::holding(&[&pair]);
    let path = |name: &str| folder.path(name).to_str().unwrap().to_owned();
    let mut child = Command::new(activate)
        .args(["-l", &public.to_string(), "-l", &control.to_string(), "-l", &tls.to_string()])
        .arg("--fdname=public:control:tls")
        .arg(env!("CARGO_BIN_EXE_sluicegate"))
        // Of no use: the sockets are in their place.
        .args(["--listen", "192.0.2.1:1", "--control", "192.0.2.1:2"])
        .args(["--tls-cert", &path("0.pem"), "--tls-key", &path("0.key")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let connect = |address: SocketAddr| {
        assert!(within(SOON, || std::net::TcpStream::connect(address).is_ok()), "nobody listens on {address}");
        Conversation::to(address)
    };
    let mut reader = connect(public);
    reader.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(reader.response().body, "ok\n");
    let mut operator = connect(control);
    operator.send("GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(operator.response().body, "ok\n");
    // And it is TLS that is spoken there.
    let mut secure = Conversation::secure(tls, &client_of(&pair), "localhost").expect("a handshake");
    secure.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(secure.response().body, "ok\n");
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).unwrap();
    assert!(within(SOON, || child.try_wait().unwrap().is_some()));
}

#[test]
fn kubernetes_takes_the_manifests() {
    let Some(validate) = tool("kubernetes-validate") else { return };
    let folder = deploy().join("kubernetes");
    // Where pip has put it beside its modules.
    let modules = validate.canonicalize().unwrap().ancestors().nth(2).unwrap().to_owned();
    let files = ["deployment.yaml", "services.yaml", "availability.yaml"].map(|file| folder.join(file));
    passes(Command::new(validate).arg("--strict").args(&files).env("PYTHONPATH", modules));
    // Kustomize reads no other files than there are, and the gateway takes the configuration.
    let listed = std::fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
    for file in listed.lines().filter_map(|line| line.trim().strip_prefix("- ")).filter(|file| file.contains('.')) {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let config = folder.join("sluicegate.toml");
    passes(Command::new(env!("CARGO_BIN_EXE_sluicegate")).args(["config", "check", "--config"]).arg(config));
}

#[test]
fn the_dockerfile_is_well_made() {
    let Some(hadolint) = tool("hadolint") else { return };
    passes(Command::new(hadolint).arg(deploy().join("Dockerfile")));
}
