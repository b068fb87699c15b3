//! Topics, patterns over topics, and subscriptions made of both.
//!
//! A topic is a `/`-separated name such as `prices/eur`. In a pattern a segment `*` stands for
//! exactly one segment and a last segment `**` for the rest, one segment or more.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::fault::Fault;

/// The longest topic or pattern, in bytes.
pub const TOPIC_BYTES_MAX: usize = 255;
/// The most topics and patterns that one subscription or one event may name.
pub const TOPICS_MAX: usize = 128;
/// The most segments that the patterns of one subscription may have together: each takes memory in a
/// shard's routes.
pub const PATTERN_SEGMENTS_MAX: usize = 512;

/// A valid topic: 1 to 255 bytes of UTF-8, no control character, no segment `*` or `**`.
///
/// A clone costs one atomic increment.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Reads a topic.
    ///
    /// # Errors
    /// A [`Fault`] in `topic` if the text is no valid topic.
    pub fn parse(text: &str) -> Result<Topic, Fault> {
        check_name("topic", text)?;
        if text.split('/').any(|segment| segment == "*" || segment == "**") {
            return Err(Fault::new("topic", "the segments * and ** are kept for patterns (match=)"));
        }
        Ok(Topic(text.into()))
    }

    /// The topic's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Topic {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Topic, Fault> {
        Topic::parse(text)
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A valid pattern. One without a wildcard matches the topic of the same text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A [`Fault`] in `match` if the text is no valid pattern.
    pub fn parse(text: &str) -> Result<Pattern, Fault> {
        check_name("match", text)?;
        let mut segments = text.split('/').peekable();
        while let Some(segment) = segments.next() {
            if segment == "**" && segments.peek().is_some() {
                return Err(Fault::new("match", "** stands for the rest, so it must be the last segment"));
            }
            if segment.contains('*') && segment != "*" && segment != "**" {
                return Err(Fault::new("match", "a wildcard must be a whole segment: * or **"));
            }
        }
        Ok(Pattern(text.into()))
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it holds `*` or `**`.
    pub fn has_wildcard(&self) -> bool {
        // A `*` within a segment is refused.
        self.0.contains('*')
    }

    /// Whether the pattern covers `topic`. Linear in the topic's length, whatever the pattern.
    pub fn matches(&self, topic: &str) -> bool {
        let mut segments = topic.split('/');
        for wanted in self.0.split('/') {
            match (wanted, segments.next()) {
                (_, None) => return false,
                ("**", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(segment)) if wanted == segment => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }
}

impl FromStr for Pattern {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Pattern, Fault> {
        Pattern::parse(text)
    }
}

impl AsRef<str> for Pattern {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

fn check_name(field: &'static str, text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::new(field, "is empty"));
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(Fault::new(field, format!("is {} bytes long, at most {TOPIC_BYTES_MAX} are allowed", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(Fault::new(field, "holds a control character"));
    }
    Ok(())
}

/// What a stream subscribes to. Two streams that asked for the same things in another order, or
/// twice, have equal subscriptions.
///
/// Invariant: both lists are sorted and free of doubles, and at most [`TOPICS_MAX`] long together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subscription {
    topics: Box<[Topic]>,
    patterns: Box<[Pattern]>,
}

impl Subscription {
    /// A subscription to these topics and patterns.
    ///
    /// # Errors
    /// A [`Fault`] in `topic` if there is none at all or there are more than [`TOPICS_MAX`].
    pub fn new(mut topics: Vec<Topic>, mut patterns: Vec<Pattern>) -> Result<Subscription, Fault> {
        let asked = topics.len() + patterns.len();
        if asked == 0 {
            return Err(Fault::new("topic", "a subscription needs at least one topic= or match="));
        }
        if asked > TOPICS_MAX {
            return Err(Fault::new("topic", format!("{asked} topics asked for, at most {TOPICS_MAX} are allowed")));
        }
        let segments: usize = patterns.iter().map(|pattern| pattern.as_str().split('/').count()).sum();
        if segments > PATTERN_SEGMENTS_MAX {
            let most = PATTERN_SEGMENTS_MAX;
            return Err(Fault::new(
                "match",
                format!("{segments} segments in all patterns, at most {most} are allowed"),
            ));
        }
        topics.sort();
        topics.dedup();
        patterns.sort();
        patterns.dedup();
        Ok(Subscription { topics: topics.into(), patterns: patterns.into() })
    }

    /// A subscription to one topic.
    pub fn to(topic: Topic) -> Subscription {
        Subscription { topics: Box::new([topic]), patterns: Box::default() }
    }

    /// A subscription to nothing: such a stream gets only what is sent to it alone.
    pub fn nothing() -> Subscription {
        Subscription { topics: Box::default(), patterns: Box::default() }
    }

    /// The topics named exactly, sorted.
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// The patterns, sorted.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether an event with these topics belongs to the subscription.
    pub fn covers(&self, topics: &[Topic]) -> bool {
        topics.iter().any(|topic| {
            self.topics.binary_search(topic).is_ok() || self.patterns.iter().any(|p| p.matches(topic.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, topic: &str, expected: bool) {
        assert_eq!(Pattern::parse(pattern).unwrap().matches(topic), expected, "{pattern} on {topic}");
    }

    #[test]
    fn patterns_match_by_segment() {
        check("prices/*", "prices/eur", true);
        check("prices/*", "prices", false);
        check("prices/*", "prices/eur/spot", false);
        check("prices/**", "prices/eur/spot", true);
        check("prices/**", "prices", false);
        check("*/eur", "prices/eur", true);
        check("**", "a", true);
        check("**", "a/b/c", true);
        check("a/b", "a/b", true);
        check("a/b", "a/bc", false);
        check("*", "a/b", false);
        check("a/*/c", "a//c", true);
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", "a\nb", "a\u{7f}", "a/*", "**", &"x".repeat(256)] {
            assert_eq!(Topic::parse(bad).unwrap_err().field, "topic", "{bad:?}");
        }
        for bad in ["", "a*", "**/a", "a/**b", "a\0"] {
            assert_eq!(Pattern::parse(bad).unwrap_err().field, "match", "{bad:?}");
        }
        assert!(Topic::parse(&"x".repeat(255)).is_ok());
        assert!(Topic::parse("https://example.com/books/1?x=*y").is_ok());
    }

    #[test]
    fn subscriptions_are_canonical_and_bounded() {
        let t = |s: &str| Topic::parse(s).unwrap();
        let p = |s: &str| Pattern::parse(s).unwrap();
        let one = Subscription::new(vec![t("b"), t("a"), t("b")], vec![p("x/*")]).unwrap();
        let two = Subscription::new(vec![t("a"), t("b")], vec![p("x/*"), p("x/*")]).unwrap();
        assert_eq!(one, two);
        assert!(one.covers(&[t("z"), t("a")]));
        assert!(one.covers(&[t("x/1")]));
        assert!(!one.covers(&[t("x")]));
        assert!(Subscription::new(vec![], vec![]).is_err());
        for (n, ok) in [(TOPICS_MAX - 1, true), (TOPICS_MAX, true), (TOPICS_MAX + 1, false)] {
            let topics = (0..n).map(|i| t(&format!("t{i}"))).collect();
            assert_eq!(Subscription::new(topics, vec![]).is_ok(), ok, "{n}");
        }
    }
}
