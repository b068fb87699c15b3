//! Small multiples: a panel for each measure, in it a bar for each server. Each panel has its own scale from zero.

use super::{
    lettering::{clip, shorten, width, wrap},
    markup::{Markup, Px},
    svg,
};
use crate::report::median;

const TITLE: f64 = 12.0;
/// What a title takes: it is bold.
const TITLE_WIDE: f64 = TITLE * 1.13;
const LABEL: f64 = 11.0;
/// From one line of a title to the next, and from one bar to the next.
const LINE: f64 = 15.0;
const PITCH: f64 = 18.0;
const THICK: f64 = 12.0;
const MOST_LINES: usize = 3;
const GAP: f64 = 28.0;
/// Between a bar's end and its text.
const BESIDE: f64 = 6.0;

/// What one server came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) class: String,
    /// One for each round; the bar ends at the median. Empty if there is no figure.
    pub(super) values: Vec<f64>,
    /// The figure in words, or why there is none.
    pub(super) text: String,
    /// The run was not right: its figure is not to be taken for one.
    pub(super) faulty: bool,
}

impl Bar {
    pub(super) fn middle(&self) -> Option<f64> {
        median(self.values.clone()).map(|value| value.max(0.0))
    }

    pub(super) fn most(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f64::max)
    }

    /// What is marked beside the median: nothing, if it is the only one.
    pub(super) fn rounds(&self) -> impl Iterator<Item = f64> {
        self.values.iter().filter(|_| self.values.len() > 1).map(|value| value.max(0.0))
    }

    pub(super) fn fill(&self) -> String {
        format!("{} fill{}", self.class, if self.faulty { " wrong" } else { "" })
    }

    pub(super) fn lettering(&self) -> &'static str {
        match (self.values.is_empty(), self.faulty) {
            (_, true) => "bad",
            (true, _) => "none",
            _ => "",
        }
    }

    /// For a pointer that rests on it.
    pub(super) fn title(&self) -> String {
        format!("{}: {}", self.name, self.text)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Panel {
    pub(super) title: String,
    /// The unit, and which way is better.
    pub(super) note: String,
    pub(super) bars: Vec<Bar>,
}

impl Panel {
    pub(super) fn has_figures(&self) -> bool {
        self.bars.iter().any(|bar| !bar.values.is_empty())
    }
}

/// Panels in rows, as wide as asked for and as high as it takes.
#[derive(Debug)]
pub(super) struct Sheet<'a> {
    pub(super) panels: &'a [Panel],
    pub(super) columns: usize,
    pub(super) width: f64,
}

impl Sheet<'_> {
    pub(super) fn height(&self) -> f64 {
        let rows = self.panels.chunks(self.columns).map(|row| self.row_height(row));
        (rows.map(|height| height + GAP).sum::<f64>() - GAP).max(0.0)
    }

    pub(super) fn draw(&self, svg: &mut Markup, (left, top): (f64, f64)) {
        let mut y = top;
        for row in self.panels.chunks(self.columns) {
            for (column, panel) in row.iter().enumerate() {
                let x = left + column as f64 * (self.room() + GAP);
                self.draw_panel(svg, panel, (x, y), self.title_lines(row));
            }
            y += self.row_height(row) + GAP;
        }
    }

    /// The width of a panel.
    fn room(&self) -> f64 {
        (self.width - (self.columns - 1) as f64 * GAP) / self.columns as f64
    }

    fn title_lines(&self, row: &[Panel]) -> usize {
        row.iter().map(|panel| wrap(&panel.title, TITLE_WIDE, self.room(), MOST_LINES).len()).max().unwrap_or(0)
    }

    fn row_height(&self, row: &[Panel]) -> f64 {
        let bars = row.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
        (self.title_lines(row) + 1) as f64 * LINE + 4.0 + bars as f64 * PITCH
    }

    /// The column that the servers' names take, the same in all panels.
    fn names(&self) -> f64 {
        let names = self.panels.iter().flat_map(|panel| &panel.bars);
        names.map(|bar| width(&bar.name, LABEL)).fold(0.0, f64::max).min(self.room() * 0.4) + 8.0
    }

    fn draw_panel(&self, svg: &mut Markup, panel: &Panel, (left, top): (f64, f64), title_lines: usize) {
        let line = |n: usize| top + (n + 1) as f64 * LINE - 3.0;
        let title = wrap(&panel.title, TITLE_WIDE, self.room(), MOST_LINES);
        // Titles stand on the bars, so that a short one beside a long one leaves no hole.
        for (n, text) in title.iter().enumerate() {
            svg::words(svg, (left, line(title_lines - title.len() + n)), "bold", text);
        }
        svg::words(svg, (left, line(title_lines)), "dim", clip(&panel.note, LABEL, self.room()));

        let first = line(title_lines) + 7.0;
        let zero = left + self.names();
        let room = self.room() - self.names();
        let scale = scale(panel, room);
        for (n, bar) in panel.bars.iter().enumerate() {
            let y = first + n as f64 * PITCH;
            svg::told(svg, "", bar.title(), |svg| {
                let name = clip(&bar.name, LABEL, self.names() - 8.0);
                svg::words(svg, (zero - 7.0, y + THICK - 2.0), "end", name);
                bar.draw(svg, (zero, y), scale, room);
            });
        }
        let foot = first + panel.bars.len() as f64 * PITCH - 3.0;
        svg::path(svg, &format!("M{} {}V{}", Px(zero), Px(first - 3.0), Px(foot)), "base");
    }
}

