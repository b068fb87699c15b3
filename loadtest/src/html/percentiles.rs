//! The percentile curve: how long the slowest share of deliveries took, each tenfold rarer share as wide as the last.

use super::{
    axis::Axis,
    figure::number,
    frame::Frame,
    lettering::{clip, spread, width},
    markup::Markup,
    palette::Palette,
    runs::Group,
    svg,
};
use crate::record::{Percentile, Run};

const HEIGHT: f64 = 280.0;
const LABEL: f64 = 11.0;
/// The most room that servers' names take from the curves.
const NAMES: f64 = 110.0;

/// All runs of a group on one pair of axes; `false`, and nothing drawn, if none has a distribution.
pub(super) fn plot(html: &mut Markup, group: &Group<'_>, palette: &Palette, room: f64) -> bool {
    let runs: Vec<&Run> = group.runs.iter().copied().filter(|run| !run.percentiles.is_empty()).collect();
    let points = || runs.iter().flat_map(|run| &run.percentiles);
    let labels = runs.iter().map(|run| width(&run.server, LABEL)).fold(0.0, f64::max).min(NAMES) + 16.0;
    let (top, bottom) = (22.0, HEIGHT - 36.0);
    let Some(y) = Axis::log_around(points().map(|point| point.ms), (bottom, top)) else { return false };
    let rarity = Rarity::of(points());
    let (left, right) = (46.0, room - labels);
    let frame = Frame { left, top, right, bottom, x: rarity.axis((left, right)), y };

    let what = format!("Delivery latency by percentile, {}", group.title());
    svg::picture(html, &what, (room, HEIGHT), |svg| {
        frame.rows(svg, "delivery latency, ms", 8);
        frame.columns(svg, &rarity.ticks(), true);
        frame.floor(svg);
        let said = "share of deliveries that took no longer";
        svg::words(svg, (f64::midpoint(left, right), HEIGHT - 5.0), "dim mid", said);
        for run in &runs {
            curve(svg, &frame, &rarity, run, &group.name(run), &palette.class(&run.server));
        }
        label_ends(svg, &frame, &runs, palette);
    });
    true
}

fn curve(svg: &mut Markup, frame: &Frame, rarity: &Rarity, run: &Run, name: &str, class: &str) {
    let path = frame.path(run.percentiles.iter().map(|point| (rarity.of_point(point), Some(point.ms))));
    svg::told(svg, class, name, |svg| {
        svg::path(svg, &path, "line");
        for point in named_points(&run.percentiles) {
            let said = format!("{name}: {} of deliveries within {} ms", percent(point.quantile), number(point.ms));
            let place = (frame.x.at(rarity.of_point(point)), frame.y.at(point.ms));
            svg::told(svg, "", said, |svg| svg::dot(svg, place, 2.6, "fill"));
        }
    });
}

/// Each server's name where its last curve ends.
fn label_ends(svg: &mut Markup, frame: &Frame, runs: &[&Run], palette: &Palette) {
    let mut ends: Vec<(&str, f64)> = Vec::new();
    for run in runs {
        let Some(last) = run.percentiles.last() else { continue };
        ends.retain(|(name, _)| *name != run.server);
        ends.push((&run.server, frame.y.at(last.ms)));
    }
    let wished: Vec<f64> = ends.iter().map(|(_, y)| *y).collect();
    for ((name, _), y) in ends.iter().zip(spread(&wished, 14.0, (frame.top, frame.bottom))) {
        svg::dot(svg, (frame.right + 9.0, y), 3.5, &format!("{} fill", palette.class(name)));
        svg::words(svg, (frame.right + 16.0, y + 4.0), "", clip(name, LABEL, NAMES));
    }
}

/// The axis 1 / (1 - quantile). The greatest value, of quantile 1, would be infinitely far: it has a place of its own
/// after the last power of ten.
struct Rarity {
    low: f64,
    tens: i32,
    has_most: bool,
}

impl Rarity {
    fn of<'a>(points: impl Iterator<Item = &'a Percentile>) -> Self {
        let (mut rarest, mut least, mut has_most) = (10.0_f64, 1.0_f64, false);
        for point in points {
            if point.quantile < 1.0 {
                rarest = rarest.max(1.0 / (1.0 - point.quantile));
            } else {
                has_most = true;
            }
            least = least.min(point.quantile);
        }
        // Binary fractions put 0.999 a little beyond a thousand.
        let tens = (rarest.log10() - 1e-9).ceil() as i32;
        Self { low: if least >= 0.5 { 2.0 } else { 1.0 }, tens, has_most }
    }

    fn axis(&self, pixels: (f64, f64)) -> Axis {
        Axis::log(self.low, if self.has_most { self.most() } else { 10_f64.powi(self.tens) }, pixels)
    }

    fn most(&self) -> f64 {
        10_f64.powi(self.tens) * 4.0
    }

    fn of_point(&self, point: &Percentile) -> f64 {
        if point.quantile < 1.0 { 1.0 / (1.0 - point.quantile) } else { self.most() }
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let tens = (1..=self.tens).map(|power| 1.0 - 10_f64.powi(-power));
        let ends = self.has_most.then(|| (self.most(), "max".to_owned()));
        let shares = std::iter::once(0.5).chain(tens);
        shares.map(|share| (1.0 / (1.0 - share), percent(share))).chain(ends).collect()
    }
}

/// `99.9 %`, with as many nines as it takes.
fn percent(quantile: f64) -> String {
    format!("{} %", (quantile * 1e11).round() / 1e9)
}

/// The points people speak of.
fn named_points(points: &[Percentile]) -> impl Iterator<Item = &Percentile> {
    let named = |point: &&Percentile| {
        let rarity = 1.0 / (1.0 - point.quantile);
        let tens = rarity.log10();
        point.quantile >= 1.0 || (rarity - 2.0).abs() < 1e-6 || (tens >= 0.9 && (tens - tens.round()).abs() < 1e-6)
    };
    points.iter().filter(|point| point.ms.is_finite()).filter(named)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{runs::groups, sample},
        *,
    };

    #[test]
    fn shares_are_named_with_their_nines() {
        let points = [0.25, 0.5, 0.99, 0.9999, 1.0].map(|quantile| Percentile { quantile, ms: 1.0 });
        let rarity = Rarity::of(points.iter());
        let names: Vec<_> = rarity.ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "max"]);
        let axis = rarity.axis((0.0, 460.206));
        let places: Vec<_> = rarity.ticks().into_iter().map(|(tick, _)| axis.at(tick).round()).collect();
        assert_eq!(places, [30.0, 100.0, 200.0, 300.0, 400.0, 460.0]);
        assert_eq!(named_points(&points).count(), 4);
    }

    #[test]
    fn a_curve_for_each_run_and_a_label_for_each_server() {
        let record = sample::record();
        let mut html = Markup::default();
        assert!(plot(&mut html, &groups(&record)[0], &Palette::of_record(&record), 500.0));
        let svg = html.finish();
        assert_eq!(svg.matches("class=\"line\"").count(), 3);
        assert_eq!(svg.matches(">nchan</text>").count(), 1);
        assert!(svg.contains("sluicegate, round 2: 99 % of deliveries within 4 ms"), "{svg}");
    }

    #[test]
    fn no_distribution_no_plot() {
        let record = sample::record();
        let mut html = Markup::default();
        assert!(!plot(&mut html, &groups(&record)[2], &Palette::of_record(&record), 500.0));
        assert_eq!(html.finish(), "");
    }
}
