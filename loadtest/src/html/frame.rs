//! A plot's rectangle: gridlines with their values, and lines in it.

use std::fmt::Write;

use super::{
    axis::Axis,
    figure,
    lettering::width,
    markup::{Markup, Px},
    svg,
};

const LABEL: f64 = 11.0;

#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl Frame {
    /// The pixels of an axis that goes up.
    pub(super) fn upright(&self) -> (f64, f64) {
        (self.bottom, self.top)
    }

    /// A gridline for each tick of the upright axis; above, what they count.
    pub(super) fn rows(&self, svg: &mut Markup, heading: &str, wanted: usize) {
        for tick in self.y.ticks(wanted) {
            let y = self.y.at(tick);
            svg::path(svg, &format!("M{} {}H{}", Px(self.left), Px(y), Px(self.right)), "grid");
            svg::words(svg, (self.left - 6.0, y + 4.0), "dim end", figure::tick(tick));
        }
        svg::words(svg, (0.0, self.top - 10.0), "dim", heading);
    }

    /// A gridline for each of `ticks` of the axis that goes across, named below if `named`
    /// and where there is room.
    pub(super) fn columns(&self, svg: &mut Markup, ticks: &[(f64, String)], named: bool) {
        // From the right: the last name is the one that cannot be guessed.
        let mut free = f64::INFINITY;
        for (tick, text) in ticks.iter().rev() {
            let x = self.x.at(*tick);
            svg::path(svg, &format!("M{} {}V{}", Px(x), Px(self.top), Px(self.bottom)), "grid");
            let half = width(text, LABEL) / 2.0;
            if named && x + half < free {
                free = x - half - 4.0;
                svg::words(svg, (x, self.bottom + 14.0), "dim mid", text);
            }
        }
    }

    /// The line at the foot.
    pub(super) fn floor(&self, svg: &mut Markup) {
        svg::path(svg, &format!("M{} {}H{}", Px(self.left), Px(self.bottom), Px(self.right)), "base");
    }

    /// A path through the points, interrupted where there is no value.
    pub(super) fn path(&self, points: impl Iterator<Item = (f64, Option<f64>)>) -> String {
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y) in points {
            let y = y.filter(|y| y.is_finite());
            if let Some(y) = y {
                let _ = write!(path, "{}{} {}", if pen_down { 'L' } else { 'M' }, Px(self.x.at(x)), Px(self.y.at(y)));
                if !pen_down {
                    // A line of no length, so that a value between two gaps is still a dot.
                    path.push_str("h0");
                }
            }
            pen_down = y.is_some();
        }
        path
    }

    /// What is between such a path and the foot.
    pub(super) fn area(&self, points: impl Iterator<Item = (f64, Option<f64>)>) -> String {
        let mut path = String::new();
        let mut last = None;
        for (x, y) in points {
            let (x, y) = (Px(self.x.at(x)), y.filter(|y| y.is_finite()));
            match (y, last) {
                (Some(y), None) => {
                    let _ = write!(path, "M{x} {}V{}", Px(self.bottom), Px(self.y.at(y)));
                }
                (Some(y), Some(_)) => {
                    let _ = write!(path, "L{x} {}", Px(self.y.at(y)));
                }
                (None, Some(_)) => {
                    let _ = write!(path, "V{}Z", Px(self.bottom));
                }
                (None, None) => {}
            }
            last = y.map(|_| x);
        }
        if last.is_some() {
            let _ = write!(path, "V{}Z", Px(self.bottom));
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let (x, y) = (Axis::linear(0.0, 10.0, (0.0, 100.0)), Axis::linear(0.0, 10.0, (100.0, 0.0)));
        Frame { left: 0.0, top: 0.0, right: 100.0, bottom: 100.0, x, y }
    }

    #[test]
    fn a_path_goes_through_its_points() {
        let points = [(0.0, Some(0.0)), (5.0, Some(2.5)), (10.0, Some(10.0))];
        assert_eq!(frame().path(points.into_iter()), "M0 100h0L50 75L100 0");
        assert_eq!(frame().area(points.into_iter()), "M0 100V100L50 75L100 0V100Z");
    }

    #[test]
    fn names_below_do_not_overlap() {
        let mut svg = Markup::default();
        let ticks = [(5.0, "99.99 %"), (9.0, "99.999 %"), (10.0, "max")].map(|(tick, name)| (tick, name.to_owned()));
        frame().columns(&mut svg, &ticks, true);
        let svg = svg.finish();
        assert_eq!(svg.matches("class=\"grid\"").count(), 3);
        assert!(svg.contains(">max<") && svg.contains(">99.99 %<") && !svg.contains("99.999"), "{svg}");
    }

    #[test]
    fn a_missing_value_is_a_gap() {
        let points = [(1.0, Some(1.0)), (2.0, None), (3.0, Some(3.0)), (4.0, Some(4.0)), (5.0, None)];
        assert_eq!(frame().path(points.into_iter()), "M10 90h0M30 70h0L40 60");
        assert_eq!(frame().area(points.into_iter()), "M10 100V90V100ZM30 100V70L40 60V100Z");
        assert_eq!(frame().path([(1.0, None), (2.0, Some(f64::NAN))].into_iter()), "");
    }
}
