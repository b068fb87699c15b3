//! A family of metrics: its name, help, kind and label, and how its numbers are put.

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

use crate::ops::cells::{BUCKETS_NANOS, HistogramSum};

/// A family of metrics.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    pub(super) labels: &'static [&'static str],
}

pub(super) const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::GAUGE, labels: &[] }
}

pub(super) const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::COUNTER, labels: &[] }
}

pub(super) const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::HISTOGRAM, labels: &[] }
}

impl Family {
    pub(super) const fn by(mut self, labels: &'static [&'static str]) -> Family {
        self.labels = labels;
        self
    }

    pub(super) fn desc(&self) -> Desc {
        let labels = self.labels.iter().map(|label| (*label).to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
            .expect("Invariant: names and labels are valid")
    }

    pub(super) fn of(&self, metrics: Vec<proto::Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics);
        family
    }

    pub(super) fn metric(&self, labels: Vec<LabelPair>, value: f64) -> proto::Metric {
        let mut metric = proto::Metric::from_label(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }

    /// The family with one number and no label.
    pub(super) fn value(&self, value: u64) -> MetricFamily {
        self.number(value as f64)
    }

    pub(super) fn number(&self, value: f64) -> MetricFamily {
        self.of(vec![self.metric(Vec::new(), value)])
    }

    /// The family with a number per value of its label.
    pub(super) fn values<L: AsRef<str>>(&self, values: impl Iterator<Item = (L, u64)>) -> MetricFamily {
        self.labelled(values.map(|(name, value)| (name, value as f64)))
    }

    /// The family with a time, given in nanoseconds, per value of its label.
    pub(super) fn seconds<L: AsRef<str>>(&self, nanos: impl Iterator<Item = (L, u64)>) -> MetricFamily {
        self.labelled(nanos.map(|(name, nanos)| (name, nanos as f64 / 1e9)))
    }

    fn labelled<L: AsRef<str>>(&self, values: impl Iterator<Item = (L, f64)>) -> MetricFamily {
        let label = self.labels.first().copied().unwrap_or_default();
        self.of(values.map(|(name, value)| self.metric(vec![pair(label, name.as_ref())], value)).collect())
    }

    pub(super) fn histogram(&self, sum: &HistogramSum) -> MetricFamily {
        let mut histogram = proto::Histogram::default();
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BUCKETS_NANOS.len());
        for (bound, n) in BUCKETS_NANOS.iter().zip(&sum.buckets) {
            count += n;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e9);
            bucket.set_cumulative_count(count);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        // The count is what the buckets hold, so that +Inf equals it whatever is counted meanwhile.
        histogram.set_sample_count(count + sum.buckets[BUCKETS_NANOS.len()]);
        histogram.set_sample_sum(sum.seconds);
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram);
        self.of(vec![metric])
    }
}

pub(super) fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
