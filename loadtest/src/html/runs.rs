//! Which runs can be compared: those of one scenario with the same settings.

use serde_json::{Map, Value};

use super::{bars::Bar, columns::Columns, figure, palette::Palette};
use crate::record::{Record, Run};

/// Which of several equal runs it was: no difference in what was asked for.
const ROUND: &str = "round";
/// The settings that are named before all others.
const FIRST: [&str; 3] = ["streams", "rate", "size_bytes"];

#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) scenario: &'a str,
    settings: Map<String, Value>,
    pub(super) runs: Vec<&'a Run>,
}

impl Group<'_> {
    /// What was asked for, in words.
    pub(super) fn settings(&self) -> String {
        self.settings_without("")
    }

    fn settings_without(&self, left_out: &str) -> String {
        let mut kept: Vec<_> = self.settings.iter().filter(|(key, _)| *key != left_out).collect();
        // Stable: the others stay as they were.
        kept.sort_by_key(|(key, _)| FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len()));
        kept.into_iter().map(|(key, value)| figure::setting(key, value)).collect::<Vec<_>>().join(" · ")
    }

    /// `fanout: 10,000 streams · 100 events/s`.
    pub(super) fn title(&self) -> String {
        format!("{}: {}", self.scenario, self.settings()).trim_end_matches([':', ' ']).to_owned()
    }

    /// A run's server, and which of its rounds it was if there were several.
    pub(super) fn name(&self, run: &Run) -> String {
        let rounds: Vec<_> = self.runs.iter().filter(|other| other.server == run.server).collect();
        match rounds.iter().position(|other| std::ptr::eq(**other, run)) {
            Some(round) if rounds.len() > 1 => format!("{}, round {}", run.server, round + 1),
            _ => run.server.clone(),
        }
    }

    pub(super) fn servers(&self) -> Vec<&str> {
        distinct(self.runs.iter().map(|run| run.server.as_str()))
    }

    /// All rounds of a server's figure as one bar.
    pub(super) fn bar(&self, server: &str, key: &str, palette: &Palette) -> Bar {
        let runs: Vec<_> = self.runs.iter().filter(|run| run.server == server).collect();
        let values: Vec<f64> = runs.iter().filter_map(|run| run.figures.get(key)?.as_f64()).collect();
        let mut bar = Bar { name: server.to_owned(), class: palette.class(server), values, ..Bar::default() };
        bar.faulty = runs.iter().any(|run| !run.problems.is_empty());
        bar.text = match bar.middle() {
            _ if runs.is_empty() => "no run".to_owned(),
            Some(value) => figure::with_unit(key, value),
            None if bar.faulty => "failed".to_owned(),
            None => figure::MISSING.to_owned(),
        };
        bar
    }
}

/// In the order in which they first ran.
pub(super) fn groups(record: &Record) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for run in &record.runs {
        let mut settings = run.settings.clone();
        settings.remove(ROUND);
        match groups.iter_mut().find(|group| group.scenario == run.scenario && group.settings == settings) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { scenario: &run.scenario, settings, runs: vec![run] }),
        }
    }
    groups
}

/// The figure `key` of all runs that differ in nothing but the server and the rate: (what they share, a group of
/// bars for each rate).
pub(super) fn by_rate(groups: &[Group<'_>], key: &str, palette: &Palette) -> Vec<(String, Vec<Columns>)> {
    let mut charts: Vec<(String, Vec<(f64, &Group<'_>)>)> = Vec::new();
    for group in groups.iter().filter(|group| group.runs.iter().any(|run| run.figures.contains_key(key))) {
        let Some(rate) = group.settings.get("rate").and_then(Value::as_f64) else { continue };
        let shared = format!("{}: {}", group.scenario, group.settings_without("rate"));
        match charts.iter_mut().find(|(other, _)| *other == shared) {
            Some((_, rates)) => rates.push((rate, group)),
            None => charts.push((shared, vec![(rate, group)])),
        }
    }
    let chart = |(shared, mut rates): (String, Vec<(f64, &Group<'_>)>)| {
        rates.sort_by(|one, other| one.0.total_cmp(&other.0));
        let servers = distinct(rates.iter().flat_map(|(_, group)| group.servers()));
        let columns = rates.iter().map(|(rate, group)| {
            let bars = servers.iter().map(|server| group.bar(server, key, palette));
            (format!("{} events/s", figure::tick(*rate)), bars.collect())
        });
        (shared, columns.collect())
    };
    charts.into_iter().map(chart).collect()
}

pub(super) fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut distinct = Vec::new();
    for name in names {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn equal_runs_are_rounds_of_one_group() {
        let record = sample::record();
        let groups = groups(&record);
        let titles: Vec<_> = groups.iter().map(Group::title).collect();
        assert_eq!(
            titles,
            [
                "fanout: 10,000 streams · 100 events/s · size 100 bytes",
                "fanout: 10,000 streams · 10 events/s · size 100 bytes",
                "idle: 10,000 streams",
            ]
        );
        let names: Vec<_> = groups[0].runs.iter().map(|run| groups[0].name(run)).collect();
        assert_eq!(names, ["sluicegate, round 1", "nchan", "sluicegate, round 2"]);
    }

    #[test]
    fn rates_stand_in_order_with_a_bar_for_every_server() {
        let record = sample::record();
        let palette = Palette::of_record(&record);
        let charts = by_rate(&groups(&record), "cpu_us", &palette);
        let (shared, columns) = &charts[0];
        assert_eq!((charts.len(), shared.as_str()), (1, "fanout: 10,000 streams · size 100 bytes"));
        let seen: Vec<_> = columns
            .iter()
            .map(|(rate, bars)| {
                (rate.as_str(), bars.iter().map(|bar| (bar.name.as_str(), bar.text.as_str())).collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("10 events/s", vec![("sluicegate", "4 µs"), ("nchan", "no run")]),
                ("100 events/s", vec![("sluicegate", "2 µs"), ("nchan", "missing")]),
            ]
        );
    }
}