impl Bar {
    /// To the right of `zero`, with its text beside it.
    fn draw(&self, svg: &mut Markup, (zero, y): (f64, f64), scale: f64, room: f64) {
        if let Some(value) = self.middle() {
            // A figure that is there is seen, however small it is.
            svg::rect(svg, (zero, y), ((value * scale).max(1.0), THICK), &self.fill());
        }
        for value in self.rounds() {
            svg::dot(svg, (zero + value * scale, y + THICK / 2.0), 2.5, "round");
        }
        let beside = self.most() * scale + BESIDE;
        // Half a pixel, for what the scale's arithmetic rounds.
        let text = shorten(&self.text, LABEL, room - beside + 0.5);
        svg::words(svg, (zero + beside, y + THICK - 2.0), self.lettering(), text);
    }
}

/// Pixels a unit: as many as leave each bar's text its room, but never so few that the bars tell nothing.
fn scale(panel: &Panel, room: f64) -> f64 {
    let fits = |bar: &Bar| (room - width(&bar.text, LABEL) - BESIDE) / bar.most();
    let most = panel.bars.iter().map(Bar::most).fold(0.0, f64::max);
    let all = panel.bars.iter().filter(|bar| bar.most() > 0.0).map(fits).fold(f64::INFINITY, f64::min);
    if most > 0.0 { all.max(room * 0.3 / most) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, values: &[f64], text: &str) -> Bar {
        Bar {
            name: name.to_owned(),
            class: "c1".to_owned(),
            values: values.to_vec(),
            text: text.to_owned(),
            faulty: false,
        }
    }

    fn draw(bars: Vec<Bar>) -> String {
        let panels = [Panel { title: "CPU".to_owned(), note: "µs".to_owned(), bars }];
        let mut svg = Markup::default();
        Sheet { panels: &panels, columns: 1, width: 300.0 }.draw(&mut svg, (0.0, 0.0));
        svg.finish()
    }

    fn widths(svg: &str) -> Vec<f64> {
        let after = svg.split("width=\"").skip(1);
        after.map(|text| text.split('"').next().expect("a value").parse().expect("a number")).collect()
    }

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let svg = draw(vec![bar("a", &[4.0], "4"), bar("b", &[1.0], "1"), bar("c", &[0.0], "0")]);
        let widths = widths(&svg);
        assert!((widths[0] / widths[1] - 4.0).abs() < 0.01, "{widths:?}");
        assert_eq!(widths[2], 1.0);
    }

    #[test]
    fn what_is_missing_is_a_word_not_a_bar() {
        let svg = draw(vec![bar("a", &[4.0], "4"), bar("b", &[], "missing: no replay")]);
        assert_eq!(widths(&svg).len(), 1);
        assert!(svg.contains("class=\"none\">missing: no replay</text>"), "{svg}");
    }

    #[test]
    fn rounds_are_points_around_their_median() {
        let svg = draw(vec![bar("a", &[1.0, 3.0], "2"), bar("b", &[2.0], "2")]);
        let widths = widths(&svg);
        assert_eq!(widths[0], widths[1]);
        assert_eq!(svg.matches("<circle").count(), 2);
    }
}
