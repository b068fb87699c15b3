//! One colour for each server, the same in every plot and every report.

use std::fmt::Write;

use crate::record::Record;

/// Told apart with any common colour blindness (after Okabe and Ito, differing in lightness too): on white, on dark.
const COLOURS: [(&str, &str, &str); 9] = [
    ("floor", "#7a838c", "#8b949e"),
    ("sluicegate", "#0066b3", "#4aa3f0"),
    ("nchan", "#cc4e00", "#ff8548"),
    ("axum", "#00876a", "#2cc79c"),
    ("pushpin", "#b2498a", "#e58cc2"),
    ("mercure", "#3fa7dc", "#a9dcfb"),
    ("centrifugo", "#c58a00", "#f0c04a"),
    ("node", "#24292f", "#f0f3f6"),
    ("go", "#7d2248", "#b9607f"),
];

/// The colour of each name, as a style class.
#[derive(Debug)]
pub(super) struct Palette(Vec<(String, usize)>);

impl Palette {
    /// A colour for every server that the record names, wherever it does.
    pub(super) fn of_record(record: &Record) -> Self {
        let contenders = record.servers.iter().map(|server| server.name.as_str());
        let runs = record.runs.iter().map(|run| run.server.as_str());
        let columns = record.table.iter().flat_map(|table| &table.columns).map(String::as_str);
        Self::of(contenders.chain(runs).chain(columns))
    }

    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut palette = Self(Vec::new());
        let (known, unknown): (Vec<_>, Vec<_>) = names.partition(|name| known(name).is_some());
        for name in known.into_iter().chain(unknown) {
            if palette.0.iter().all(|(other, _)| other != name) {
                let place = palette.place(name);
                palette.0.push((name.to_owned(), place));
            }
        }
        palette
    }

    pub(super) fn class(&self, name: &str) -> String {
        let place = self.0.iter().find_map(|(other, place)| (other == name).then_some(*place));
        format!("c{}", place.unwrap_or(0))
    }

    /// Its own colour, or, for a name we do not know, one that its letters choose among those still free.
    fn place(&self, name: &str) -> usize {
        let taken = |place: usize| self.0.iter().any(|(_, other)| *other == place);
        let letters = name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let wish = known(name).unwrap_or(letters % COLOURS.len());
        (0..COLOURS.len()).map(|n| (wish + n) % COLOURS.len()).find(|place| !taken(*place)).unwrap_or(wish)
    }
}

/// `sluicegate 0.1` is `sluicegate`, `gobetween` is not `go`.
fn known(name: &str) -> Option<usize> {
    let word = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    COLOURS.iter().position(|(known, ..)| word.eq_ignore_ascii_case(known))
}

/// `color`, which marks take up as `currentColor`: unlike CSS variables, every SVG viewer knows it.
pub(super) fn css() -> String {
    let (mut light, mut dark) = (String::new(), String::new());
    for (place, (_, on_white, on_dark)) in COLOURS.iter().enumerate() {
        let _ = write!(light, ".c{place}{{color:{on_white}}}");
        let _ = write!(dark, ".c{place}{{color:{on_dark}}}");
    }
    format!("{light}@media screen and (prefers-color-scheme:dark){{{dark}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_colour() {
        let one = Palette::of(["sluicegate", "nchan"].into_iter());
        let other = Palette::of(["x", "nchan", "floor", "sluicegate", "nchan"].into_iter());
        for name in ["sluicegate", "nchan"] {
            assert_eq!(one.class(name), other.class(name));
        }
    }

    #[test]
    fn no_two_names_share_one_while_there_are_enough() {
        let names: Vec<String> = (0..8).map(|n| format!("server {n}")).chain(["axum".to_owned()]).collect();
        let palette = Palette::of(names.iter().map(String::as_str));
        let mut classes: Vec<_> = names.iter().map(|name| palette.class(name)).collect();
        classes.sort();
        classes.dedup();
        assert_eq!(classes.len(), 9);
        assert_eq!(palette.class("axum"), "c3");
    }
}
