//! The few shapes that plots are made of. Colours, weights and anchors are classes of `plot.css`.

use std::fmt::Display;

use super::markup::{Attributes, Markup, Px};

/// A picture within the page; `what` is said to those who cannot see it.
pub(super) fn picture(html: &mut Markup, what: &str, (width, height): (f64, f64), inside: impl FnOnce(&mut Markup)) {
    let (width, height) = (Px(width), Px(height));
    let view = format!("0 0 {width} {height}");
    let attributes: Attributes<'_> =
        &[("role", &"img"), ("aria-label", &what), ("width", &width), ("height", &height), ("viewBox", &view)];
    html.element("svg", attributes, inside);
}

pub(super) fn words(svg: &mut Markup, (x, y): (f64, f64), class: &str, text: impl Display) {
    svg.words("text", &[("x", &Px(x)), ("y", &Px(y)), ("class", &class)], text);
}

pub(super) fn rect(svg: &mut Markup, (x, y): (f64, f64), (width, height): (f64, f64), class: &str) {
    let (x, y, width, height) = (Px(x), Px(y), Px(width), Px(height));
    svg.leaf("rect", &[("x", &x), ("y", &y), ("width", &width), ("height", &height), ("class", &class)]);
}

pub(super) fn dot(svg: &mut Markup, (x, y): (f64, f64), radius: f64, class: &str) {
    svg.leaf("circle", &[("cx", &Px(x)), ("cy", &Px(y)), ("r", &Px(radius)), ("class", &class)]);
}

pub(super) fn path(svg: &mut Markup, path: &str, class: &str) {
    svg.leaf("path", &[("d", &path), ("class", &class)]);
}

/// Shapes of one class, with the words that a pointer resting on them is told.
pub(super) fn told(svg: &mut Markup, class: &str, title: impl Display, inside: impl FnOnce(&mut Markup)) {
    svg.element("g", &[("class", &class)], |group| {
        group.words("title", &[], title);
        inside(group);
    });
}
