//! Grouped bars: a group for each rate, in it a bar for each server, all on one scale from zero.

use super::{
    axis::Axis,
    bars::Bar,
    figure,
    frame::Frame,
    lettering::width,
    markup::{Markup, Px},
    svg,
};

const HEIGHT: f64 = 280.0;
const LABEL: f64 = 11.0;

/// What stands under a group, and its bars: one for each server, in the same order everywhere.
pub(super) type Columns = (String, Vec<Bar>);

/// `unit` names the upright axis.
pub(super) fn plot(html: &mut Markup, what: &str, unit: &str, groups: &[Columns], width: f64) {
    let bars = || groups.iter().flat_map(|(_, bars)| bars);
    let most = bars().map(Bar::most).fold(0.0, f64::max);
    let plain = Axis::linear(0.0, 1.0, (0.0, 1.0));
    let frame = Frame { left: 40.0, top: 30.0, right: width, bottom: HEIGHT - 24.0, x: plain, y: plain };
    let frame = Frame { y: Axis::from_zero(most, 6, frame.upright()), ..frame };

    svg::picture(html, what, (width, HEIGHT), |svg| {
        frame.rows(svg, unit, 6);
        legend(svg, &groups[0].1, width);
        let share = (frame.right - frame.left) / groups.len() as f64;
        for (n, (label, bars)) in groups.iter().enumerate() {
            let thick = ((share - 24.0) / bars.len() as f64).min(52.0);
            let middle = frame.left + (n as f64 + 0.5) * share;
            let first = middle - thick * bars.len() as f64 / 2.0;
            for (place, bar) in bars.iter().enumerate() {
                let left = first + place as f64 * thick;
                svg::told(svg, "", bar.title(), |svg| draw(svg, bar, &frame, left, thick));
            }
            svg::words(svg, (middle, HEIGHT - 8.0), "bold mid", label);
        }
        frame.floor(svg);
    });
}

fn draw(svg: &mut Markup, bar: &Bar, frame: &Frame, left: f64, thick: f64) {
    let middle = left + thick / 2.0;
    let Some(value) = bar.middle() else {
        let upwards = format!("translate({} {})rotate(-90)", Px(middle + 4.0), Px(frame.bottom - 6.0));
        return svg.words("text", &[("transform", &upwards), ("class", &bar.lettering())], &bar.text);
    };
    // A figure that is there is seen, however small it is.
    let top = frame.y.at(value).min(frame.bottom - 1.0);
    svg::rect(svg, (left + 1.5, top), ((thick - 3.0).max(1.0), frame.bottom - top), &bar.fill());
    for round in bar.rounds() {
        svg::dot(svg, (middle, frame.y.at(round)), 2.5, "round");
    }
    let text = figure::number(value);
    if width(&text, LABEL) <= thick + 4.0 {
        svg::words(svg, (middle, frame.y.at(bar.most()) - 5.0), &format!("{} mid", bar.lettering()), text);
    }
}

/// The servers and their colours, set from the right.
fn legend(svg: &mut Markup, bars: &[Bar], right: f64) {
    let mut x = right;
    for bar in bars.iter().rev() {
        x -= width(&bar.name, LABEL);
        svg::words(svg, (x, 13.0), "", &bar.name);
        x -= 14.0;
        svg::rect(svg, (x, 4.0), (10.0, 10.0), &format!("{} fill", bar.class));
        x -= 16.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_follow_the_figures_and_what_is_missing_has_none() {
        let bar = |values: &[f64], text: &str| Bar {
            name: "nchan".to_owned(),
            class: "c2".to_owned(),
            values: values.to_vec(),
            text: text.to_owned(),
            faulty: false,
        };
        let groups = [
            ("10 events/s".to_owned(), vec![bar(&[10.0], "10 µs"), bar(&[5.0], "5 µs")]),
            ("100 events/s".to_owned(), vec![bar(&[], "missing"), bar(&[2.5, 7.5], "5 µs")]),
        ];
        let mut html = Markup::default();
        plot(&mut html, "CPU", "µs", &groups, 600.0);
        let svg = html.finish();
        // From the frame's foot at 256 to its top at 30 are ten microseconds.
        let heights: Vec<_> =
            svg.split(" height=\"").skip(4).filter_map(|text| text.split_once("\" class=\"c2 fill\"")).collect();
        let heights: Vec<_> = heights.iter().map(|(height, _)| *height).collect();
        assert_eq!(heights, ["226", "113", "113"]);
        assert!(svg.contains(">missing</text>"), "{svg}");
    }
}
