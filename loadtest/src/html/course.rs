//! The course of a run, second by second: latency, and below it, on the same seconds, the server's CPU and memory.

use super::{axis::Axis, figure, frame::Frame, markup::Markup, palette::Palette, runs::Group, svg};
use crate::record::{Moment, Run};

const LATENCY: f64 = 130.0;
const BELOW: f64 = 44.0;
/// From one frame's foot to the next one's top.
const GAP: f64 = 32.0;
const TOP: f64 = 36.0;
const LEFT: f64 = 46.0;
/// Room for half of the last second's name.
const RIGHT: f64 = 16.0;
/// A longer course has fewer places that tell their figures to a pointer.
const MOST_HITS: usize = 600;

/// The axes of all runs of a group: the same, so that they can be compared by eye.
#[derive(Debug)]
pub(super) struct Scales {
    seconds: f64,
    latency: Option<(f64, f64)>,
    cpu: Option<f64>,
    memory: Option<f64>,
}

impl Scales {
    /// `None` if no run has a course.
    pub(super) fn of(group: &Group<'_>) -> Option<Self> {
        let moments = || group.runs.iter().flat_map(|run| &run.course);
        let most = |values: &mut dyn Iterator<Item = f64>| values.reduce(f64::max);
        let latencies = || moments().flat_map(|at| [at.p50_ms, at.p99_ms, at.max_ms]).flatten().filter(|ms| *ms > 0.0);
        Some(Self {
            seconds: most(&mut moments().map(|at| at.at_s))?,
            latency: latencies().reduce(f64::min).zip(latencies().reduce(f64::max)),
            cpu: most(&mut moments().filter_map(|at| at.cpu_percent)),
            memory: most(&mut moments().filter_map(|at| at.memory_bytes).map(|bytes| bytes as f64)),
        })
    }

    fn height(&self) -> f64 {
        let frames = [self.latency.map(|_| LATENCY), self.cpu.map(|_| BELOW), self.memory.map(|_| BELOW)];
        TOP - GAP + frames.into_iter().flatten().map(|height| height + GAP).sum::<f64>() + 20.0
    }
}

pub(super) fn plot(html: &mut Markup, group: &Group<'_>, run: &Run, scales: &Scales, palette: &Palette, width: f64) {
    let name = group.name(run);
    let what = format!("Latency, CPU and memory over time, {name}, {}", group.title());
    let height = scales.height();
    let class = palette.class(&run.server);
    svg::picture(html, &what, (width, height), |svg| {
        svg.element("text", &[("x", &0), ("y", &11), ("class", &"bold")], |text| {
            text.text(&name);
            if !run.problems.is_empty() {
                text.words("tspan", &[("class", &"bad"), ("dx", &6)], "had problems");
            }
        });
        if run.course.is_empty() {
            return svg::words(svg, (0.0, 29.0), "none", "no course");
        }
        let mut top = TOP;
        let mut frame = |height: f64| {
            let x = Axis::linear(0.0, scales.seconds, (LEFT, width - RIGHT));
            let frame = Frame { left: LEFT, top, right: width - RIGHT, bottom: top + height, x, y: x };
            top += height + GAP;
            frame
        };
        svg.element("g", &[("class", &class)], |svg| {
            let mut last = None;
            if let Some((least, most)) = scales.latency {
                let plain = frame(LATENCY);
                let axis = Axis::log_around([least, most].into_iter(), plain.upright());
                let frame = Frame { y: axis.unwrap_or(plain.y), ..plain };
                latency(svg, &frame, &run.course);
                last = Some(frame);
            }
            if let Some(most) = scales.cpu {
                let plain = frame(BELOW);
                let frame = Frame { y: Axis::from_zero(most, 2, plain.upright()), ..plain };
                filled(svg, &frame, "CPU, % of a core", run, |at| at.cpu_percent);
                last = Some(frame);
            }
            if let Some(most) = scales.memory {
                let plain = frame(BELOW);
                let (unit, size) = figure::byte_unit(most);
                let frame = Frame { y: Axis::from_zero(most / size, 2, plain.upright()), ..plain };
                let heading = format!("memory, {unit}");
                filled(svg, &frame, &heading, run, |at| at.memory_bytes.map(|bytes| bytes as f64 / size));
                last = Some(frame);
            }
            if let Some(frame) = last {
                frame.columns(svg, &seconds(&frame), true);
                hits(svg, &frame, &name, &run.course);
            }
        });
    });
}

