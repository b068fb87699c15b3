//! Elements, written so that none is left open and no text is taken for markup, whatever a server calls itself.

use std::fmt::{self, Display, Write};

pub(super) type Attributes<'a> = &'a [(&'a str, &'a dyn Display)];

/// HTML that is also well-formed XML, so that one writer does for the page and for a lone SVG.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Only for what this module's siblings wrote themselves: a doctype, a style sheet.
    pub(super) fn verbatim(&mut self, text: &str) {
        self.0.push_str(text);
    }

    pub(super) fn element(&mut self, name: &str, attributes: Attributes<'_>, inside: impl FnOnce(&mut Self)) {
        self.begin(name, attributes);
        self.0.push('>');
        inside(self);
        let _ = write!(self.0, "</{name}>");
    }

    /// An element of nothing but text.
    pub(super) fn words(&mut self, name: &str, attributes: Attributes<'_>, text: impl Display) {
        self.element(name, attributes, |inside| inside.text(text));
    }

    /// An element without an inside. HTML closes only its void elements and SVG's this way.
    pub(super) fn leaf(&mut self, name: &str, attributes: Attributes<'_>) {
        self.begin(name, attributes);
        self.0.push_str("/>");
    }

    pub(super) fn text(&mut self, text: impl Display) {
        let _ = write!(Escape(&mut self.0), "{text}");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }

    fn begin(&mut self, name: &str, attributes: Attributes<'_>) {
        self.0.push('<');
        self.0.push_str(name);
        for (key, value) in attributes {
            let before = self.0.len();
            let _ = write!(self.0, " {key}=\"");
            let value_at = self.0.len();
            let _ = write!(Escape(&mut self.0), "{value}");
            // No class is none, not an empty one.
            if *key == "class" && self.0.len() == value_at {
                self.0.truncate(before);
            } else {
                self.0.push('"');
            }
        }
    }
}

struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\t' | '\n' => self.0.push(char),
                // XML has no way to write these: a terminal's escapes in a config would make the SVG unreadable.
                _ if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => self.0.push('\u{fffd}'),
                _ => self.0.push(char),
            }
        }
        Ok(())
    }
}

/// A coordinate: a tenth of a pixel is as fine as a plot needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Px(pub(super) f64);

impl Display for Px {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round();
        // Whatever a figure was, it cannot break the plot. `+ 0.0` makes a zero of a negative one.
        write!(to, "{}", if tenths.is_finite() { tenths / 10.0 + 0.0 } else { 0.0 })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Panics unless every element is closed in order, every attribute quoted and every `&` an entity of ours.
    pub(crate) fn assert_well_formed(text: &str) {
        let mut open = Vec::new();
        let mut rest = text.strip_prefix("<!doctype html>").unwrap_or(text);
        while let Some(start) = rest.find('<') {
            assert!(!rest[..start].contains('>') || open.last() == Some(&"style"), "a loose >: {}", &rest[..start]);
            let end = start + rest[start..].find('>').expect("a tag ends");
            let tag = &rest[start + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
                continue;
            }
            let (name, mut attributes) = tag.trim_end_matches('/').split_once(' ').unwrap_or((tag, ""));
            assert!(name.trim_end_matches('/').chars().all(char::is_alphanumeric), "{name}");
            while let Some((_, value)) = attributes.split_once("=\"") {
                let (value, after) = value.split_once('"').expect("an attribute's value ends");
                assert!(!value.contains(['<', '>']), "{value}");
                attributes = after;
            }
            assert!(attributes.trim().is_empty(), "{attributes}");
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "left open: {open:?}");
        for after in text.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|entity| after.starts_with(entity)), "{after}");
        }
    }

    #[test]
    fn text_and_attributes_are_never_markup() {
        let mut markup = Markup::default();
        markup.element("p", &[("title", &"\"><script>")], |p| {
            p.text("</p>&\u{1b}'");
            p.leaf("br", &[]);
        });
        let text = markup.finish();
        assert_eq!(text, "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;/p&gt;&amp;\u{fffd}&#39;<br/></p>");
        assert_well_formed(&text);
    }

    #[test]
    fn coordinates_are_short() {
        for (value, text) in [(1.0, "1"), (1.26, "1.3"), (-0.01, "0"), (1234.05, "1234.1"), (f64::NAN, "0")] {
            assert_eq!(Px(value).to_string(), text);
        }
    }
}
