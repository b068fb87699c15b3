//! `examples/clients` and `examples/publishers`: programs as others will copy them, against a gateway. Those whose
//! language is not here say so in their first line.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;

use tempfile::TempDir;

use crate::clients::{PATIENCE, Program, browser, serve_page};
use crate::support::{Conversation, Server, tool, tool::absent, within};

/// Clients come back soon.
const CONFIG: &str = "schedule = []\n[stream]\nretry = \"100ms\"\n";
const NOT_RUN: &str = "Not run by a test: ";

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

/// Where packages of node's and Python's are installed.
fn packages(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(path)
}

/// A command without the proxies that the environment may name.
fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

// ===== clients =====

/// It prints what was there, comes back after two events a response, and misses and repeats nothing.
#[track_caller]
fn check_client(start: impl FnOnce(&Server, &str) -> (Program, Receiver<String>)) {
    let server = Server::start(CONFIG);
    let expected: Vec<_> = (0..6).map(|number| format!("{number}: größe \"x\" & y")).collect();
    expected[..3].iter().for_each(|data| drop(server.publish("prices/eur", data)));
    let (_program, lines) = start(&server, "/events/prices/eur?max_events=2&last_event_id=earliest");
    let line = || lines.recv_timeout(PATIENCE).expect("a line");
    expected[..3].iter().for_each(|data| assert_eq!(line(), *data));
    expected[3..].iter().for_each(|data| drop(server.publish("prices/eur", data)));
    expected[3..].iter().for_each(|data| assert_eq!(line(), *data));
    assert!(lines.try_recv().is_err(), "nothing twice");
}

/// One that is started with a URL.
#[track_caller]
fn check_client_at_url(mut command: Command) {
    check_client(|server, target| Program::start(command.arg(format!("http://{}{target}", server.public()))));
}

#[test]
fn client_with_curl() {
    let Some(_) = tool("curl") else { return };
    check_client_at_url(command(example("clients/curl.sh")));
}

#[test]
fn client_in_javascript() {
    let Some(node) = tool("node") else { return };
    let mut command = command(node);
    command.arg("--no-warnings").arg(example("clients/fetch.mjs"));
    check_client_at_url(command);
}

#[test]
fn client_in_a_browser() {
    let Some(chromium) = tool("chromium") else { return };
    let page = fs::read_to_string(example("clients/eventsource.html")).expect("the page");
    let watch = "<script>let last = Promise.resolve(); new MutationObserver(() => { for (const item of document.querySelectorAll('li')) \
         if (!item.seen) { item.seen = true; const body = item.textContent; \
         last = last.then(() => fetch('/result', { method: 'POST', body })) } }) \
         .observe(document.body, { subtree: true, childList: true })</script>";
    let profile = tempfile::tempdir().expect("a temporary folder");
    let (address, results) = serve_page(page + watch);
    check_client(|server, target| {
        let url: String = format!("http://{}{target}", server.public()).bytes().map(|b| format!("%{b:02x}")).collect();
        let (program, _) =
            Program::start(&mut browser(&chromium, &profile, &format!("http://{address}/page?url={url}")));
        (program, results)
    });
}

#[test]
fn client_in_python() {
    let Some(python) = tool("python3") else { return };
    let modules = packages("python_modules");
    if !modules.join("httpx_sse").is_dir() {
        return absent("Python's package httpx-sse (pip install --target tests/clients/python_modules)");
    }
    let mut command = command(python);
    command.env("PYTHONPATH", modules).env("PYTHONDONTWRITEBYTECODE", "1").arg(example("clients/python_client.py"));
    check_client_at_url(command);
}

#[test]
fn client_in_go() {
    let Some(go) = tool("go") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    check_client_at_url(command(built_by_go(&go, "clients/client.go", &folder)));
}

#[test]
fn client_in_java() {
    let Some(java) = tool("java") else { return };
    let mut command = command(java);
    command.arg("-Dfile.encoding=UTF-8").arg("-Dsun.stdout.encoding=UTF-8").arg(example("clients/Client.java"));
    check_client_at_url(command);
}

#[test]
fn client_in_rust() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = built_by_rustc("clients/client.rs", &folder);
    check_client(|server, target| Program::start(command(program).args([&server.public().to_string(), target])));
}

// ===== publishers =====

/// A gateway, and a stream of everything.
fn listening() -> (Server, Conversation) {
    let server = Server::start("schedule = []");
    let stream = server.subscribe("/events?match=**");
    (server, stream)
}

/// It publishes its second argument to the topic that is its first, and says what is wrong with either.
#[track_caller]
fn check_publisher(command: impl Fn() -> Command) {
    let (server, mut stream) = listening();
    let data = "größe \"x\"\n& y";
    let run = |topic: &str| {
        let mut command = command();
        command.args([topic, data]).env("SLUICEGATE_CONTROL", format!("http://{}", server.control()));
        command.stdin(Stdio::null()).output().expect("it starts")
    };
    let output = run("prices/eur");
    assert!(output.status.success(), "{output:?}");
    let event = stream.event();
    assert_eq!(event.data, data);
    assert!(String::from_utf8_lossy(&output.stdout).contains(&event.id), "{output:?}");
    // What can't be is not repeated, and the reason is shown.
    let output = run("a/*");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("topic: "), "{output:?}");
    assert_eq!(server.metrics().get("sluicegate_publish_rejected_total{reason=\"bad_field\"}"), 1.0);
}

