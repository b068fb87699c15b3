//! How much room words take. Nothing measures text for us: these are the widths of common sans-serif fonts, rounded
//! up to DejaVu's, the widest of those that stand for "sans-serif" somewhere.

/// In pixels, at a font size of `size`.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let ems = text.chars().map(|char| match char {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | 'I' | ' ' | '/' => 0.34,
        'f' | 'r' | 't' | '-' | '(' | ')' => 0.41,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.96,
        'A'..='Z' => 0.72,
        '0'..='9' => 0.64,
        char if char.is_ascii() || matches!(char, 'µ' | '·' | '×' | '≤' | '≥') => 0.62,
        _ => 1.0,
    });
    ems.sum::<f64>() * size
}

/// The text, ended by `…` if it does not fit.
pub(super) fn clip(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for char in text.chars() {
        kept.push(char);
        if width(&kept, size) + size > room {
            kept.pop();
            break;
        }
    }
    kept.truncate(kept.trim_end().len());
    kept + "…"
}

/// The text, without what explains it if it does not fit: a half-sentence, what is in brackets, what follows a colon.
pub(super) fn shorten(text: &str, size: f64, room: f64) -> String {
    let mut parts = ["; ", " (", ": "].into_iter().filter_map(|mark| text.split_once(mark)).map(|(part, _)| part);
    match parts.find(|part| width(part, size) <= room) {
        Some(part) if width(text, size) > room => part.to_owned(),
        _ => clip(text, size, room),
    }
}

/// Broken between words into at most `most` lines; the last is clipped.
pub(super) fn wrap(text: &str, size: f64, room: f64, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let full = lines.len() == most;
        match lines.last_mut() {
            Some(line) if full || width(&format!("{line} {word}"), size) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| clip(line, size, room)).collect()
}

/// Moves labels at `wished` heights apart, in their order, so that `pitch` is between any two and all are within the
/// range; they crowd only where there is no room.
pub(super) fn spread(wished: &[f64], pitch: f64, (top, bottom): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wished.len()).collect();
    order.sort_by(|a, b| wished[*a].total_cmp(&wished[*b]));
    let mut places = wished.to_vec();
    let mut free = top;
    for &label in &order {
        places[label] = places[label].max(free);
        free = places[label] + pitch;
    }
    let mut free = bottom;
    for &label in order.iter().rev() {
        places[label] = places[label].min(free);
        free = places[label] - pitch;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_clipped_and_long_lines_broken() {
        assert_eq!(clip("short", 10.0, 100.0), "short");
        let clipped = clip("missing: no replay in this build", 10.0, 80.0);
        assert!(clipped.starts_with("missing") && clipped.ends_with('…') && width(&clipped, 10.0) <= 84.0, "{clipped}");
        assert_eq!(shorten("100,321 (10 events/s); late, 107,868", 10.0, 150.0), "100,321 (10 events/s)");
        assert_eq!(shorten("100,321 (10 events/s); late, 107,868", 10.0, 60.0), "100,321");
        assert_eq!(shorten("missing: keeps nothing", 10.0, 80.0), "missing");
        assert_eq!(shorten("a (b)", 10.0, 80.0), "a (b)");
        assert_eq!(wrap("CPU a delivery at 100 events/s", 10.0, 100.0, 2), ["CPU a delivery at", "100 events/s"]);
        assert_eq!(wrap("one two three", 10.0, 30.0, 2).len(), 2);
        assert!(wrap("", 10.0, 30.0, 2).is_empty());
    }

    #[test]
    fn labels_do_not_overlap() {
        assert_eq!(spread(&[50.0, 52.0, 10.0], 10.0, (0.0, 100.0)), [50.0, 60.0, 10.0]);
        assert_eq!(spread(&[95.0, 99.0], 10.0, (0.0, 100.0)), [90.0, 100.0]);
    }
}
