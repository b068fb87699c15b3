//! `docs/messages.md` has every error and warning that the sources can log, and none that they cannot.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{read, repository};

/// The messages of `error!` and `warn!` in a source, up to what is filled in; those that begin with that are left out.
fn messages(source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for level in ["error!(", "warn!("] {
        for (at, _) in source.match_indices(level) {
            let arguments = within_parentheses(&source[at + level.len()..]);
            // The message is the last text.
            let parts: Vec<_> = arguments.split('"').collect();
            let Some(message) = parts.len().checked_sub(2).map(|last| parts[last]) else { continue };
            let message = message.split('{').next().unwrap_or_default().trim_end();
            if !message.is_empty() {
                found.insert(message.to_owned());
            }
        }
    }
    found
}

fn within_parentheses(text: &str) -> &str {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

fn all(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            into.extend(messages(&fs::read_to_string(path).expect("text")));
        }
    }
}

#[test]
fn every_error_and_warning_is_explained() {
    let mut logged = BTreeSet::new();
    all(&repository().join("src"), &mut logged);
    let page = read("docs/messages.md");
    let (errors, rest) = page.split_once("### Warnings").expect("a part on warnings");
    let (warnings, _) = rest.split_once("### Information").expect("a part on information");
    let rows = errors.lines().chain(warnings.lines()).filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let explained: BTreeSet<_> = rows.map(|(message, _)| message.trim_end_matches(['…', ' ']).to_owned()).collect();
    let missing: Vec<_> = logged.difference(&explained).collect();
    assert!(logged.len() > 25 && missing.is_empty(), "docs/messages.md does not have {missing:#?}");
    let gone: Vec<_> = explained.difference(&logged).filter(|message| message.contains(' ')).collect();
    assert!(gone.is_empty(), "docs/messages.md has what nobody logs: {gone:#?}");
}

#[test]
fn messages_are_found() {
    let source = "tracing::warn!(%error, why = f(\"x\"), \"one {n} of\");\nerror!(\"two\")\ninfo!(\"three\");\nwarn!(\"{all}\");\n\
                  #[cfg(test)]\nmod tests { fn f() { error!(\"four\") } }";
    assert_eq!(messages(source).into_iter().collect::<Vec<_>>(), ["one", "two"]);
}
