//! The layout, as tests over the sources: which module may name which, and what a module
//! does not touch. Each rule is a function of a path and a text, and is tried on bad texts, too.

use std::fs;
use std::path::{Path, PathBuf};

mod circles;
mod words;

/// The modules; each may name those before it and itself.
const MODULES: [&str; 8] = ["hub", "exchange", "engine", "client", "ops", "access", "net", "gateway"];
/// A file that is longer than this is two.
const LINES_MAX: usize = 900;

/// A rule: which lines (1-based, with what is wrong) of this file break it. `path` is below `src/`.
type Rule = fn(path: &str, code: &[Line<'_>]) -> Vec<(usize, String)>;

/// A line of code, with its number.
type Line<'a> = (usize, &'a str);

// ===== reading code =====

/// The lines that are code and no test: comments, doc comments and test modules are left out.
/// Sources are formatted, so an item ends with its brace in the column where it began.
fn code(text: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut skipped_until = None;
    let mut tests_next = false;
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim_start();
        if let Some(end) = skipped_until {
            if line == end {
                skipped_until = None;
            }
        } else if trimmed.starts_with("//") {
        } else if trimmed.starts_with("#[cfg(test)]") {
            tests_next = true;
        } else if tests_next && trimmed.starts_with("#[") {
        } else if std::mem::take(&mut tests_next) {
            // One line, or a block that ends where it began.
            let indent = line.len() - trimmed.len();
            if line.ends_with('{') {
                skipped_until = Some(&CLOSING[CLOSING.len() - 1 - indent..]);
            }
        } else {
            lines.push((number, without_comment(line)));
        }
    }
    lines
}

/// Enough blanks and a brace, to cut from.
const CLOSING: &str = "                        }";

/// The line without a comment at its end. One inside a text is cut, too, which only makes the rules
/// see less of that text.
fn without_comment(line: &str) -> &str {
    match line.find("// ") {
        Some(at) => &line[..at],
        None => line,
    }
}

/// Whether `word` stands in `line` as a word or path of its own.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

// ===== rules =====

/// The module that a file belongs to: `None` for the map and the program.
fn module(path: &str) -> Option<usize> {
    let first = path.split('/').next().unwrap_or_default();
    MODULES.iter().position(|module| *module == first.trim_end_matches(".rs"))
}

