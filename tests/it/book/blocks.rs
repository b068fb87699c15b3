//! The tutorial, followed step by step: its configuration, its commands, and its page in a browser.

use std::fs;
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;

use tempfile::TempDir;

use super::{lines, read};
use crate::clients::{PATIENCE, Program, browser, serve_page};
use crate::support::{Launch, Server, tool, within};

/// Above a block that no test runs, with the reason.
const NOT_RUN: &str = "<!-- not run:";

/// A fenced block.
#[derive(Debug)]
struct Block {
    language: String,
    text: String,
    run: bool,
}

fn blocks(page: &str) -> Vec<Block> {
    let text = read(page);
    let mut blocks: Vec<Block> = Vec::new();
    let (mut open, mut run) = (false, true);
    for (_, line, fenced) in lines(&text) {
        match line.strip_prefix("```") {
            Some(language) if fenced && !open => {
                blocks.push(Block { language: language.to_owned(), text: String::new(), run });
                open = true;
            }
            Some(_) => open = false,
            None if open => {
                let block = blocks.last_mut().expect("it is open");
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => run = !line.starts_with(NOT_RUN),
        }
    }
    blocks
}

/// What is written for the default addresses, for those of a test.
fn here(text: &str, server: &Server) -> String {
    let text = text.replace("127.0.0.1:8080", &server.public().to_string());
    text.replace("127.0.0.1:8081", &server.control().to_string())
}

/// Runs a block in a shell, and answers what it printed.
#[track_caller]
fn shell(text: &str, server: &Server) -> String {
    // curl ends with 28 where `--max-time` ends a stream, as it should.
    let script = format!("curl() {{ command curl --noproxy '*' \"$@\" || [ $? = 28 ]; }}\n{}", here(text, server));
    let output = Command::new("sh").args(["-e", "-c", &script]).output().expect("a shell");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{out}\n{err}");
    out.into_owned()
}

fn start(config: &str, folder: &TempDir) -> Server {
    let config = config.replace("\"events\"", &format!("{:?}", folder.path().join("events")));
    Launch::config(&config).start()
}

/// Pages whose blocks the other tests here run.
const RUN: [&str; 3] = ["docs/http.md", "docs/recipes.md", "docs/tutorial.md"];

/// What a reader may copy is run, or says above it why not; every configuration is one.
#[test]
fn every_block_is_run_or_says_that_it_is_not() {
    let pages = super::pages(&["docs"]);
    let of_users = pages.iter().filter(|page| *page == "README.md" || page.starts_with("docs/"));
    let mut found = Vec::new();
    for page in of_users {
        for (at, block) in blocks(page).iter().enumerate() {
            let is_first_minute = page == "README.md" && at == FIRST_MINUTE;
            match &*block.language {
                "toml" if block.run => {
                    if let Err(error) = sluicegate::Config::parse(&block.text, page.as_ref()) {
                        found.push(format!("{page}: {error}"));
                    }
                }
                "sh" | "js" | "html" if block.run && !is_first_minute && !RUN.contains(&&**page) => {
                    found.push(format!("{page}: neither run nor marked:\n{}", block.text));
                }
                _ => {}
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Which of README's blocks subscribes and publishes; the next is what the subscriber sees.
const FIRST_MINUTE: usize = 1;

#[test]
fn readmes_first_minute_is_as_it_says() {
    let Some(_) = tool("curl") else { return };
    let blocks = blocks("README.md");
    let [commands, shown] = &blocks[FIRST_MINUTE..=FIRST_MINUTE + 1] else { panic!("{blocks:#?}") };
    let (subscribe, publish) = commands.text.split_once('\n').expect("two commands");
    let server = Server::start("");
    let subscribe = here(&subscribe.replace("curl", "exec curl --no-progress-meter --noproxy '*'"), &server);
    let (_program, lines) = Program::start(Command::new("sh").args(["-c", &subscribe]));
    assert!(within(PATIENCE, || server.metrics().sum("sluicegate_streams") == 1.0));
    let id = shell(publish, &server);
    // Ids and the time to wait are drawn at random.
    let settled = |line: &str| match line.split_once(": ") {
        Some((field @ ("id" | "retry"), _)) => field.to_owned(),
        _ => line.to_owned(),
    };
    for line in shown.text.lines() {
        let came = lines.recv_timeout(PATIENCE).expect("a line");
        assert_eq!(settled(&came), settled(line), "{came}");
    }
    assert!(publish.contains("# {\"id\":\"") && id.starts_with("{\"id\":\""), "{id}");
}

/// Every command of these pages succeeds, one after the other, and every configuration is one.
#[test]
fn commands_and_configurations_work() {
    let Some(_) = tool("curl") else { return };
    for page in &RUN[..2] {
        let blocks = blocks(page);
        let configs: Vec<_> =
            blocks.iter().filter(|block| block.language == "toml").map(|block| &*block.text).collect();
        let server = Launch::config(&configs.join("\n")).start();
        let commands: Vec<_> = blocks.iter().filter(|block| block.language == "sh" && block.run).collect();
        assert!(!commands.is_empty(), "{page}");
        for command in commands {
            let said = shell(&command.text, &server);
            // What is refused on purpose says so in its page.
            let is_refused = said.contains("\"status\":");
            assert!(!said.is_empty() && is_refused == command.text.contains("dta"), "{page}: {}\n{said}", command.text);
        }
        let published = server.metrics().get("sluicegate_events_published_total{source=\"http\"}");
        assert!(published >= 1.0, "{page}: {published}");
    }
    let page = blocks("docs/recipes.md");
    let server = Server::start("");
    let first = page.iter().find(|block| block.language == "sh").expect("a recipe");
    assert!(shell(&first.text, &server).contains("\ndata: {\"stock\":11}\n"));
    let once = page.iter().find(|block| block.text.contains("idempotency-key")).expect("a recipe");
    let said = shell(&once.text, &server);
    assert_eq!((said.matches("\"id\"").count(), said.matches("\"duplicate\":true").count()), (2, 1), "{said}");
}

#[test]
fn the_tutorial_does_what_it_says() {
    let (Some(_), Some(chromium)) = (tool("curl"), tool("chromium")) else { return };
    let blocks = blocks("docs/tutorial.md");
    let of = |language: &str| -> Vec<&str> {
        blocks.iter().filter(|block| block.run && block.language == language).map(|block| &*block.text).collect()
    };
    let (configs, commands, pages) = (of("toml"), of("sh"), of("html"));
    let ([first, disk], [look, publish, replay, again, several], [page]) = (&*configs, &*commands, &*pages) else {
        panic!("the tutorial has other blocks than this test knows: {blocks:#?}")
    };
    assert_eq!(blocks.iter().filter(|block| !block.run).count(), 1, "{blocks:#?}");

    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = start(first, &folder);
    let came = shell(look, &server);
    assert!(came.starts_with(":\nretry: ") && came.contains("\ndata: {\"now\":\""), "{came}");
    let id = shell(publish, &server);
    assert!(id.starts_with("{\"id\":\""), "{id}");
    assert!(shell(replay, &server).contains("\ndata: {\"eur\":1.0823}\n"));

    // The page shows what there was, what comes, and that the gateway forgot.
    let watch = "<script>let last = Promise.resolve(); new MutationObserver(() => { \
         const body = document.getElementById('price').textContent + ' ' + document.getElementById('state').textContent; \
         last = last.then(() => fetch('/result', { method: 'POST', body })) }) \
         .observe(document.body, { subtree: true, childList: true, characterData: true })</script>";
    let (address, results) = serve_page(here(page, &server) + watch);
    let (_browser, _lines) = Program::start(&mut browser(&chromium, &folder, &format!("http://{address}/page?")));
    let shows = |expected: &str| {
        let mut last = String::new();
        while !last.contains(expected) {
            last = match results.recv_timeout(PATIENCE) {
                Ok(said) => said,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("the page shows {last:?}, and not {expected:?}")
                }
            };
        }
    };
    shows("1.0823 live");
    shell(again, &server);
    shows("1.0911 live");
    shell(several, &server);
    shows("1.095 live");
    // Another gateway at the same address, which knows nothing of the page's last id.
    let (public, control) = (server.public(), server.control());
    drop(server);
    shows("reconnecting");
    let at = |config: &str| {
        Launch::config(&config.replace("\"events\"", &format!("{:?}", folder.path().join("events"))))
            .argument(&format!("--listen={public}"))
            .argument(&format!("--control={control}"))
            .own_addresses()
            .start()
    };
    let server = at(first);
    shows("missed events: foreign_epoch");
    drop(server);

    // On disk, an event is there after a restart.
    let both = format!("{disk}\n{first}");
    let server = at(&both);
    shell(publish, &server);
    drop(server);
    let server = at(&both);
    assert!(shell(replay, &server).contains("\ndata: {\"eur\":1.0823}\n"));
    assert!(fs::read_dir(folder.path().join("events")).expect("a folder").next().is_some());
}
