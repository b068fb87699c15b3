//! What a scrape says: the text format of Prometheus, as far as a glance needs it.

use std::collections::HashMap;

/// The samples of one scrape: name, labels, value.
#[derive(Clone, Debug, Default)]
pub struct Scrape(Vec<(String, String, f64)>);

impl Scrape {
    /// Reads a scrape; what is no sample is passed over.
    pub fn parse(text: &str) -> Scrape {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            Some((name.to_owned(), labels.trim_end_matches('}').to_owned(), value.parse().ok()?))
        };
        Scrape(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    fn values(&self, name: &str) -> impl Iterator<Item = f64> {
        self.0.iter().filter(move |(own, ..)| own == name).map(|(.., value)| *value)
    }

    /// The sum over all labels; 0 if there is none.
    pub fn sum(&self, name: &str) -> f64 {
        // An empty sum is a negative zero.
        self.values(name).fold(0.0, |sum, value| sum + value)
    }

    /// The largest over all labels; 0 if there is none.
    pub fn highest(&self, name: &str) -> f64 {
        self.values(name).reduce(f64::max).unwrap_or_default()
    }

    /// The value of this label in the sample of this name whose value is not 0.
    pub fn label(&self, name: &str, label: &str) -> Option<&str> {
        let (_, labels, _) = self.0.iter().find(|(own, _, value)| own == name && *value != 0.0)?;
        labels.split(',').find_map(|pair| pair.strip_prefix(label)?.strip_prefix("=\"")?.strip_suffix('"'))
    }

    /// The increase of each since `before`, label by label.
    pub fn since(&self, before: &Scrape) -> Scrape {
        let old: HashMap<_, _> = before.0.iter().map(|(name, labels, value)| ((name, labels), *value)).collect();
        let more = |(name, labels, value): &(String, String, f64)| {
            let before = old.get(&(name, labels)).copied().unwrap_or_default();
            (name.clone(), labels.clone(), (value - before).max(0.0))
        };
        Scrape(self.0.iter().map(more).collect())
    }

    /// The bucket's upper edge that `part` of a histogram lies below; `None` if it is empty.
    pub fn quantile(&self, name: &str, part: f64) -> Option<f64> {
        let bucket = format!("{name}_bucket");
        let mut edges: Vec<(f64, f64)> = Vec::new();
        for (_, labels, value) in self.0.iter().filter(|(own, ..)| *own == bucket) {
            let edge = labels.split(',').find_map(|pair| pair.strip_prefix("le=\"")?.strip_suffix('"'))?;
            let edge = edge.parse().unwrap_or(f64::INFINITY);
            match edges.iter_mut().find(|(known, _)| *known == edge) {
                Some((_, count)) => *count += value,
                None => edges.push((edge, *value)),
            }
        }
        edges.sort_by(|one, other| one.0.total_cmp(&other.0));
        let all = edges.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        edges.iter().find(|(_, count)| *count >= all * part).map(|(edge, _)| *edge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_added_up() {
        let text =
            "# HELP a b\na{shard=\"0\"} 1\na{shard=\"1\"} 4\nb 2.5\nstate{state=\"x\"} 0\nstate{state=\"y\"} 1\nodd\n";
        let scrape = Scrape::parse(text);
        assert_eq!((scrape.sum("a"), scrape.highest("a"), scrape.sum("b"), scrape.sum("c")), (5.0, 4.0, 2.5, 0.0));
        assert_eq!(scrape.label("state", "state"), Some("y"));
        let later = Scrape::parse("a{shard=\"0\"} 4\na{shard=\"1\"} 5\nb 1\n").since(&scrape);
        assert_eq!(
            (later.sum("a"), later.highest("a"), later.sum("b")),
            (4.0, 3.0, 0.0),
            "what began anew is no decrease"
        );
    }

    #[test]
    fn a_quantile_is_the_edge_of_its_bucket() {
        let text = "t_bucket{shard=\"0\",le=\"0.1\"} 1\nt_bucket{shard=\"0\",le=\"+Inf\"} 2\n\
                    t_bucket{shard=\"1\",le=\"0.1\"} 1\nt_bucket{shard=\"1\",le=\"+Inf\"} 1\n";
        let scrape = Scrape::parse(text);
        assert_eq!(scrape.quantile("t", 0.5), Some(0.1));
        assert_eq!(scrape.quantile("t", 0.99), Some(f64::INFINITY));
        assert_eq!(scrape.quantile("none", 0.5), None);
    }
}