/// The modules that are named through `crate::`, or through enough `super::` to reach the root. What
/// is no module is an item of the map.
fn arrows(path: &str, code: &[Line<'_>]) -> Vec<(usize, String)> {
    let depth = path.split('/').count() - usize::from(path.ends_with("/mod.rs"));
    let from_root = "super::".repeat(depth);
    let mut found = Vec::new();
    // How many braces of a list are open that goes on over lines: `use crate::{`.
    let mut open = 0;
    for &(number, line) in code {
        if open > 0 {
            found.extend(heads(line, &mut open).into_iter().map(|name| (number, name)));
            continue;
        }
        for root in ["crate::", &from_root] {
            for (at, _) in line.match_indices(root) {
                let longer = line[..at].ends_with("::") || line[..at].ends_with(|c: char| c.is_alphanumeric());
                if longer || line[..at].ends_with('$') {
                    continue;
                }
                let rest = &line[at + root.len()..];
                if let Some(list) = rest.strip_prefix('{') {
                    open = 1;
                    found.extend(heads(list, &mut open).into_iter().map(|name| (number, name)));
                } else if !rest.starts_with("super::") {
                    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                    found.push((number, name.to_owned()));
                }
            }
        }
    }
    found
}

/// The first names of a list's elements, at its outermost level.
fn heads(list: &str, depth: &mut usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut at_start = true;
    for c in list.chars() {
        match c {
            '{' => *depth += 1,
            '}' => *depth = depth.saturating_sub(1),
            ',' if *depth == 1 => at_start = true,
            c if *depth == 1 && at_start && (c.is_alphanumeric() || c == '_') => name.push(c),
            ':' | ';' if *depth <= 1 => at_start = false,
            _ => {}
        }
        if !name.is_empty() && !c.is_alphanumeric() && c != '_' {
            names.push(std::mem::take(&mut name));
            at_start = c == ',';
        }
        if *depth == 0 {
            break;
        }
    }
    if !name.is_empty() {
        names.push(name);
    }
    names
}

/// hub ← exchange ← engine ← client ← ops ← access ← net ← gateway.
fn arrows_run_one_way(path: &str, code: &[Line<'_>]) -> Vec<(usize, String)> {
    let Some(own) = module(path) else { return Vec::new() };
    let wrong = |name: &str| match MODULES.iter().position(|module| *module == name) {
        Some(other) => (other > own).then(|| format!("{} must not name {name}", MODULES[own])),
        None => Some(format!("{} names crate::{name} by way of the map", MODULES[own])),
    };
    arrows(path, code).into_iter().filter_map(|(number, name)| Some((number, wrong(&name)?))).collect()
}

fn nothing_is_left_to_do(_: &str, code: &[Line<'_>]) -> Vec<(usize, String)> {
    forbidden(code, &["todo!", "unimplemented!", "dbg!"])
}

fn one_file_reads_the_clock(path: &str, code: &[Line<'_>]) -> Vec<(usize, String)> {
    // A client of a gateway is no part of one.
    if path == "net/clock.rs" || path.starts_with("client/") { Vec::new() } else { forbidden(code, &["Instant::now"]) }
}

/// parking_lot is the one lock library. A list of `std::sync` is looked into; one that goes on over
/// lines is not used for locks in any other way than by their names.
fn no_lock_of_the_standard_library(_: &str, code: &[Line<'_>]) -> Vec<(usize, String)> {
    let mut listed = false;
    let mut found = Vec::new();
    for &(number, line) in code {
        listed |= names(line, "std::sync");
        for lock in ["Mutex", "RwLock", "Condvar"] {
            if listed && names(line, lock) {
                found.push((number, format!("std::sync::{lock}: use parking_lot")));
            }
        }
        listed &= !line.contains(';');
    }
    found
}

/// The hub is pure: `now` is an argument, and what it does not hold it can't touch.
fn the_hub_is_pure(path: &str, code: &[Line<'_>]) -> Vec<(usize, String)> {
    let banned = [
        "std::net",
        "std::thread",
        "std::time::Instant",
        "Instant",
        "SystemTime",
        "std::io",
        "std::fs",
        "std::env",
        "std::os",
        "std::process",
        "Mutex",
        "RwLock",
        "Condvar",
        "atomic",
        "parking_lot",
        "dashmap",
        "crossbeam_channel",
        "tokio",
        "hyper",
        "rustix",
        "socket2",
        "tracing",
        "prometheus",
        "async",
        "thread_local!",
    ];
    if module(path) == Some(0) { forbidden(code, &banned) } else { Vec::new() }
}

fn forbidden(code: &[Line<'_>], words: &[&str]) -> Vec<(usize, String)> {
    let broken = |&(number, line): &Line<'_>| {
        let word = words.iter().find(|word| names(line, word))?;
        Some((number, format!("{word} does not belong here")))
    };
    code.iter().filter_map(broken).collect()
}

// ===== the sources =====

/// The gateway's own sources.
fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The sources below a folder, by their paths from there.
fn sources(root: &Path) -> Vec<(String, String)> {
    fn walk(folder: &Path, root: &Path, into: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, root, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("below the root").display().to_string();
                let text = fs::read_to_string(&path).expect("UTF-8");
                // A file that is a test as a whole says so at its top.
                if !text.lines().any(|line| line == "#![cfg(test)]") {
                    into.push((name, text));
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    assert!(found.len() > 30, "the sources were not found");
    found
}

/// No source breaks the rule.
#[track_caller]
fn check(rule: Rule) {
    let mut broken = Vec::new();
    for (path, text) in sources(&own()) {
        broken.extend(rule(&path, &code(&text)).into_iter().map(|(line, why)| format!("src/{path}:{line}: {why}")));
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// This text, in this file, breaks the rule on these lines.
#[track_caller]
fn breaks(rule: Rule, path: &str, text: &str, lines: &[usize]) {
    let found: Vec<_> = rule(path, &code(text)).into_iter().map(|(line, _)| line).collect();
    assert_eq!(found, lines, "{path}: {text}");
}

#[test]
fn the_arrows() {
    check(arrows_run_one_way);
    let rule: Rule = arrows_run_one_way;
    breaks(rule, "hub/a.rs", "use crate::exchange::bus::Bus;", &[1]);
    breaks(rule, "hub/a.rs", "use super::slab;\nuse crate::hub::b;\nlet x = crate::net::wire::X;", &[3]);
    breaks(rule, "hub/a.rs", "use super::super::ops::x;", &[1]);
    breaks(rule, "hub/mod.rs", "use super::net;", &[1]);
    breaks(rule, "hub/deep/a.rs", "use super::super::b;\nuse super::super::super::net::c;", &[2]);
    breaks(rule, "hub/deep/mod.rs", "use super::b;\nuse super::super::net::c;", &[2]);
    breaks(rule, "exchange/a.rs", "use crate::{hub::x, net::y};", &[1]);
    breaks(rule, "exchange/a.rs", "use crate::{\n    hub::{net, x},\n    ops::y,\n};\nuse crate::net::z;", &[3, 5]);
    breaks(rule, "ops/a.rs", "use crate::hub::a;\nuse crate::exchange::b;\nuse crate::net::c;", &[3]);
    breaks(rule, "net/a.rs", "pub(crate) use crate::gateway::Gateway;", &[1]);
    breaks(rule, "net/a.rs", "use crate::Event;", &[1]);
    breaks(rule, "gateway.rs", "use crate::net::a;\nuse crate::hub::a;\nuse super::ops::c;\nuse super::main::d;", &[4]);
    breaks(rule, "gateway/a.rs", "use super::b::B;\nuse super::super::net::a;\nuse crate::Event;", &[3]);
    breaks(
        rule,
        "hub/a.rs",
        "//! [`crate::net`]\n// crate::net::x\n#[cfg(test)]\nmod tests {\n    use crate::net::a;\n}",
        &[],
    );
    breaks(rule, "hub/a.rs", "#[cfg(test)]\nmod tests {\n}\nuse crate::net::a;", &[4]);
    breaks(rule, "lib.rs", "pub use crate::net::a;", &[]);
}

#[test]
fn the_work() {
    check(nothing_is_left_to_do);
    breaks(nothing_is_left_to_do, "net/a.rs", "fn f() {\n    todo!()\n}\nunimplemented!(\"x\");\n// todo!", &[2, 4]);
}

#[test]
fn the_clock() {
    check(one_file_reads_the_clock);
    breaks(one_file_reads_the_clock, "net/a.rs", "let t = std::time::Instant::now();", &[1]);
    breaks(one_file_reads_the_clock, "net/clock.rs", "let t = Instant::now();", &[]);
    breaks(
        one_file_reads_the_clock,
        "net/a.rs",
        "#[cfg(test)]\nfn f() {\n    Instant::now();\n}\nInstant::now();",
        &[5],
    );
}

#[test]
fn the_locks() {
    check(no_lock_of_the_standard_library);
    let rule: Rule = no_lock_of_the_standard_library;
    breaks(rule, "net/a.rs", "use std::sync::Mutex;", &[1]);
    breaks(rule, "net/a.rs", "use std::sync::{Arc, RwLock};\nuse parking_lot::Mutex;", &[1]);
    breaks(rule, "net/a.rs", "use std::sync::{\n    Arc,\n    Mutex,\n};\nlet x: Mutex<u8>;", &[3]);
    breaks(rule, "net/a.rs", "use std::sync::Arc;\nuse parking_lot::{Condvar, Mutex};", &[]);
}

#[test]
fn the_hub() {
    check(the_hub_is_pure);
    for bad in [
        "use std::net::TcpStream;",
        "std::thread::spawn(f);",
        "use std::time::{Duration, Instant};",
        "let now = std::time::SystemTime::now();",
        "use parking_lot::Mutex;",
        "use std::sync::atomic::AtomicU64;",
        "use tokio::sync::mpsc;",
        "async fn f() {}",
        "use rustix::net::send;",
    ] {
        breaks(the_hub_is_pure, "hub/a.rs", bad, &[1]);
        breaks(the_hub_is_pure, "net/a.rs", bad, &[]);
    }
    breaks(the_hub_is_pure, "hub/a.rs", "use std::time::Duration;\nuse std::sync::Arc;\nlet instantly = 1;", &[]);
}

#[test]
fn the_length_of_files() {
    // Tests stand beside the code and are not what one has to hold in mind.
    let too_long = |text: &str| code(text).len() > LINES_MAX;
    assert!(too_long(&"x\n".repeat(LINES_MAX + 1)) && !too_long(&"x\n".repeat(LINES_MAX)));
    let found: Vec<_> = sources(&own()).into_iter().filter(|(_, text)| too_long(text)).map(|(path, _)| path).collect();
    assert!(found.is_empty(), "longer than {LINES_MAX} lines: {found:?}");
}