#[test]
fn publisher_with_curl() {
    let Some(_) = tool("curl") else { return };
    check_publisher(|| command(example("publishers/curl.sh")));
}

#[test]
fn publisher_in_javascript() {
    let Some(node) = tool("node") else { return };
    check_publisher(|| {
        let mut command = command(&node);
        command.arg("--no-warnings").arg(example("publishers/publish.mjs"));
        command
    });
}

#[test]
fn publisher_in_python() {
    let Some(python) = tool("python3") else { return };
    check_publisher(|| {
        let mut command = command(&python);
        command.arg(example("publishers/publish.py"));
        command
    });
}

#[test]
fn publisher_in_go() {
    let Some(go) = tool("go") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = built_by_go(&go, "publishers/publish.go", &folder);
    check_publisher(|| command(&program));
}

#[test]
fn publisher_in_java() {
    let Some(java) = tool("java") else { return };
    check_publisher(|| {
        let mut command = command(&java);
        // Arguments are in the locale's encoding, and a test's may have none.
        command.env("LC_ALL", "C.UTF-8").arg("-Dfile.encoding=UTF-8").arg(example("publishers/Publish.java"));
        command
    });
}

#[test]
fn publisher_in_rust() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = built_by_rustc("publishers/publish.rs", &folder);
    check_publisher(|| command(&program));
}

// ===== frameworks =====

/// A web application of which a request publishes an event.
#[track_caller]
fn check_framework(mut command: Command) {
    let (server, mut stream) = listening();
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    command.env("SLUICEGATE_CONTROL", format!("http://{}", server.control())).env("PORT", free.port().to_string());
    let (_program, _lines) = Program::start(&mut command);
    assert!(within(PATIENCE, || TcpStream::connect(free).is_ok()), "it does not listen");
    let answer = post(free, "/orders/17/paid");
    let event = stream.event();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&event.data).expect("JSON"),
        serde_json::json!({"state": "paid"})
    );
    assert!(answer.contains(&event.id), "{answer}");
}

fn post(address: SocketAddr, target: &str) -> String {
    let mut conversation = Conversation::to(address);
    conversation.send(format!("POST {target} HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n"));
    let head = conversation.head();
    assert_eq!(head.status, 200, "{}", head.text);
    String::from_utf8(conversation.read_to_end()).expect("UTF-8")
}

#[track_caller]
fn check_python_framework(package: &str, file: &str) {
    let Some(python) = tool("python3") else { return };
    let modules = packages("python_modules");
    if !modules.join(package).is_dir() {
        return absent(&format!("Python's package {package} (pip install --target tests/clients/python_modules)"));
    }
    let mut command = command(python);
    command.env("PYTHONPATH", modules).env("PYTHONDONTWRITEBYTECODE", "1").arg(example(file));
    check_framework(command);
}

#[test]
fn publisher_in_flask() {
    check_python_framework("flask", "publishers/flask_app.py");
}

#[test]
fn publisher_in_fastapi() {
    check_python_framework("fastapi", "publishers/fastapi_app.py");
}

#[test]
fn publisher_in_django() {
    check_python_framework("django", "publishers/django_app.py");
}

#[test]
fn publisher_in_express() {
    let Some(node) = tool("node") else { return };
    let modules = packages("node_modules");
    if !modules.join("express").is_dir() {
        return absent("node's package express (npm ci --prefix tests/clients)");
    }
    // Node looks for packages beside the file.
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in ["express_app.mjs", "publish.mjs"] {
        fs::copy(example("publishers").join(file), folder.path().join(file)).expect("a copy");
    }
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).expect("a link");
    let mut command = command(node);
    command.arg(folder.path().join("express_app.mjs"));
    check_framework(command);
}

// ===== all of them =====

fn built_by_go(go: &Path, file: &str, folder: &TempDir) -> PathBuf {
    let program = folder.path().join("program");
    let mut build = Command::new(go);
    build.arg("build").arg("-o").arg(&program).arg(example(file)).current_dir(folder.path());
    // Where no home is set, as in some runners, go needs to be told where to build.
    if std::env::var_os("HOME").is_none() {
        build.env("GOCACHE", folder.path().join("cache"));
    }
    let output = build.env("GOFLAGS", "-mod=mod").output().expect("go starts");
    assert!(output.status.success(), "{output:?}");
    program
}

fn built_by_rustc(file: &str, folder: &TempDir) -> PathBuf {
    let program = folder.path().join("program");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut build = Command::new(rustc);
    build.args(["--edition", "2024", "-D", "warnings", "-o"]).arg(&program).arg(example(file));
    let output = build.output().expect("rustc starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Every example is named by a test here, or says in its first lines that none runs it.
#[test]
fn every_example_is_run_or_says_that_it_is_not() {
    let tests = include_str!("examples.rs");
    for folder in ["clients", "publishers"] {
        for entry in fs::read_dir(example(folder)).expect("a folder").flatten() {
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            let text = fs::read_to_string(entry.path()).expect("text");
            let not_run = text.lines().take(2).any(|line| line.contains(NOT_RUN));
            let named =
                tests.contains(&format!("\"{path}\"")) || tests.contains(&format!("\"{}\"", &path[folder.len() + 1..]));
            assert!(named != not_run, "{path}");
        }
    }
}