fn latency(svg: &mut Markup, frame: &Frame, course: &[Moment]) {
    frame.rows(svg, "latency, ms", 8);
    frame.columns(svg, &seconds(frame), false);
    frame.floor(svg);
    let line = |of: fn(&Moment) -> Option<f64>| frame.path(course.iter().map(|at| (at.at_s, of(at))));
    svg::path(svg, &line(|at| at.p50_ms), "line thin");
    svg::path(svg, &line(|at| at.p99_ms), "line");
    for (x, most) in course.iter().filter_map(|at| Some((at.at_s, at.max_ms?))) {
        svg::dot(svg, (frame.x.at(x), frame.y.at(most)), 1.9, "open");
    }
}

fn filled(svg: &mut Markup, frame: &Frame, heading: &str, run: &Run, of: impl Fn(&Moment) -> Option<f64>) {
    frame.rows(svg, heading, 2);
    frame.columns(svg, &seconds(frame), false);
    let points = || run.course.iter().map(|at| (at.at_s, of(at)));
    svg::path(svg, &frame.area(points()), "area");
    svg::path(svg, &frame.path(points()), "line thin");
    frame.floor(svg);
}

/// The ticks of the shared axis, of whole seconds; the first one names the unit.
fn seconds(frame: &Frame) -> Vec<(f64, String)> {
    let wanted = ((frame.right - frame.left) / 50.0) as usize;
    let whole = frame.x.ticks(wanted).into_iter().filter(|tick| tick.fract() == 0.0);
    let mut ticks: Vec<_> = whole.map(|tick| (tick, figure::tick(tick))).collect();
    if let Some((_, text)) = ticks.first_mut() {
        text.push_str(" s");
    }
    ticks
}

/// Over all frames, unseen: each second's figures in words, for a pointer that rests on it.
fn hits(svg: &mut Markup, lowest: &Frame, name: &str, course: &[Moment]) {
    let every = course.len().div_ceil(MOST_HITS);
    let mut from = lowest.left;
    for at in course.iter().step_by(every) {
        let to = lowest.x.at(at.at_s);
        let size = ((to - from).max(0.0), lowest.bottom - TOP);
        svg::told(svg, "", in_words(name, at), |svg| svg::rect(svg, (from, TOP), size, "hit"));
        from = to;
    }
}

fn in_words(name: &str, at: &Moment) -> String {
    let ms = |what: &str, figure: Option<f64>| figure.map(|ms| format!("{what} {} ms", figure::number(ms)));
    let lines = [
        Some(format!("{name}, second {}", figure::tick(at.at_s))),
        Some(format!("{} deliveries", crate::report::grouped(at.deliveries))),
        ms("p50", at.p50_ms),
        ms("p99", at.p99_ms),
        ms("max", at.max_ms),
        at.cpu_percent.map(|percent| format!("CPU {} %", figure::number(percent))),
        at.memory_bytes.map(|bytes| format!("memory {}", figure::bytes(bytes as f64))),
    ];
    lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{runs::groups, sample},
        *,
    };

    fn draw(group: usize, run: usize) -> Option<String> {
        let record = sample::record();
        let groups = groups(&record);
        let group = &groups[group];
        let mut html = Markup::default();
        plot(&mut html, group, group.runs[run], &Scales::of(group)?, &Palette::of_record(&record), 268.0);
        Some(html.finish())
    }

    #[test]
    fn seconds_without_an_event_interrupt_the_lines() {
        let svg = draw(0, 0).expect("a course");
        // Four seconds, the second one without an event: two pieces of p50, and three greatest values.
        let p50 = svg.split("<path").find(|path| path.contains("line thin")).expect("a line");
        assert_eq!(p50.matches('M').count(), 2, "{p50}");
        assert_eq!(svg.matches("class=\"open\"").count(), 3);
        assert!(svg.contains("sluicegate, round 1, second 2\n0 deliveries\nCPU 50 %"), "{svg}");
    }

    #[test]
    fn frames_without_figures_are_left_out() {
        let svg = draw(0, 0).expect("a course");
        assert!(svg.contains("CPU, % of a core") && svg.contains("memory, MiB"), "{svg}");
        let svg = draw(1, 0).expect("a course");
        assert!(!svg.contains("CPU, % of a core") && !svg.contains("memory, "), "{svg}");
        assert!(draw(2, 0).is_none());
        assert!(draw(0, 1).expect("of its neighbours").contains("no course"));
    }
}
