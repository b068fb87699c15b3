//! A scrape, read.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Conversation;

/// All samples of one scrape, by name and labels as they are written: `sluicegate_gaps_total{reason="unknown"}`.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// The whole text.
    pub(crate) text: String,
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    /// Scrapes the control listener at this address.
    #[track_caller]
    pub(crate) fn of(control: SocketAddr) -> Metrics {
        let mut conversation = Conversation::to(control);
        conversation.send("GET /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        let response = conversation.response();
        assert_eq!(response.status(), 200);
        Metrics::parse(response.body)
    }

    fn parse(text: String) -> Metrics {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line:?}")))
        });
        Metrics { samples: samples.collect(), text }
    }

    /// One sample's value.
    #[track_caller]
    pub(crate) fn get(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no sample {sample}"))
    }

    /// The sum over all samples of a family, whatever their labels.
    #[track_caller]
    pub(crate) fn sum(&self, family: &str) -> f64 {
        let of_family = |name: &str| name.split('{').next() == Some(family);
        assert!(self.samples.keys().any(|name| of_family(name)), "no family {family}");
        self.samples.iter().filter(|(name, _)| of_family(name)).map(|(_, value)| value).sum()
    }

    /// The samples of a family that are not 0, as `labels value`, for comparing.
    pub(crate) fn nonzero(&self, family: &str) -> Vec<String> {
        let of_family = self.samples.iter().filter(|(name, _)| name.split('{').next() == Some(family));
        of_family
            .filter(|(_, value)| **value != 0.0)
            .map(|(name, value)| {
                format!("{} {value}", name.split_once('{').map_or("", |(_, l)| l.trim_end_matches('}')))
            })
            .collect()
    }

    /// All names of samples.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }
}
