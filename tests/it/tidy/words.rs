//! Words that were dropped for those of the field, in code, comments and tests.

use super::{own, sources};

/// A word that is not used, and what is said in its place.
const DROPPED: [(&str, &str); 6] = [
    ("beat", "heartbeat, or a timed event"),
    ("bell", "wake"),
    ("door", "listener"),
    ("house", "layout"),
    ("knock", "retry"),
    ("mailbox", "inbox"),
];

/// The words of a line, those that names are made of, too.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in line.chars() {
        if !c.is_alphabetic() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if c.is_alphabetic() {
            words.last_mut().expect("one at least").extend(c.to_lowercase());
        }
        before = c;
    }
    words
}

/// The lines, 1-based, that hold a dropped word, and what to say.
fn dropped(text: &str) -> Vec<(usize, &'static str)> {
    let found = |line: &str| {
        let words = words(line);
        let is = |dropped: &str| {
            words.iter().any(|word| {
                let rest = word.strip_prefix(dropped);
                rest.is_some_and(|rest| matches!(rest, "" | "s" | "es"))
            })
        };
        DROPPED.iter().find(|(dropped, _)| is(dropped)).map(|(_, now)| *now)
    };
    (1..).zip(text.lines()).filter_map(|(number, line)| Some((number, found(line)?))).collect()
}

#[test]
fn the_words_are_those_of_the_field() {
    let mut broken = Vec::new();
    for (path, text) in sources(&own()) {
        broken.extend(dropped(&text).into_iter().map(|(line, now)| format!("src/{path}:{line}: say {now}")));
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn dropped_words_are_found_in_names_and_comments() {
    let found = |line| dropped(line).first().map(|(_, now)| *now);
    for bad in
        ["// It knocks again.", "let beat_at = 1;", "struct BeatPlace;", "fn ring(bell: &Fd)", "mailboxes.push(x)"]
    {
        assert!(found(bad).is_some(), "{bad}");
    }
    for good in ["let heartbeats = 1;", "// the bellows, beaten and housed", "fn wake()", "struct Heartbeat;"] {
        assert_eq!(found(good), None, "{good}");
    }
    assert_eq!(dropped("a\nHeartBeat\n"), [(2, "heartbeat, or a timed event")]);
}
