//! What topics and patterns are called. A topic is a `/`-separated name such as `prices/eur`. In a pattern a segment `*` stands for
//! exactly one segment and a last segment `**` for the rest, one segment or more.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::hub::fault::{NameError, PatternError, TopicError};

/// The longest topic or pattern, in bytes.
pub const TOPIC_BYTES_MAX: usize = 255;

/// A valid topic: 1 to 255 bytes of UTF-8, no control character, no segment `*` or `**`.
///
/// A clone costs one atomic increment.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Reads a topic.
    ///
    /// # Errors
    /// If the text is no valid topic.
    pub fn parse(text: &str) -> Result<Topic, TopicError> {
        check_name(text).map_err(TopicError::Name)?;
        if text.split('/').any(|segment| segment == "*" || segment == "**") {
            return Err(TopicError::Wildcard);
        }
        Ok(Topic(text.into()))
    }

    /// The topic's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Topic, TopicError> {
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
    /// If the text is no valid pattern.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        check_name(text).map_err(PatternError::Name)?;
        let mut segments = text.split('/').peekable();
        while let Some(segment) = segments.next() {
            if segment == "**" && segments.peek().is_some() {
                return Err(PatternError::RestNotLast);
            }
            if segment.contains('*') && segment != "*" && segment != "**" {
                return Err(PatternError::PartOfSegment);
            }
        }
        Ok(Pattern(text.into()))
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The topic that it is if it holds no wildcard.
    pub(super) fn as_topic(&self) -> Option<Topic> {
        // A `*` within a segment is refused.
        (!self.0.contains('*')).then(|| Topic(self.0.clone()))
    }

    /// The pattern that covers one topic.
    pub fn of(topic: &Topic) -> Pattern {
        Pattern(topic.0.clone())
    }

    /// The pattern that covers exactly the topics that both cover, if there are any.
    pub fn intersection(&self, other: &Pattern) -> Option<Pattern> {
        let ((ours, we_go_on), (theirs, they_go_on)) = (self.segments(), other.segments());
        // Where only one goes on, it does so for as long as the other is.
        let (count, goes_on) = match (we_go_on, they_go_on) {
            (true, true) => (ours.max(theirs), true),
            (true, false) => (theirs, false),
            (false, true) => (ours, false),
            (false, false) => (ours, false),
        };
        let (ours, theirs) = (self.stretched(count)?, other.stretched(count)?);
        let mut text = String::with_capacity(self.0.len().max(other.0.len()));
        for (at, both) in ours.zip(theirs).enumerate() {
            if at > 0 {
                text.push('/');
            }
            text.push_str(match both {
                (None, None) if goes_on && at + 1 == count => "**",
                (None, None) => "*",
                (Some(named), None) | (None, Some(named)) => named,
                (Some(one), Some(other)) if one == other => one,
                (Some(_), Some(_)) => return None,
            });
        }
        // No topic is longer than that.
        (text.len() <= TOPIC_BYTES_MAX).then(|| Pattern(text.into()))
    }

    /// Whether it covers all topics that another does.
    pub fn covers(&self, other: &Pattern) -> bool {
        self.intersection(other).as_ref() == Some(other)
    }

    /// How many segments the topics have that it covers: at least so many, and whether more are possible.
    pub(in crate::hub) fn segments(&self) -> (usize, bool) {
        (self.0.split('/').count(), self.0.rsplit('/').next() == Some("**"))
    }

    /// A topic of so many segments that both patterns cover, if there is one. Where both have a wildcard its segment
    /// is one that no pattern names: a pattern that covers this topic covers all of that length that both do.
    pub(in crate::hub) fn common_example(&self, other: &Pattern, segments: usize) -> Option<String> {
        // A pattern with a `*` within a segment is refused.
        const UNNAMED: &str = "?*";
        let (ours, theirs) = (self.stretched(segments)?, other.stretched(segments)?);
        let both = ours.zip(theirs).map(|both| match both {
            (None, None) => Some(UNNAMED),
            (Some(named), None) | (None, Some(named)) => Some(named),
            (Some(one), Some(other)) => (one == other).then_some(one),
        });
        Some(both.collect::<Option<Vec<_>>>()?.join("/"))
    }

    /// Its segments where it covers topics of so many, `None` for a wildcard.
    fn stretched(&self, segments: usize) -> Option<impl Iterator<Item = Option<&str>>> {
        let (least, more) = self.segments();
        let named = self.0.split('/').map(|segment| (!segment.starts_with('*')).then_some(segment));
        (segments == least || (more && segments > least))
            .then(|| named.chain(std::iter::repeat_n(None, segments - least)))
    }

    /// Whether the pattern covers `topic`. Linear in the topic's length, whatever the pattern.
    pub fn matches(&self, topic: &str) -> bool {
        if is_internal(topic) {
            return false;
        }
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
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Pattern, PatternError> {
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

/// What the topics begin with on which the gateway publishes about itself. Nobody else may publish there, and only who
/// names such a topic gets its events.
pub const INTERNAL: &str = "$sys/";

/// Whether the gateway publishes about itself on this topic. No pattern covers one.
pub fn is_internal(topic: &str) -> bool {
    topic.starts_with(INTERNAL)
}

fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(NameError::TooLong { bytes: text.len(), max: TOPIC_BYTES_MAX });
    }
    if text.chars().any(char::is_control) {
        return Err(NameError::ControlCharacter);
    }
    Ok(())
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
        check("$sys", "$sys", true);
        for pattern in ["**", "*/*", "$sys/*", "$sys/**", "*/stats"] {
            check(pattern, "$sys/stats", false);
        }
    }

    #[test]
    fn two_patterns_cover_some_topics_both() {
        let both = |one: &str, other: &str| {
            let parse = |text| Pattern::parse(text).unwrap();
            let (one, other) = (parse(one), parse(other));
            let found = one.intersection(&other).map(|both| both.as_str().to_owned());
            assert_eq!(found, other.intersection(&one).map(|both| both.as_str().to_owned()));
            found.unwrap_or_default()
        };
        assert_eq!(both("a", "a"), "a");
        assert_eq!(both("a", "b"), "");
        assert_eq!(both("*", "a"), "a");
        assert_eq!(both("a/*", "*/b"), "a/b");
        assert_eq!(both("**", "a/*"), "a/*");
        assert_eq!(both("**", "*/**"), "*/**");
        assert_eq!(both("a/**", "a"), "");
        assert_eq!(both("a/**", "*/b/**"), "a/b/**");
        assert_eq!(both("a/b/**", "a/*/*/**"), "a/b/*/**");
        assert_eq!(both("a/*/**", "a/*/*"), "a/*/*");
        assert_eq!(both("*/**", "*"), "");
        // No topic is so long.
        let (a, b) = ("a".repeat(150), "b".repeat(150));
        assert_eq!(both(&format!("{a}/*"), &format!("*/{b}")), "");
    }

    #[test]
    fn bad_names_are_refused() {
        let too_long = NameError::TooLong { bytes: 256, max: 255 };
        for (bad, name) in [
            ("", NameError::Empty),
            ("a\nb", NameError::ControlCharacter),
            ("a\u{7f}", NameError::ControlCharacter),
            (&"x".repeat(256), too_long.clone()),
        ] {
            assert_eq!(Topic::parse(bad), Err(TopicError::Name(name.clone())), "{bad:?}");
            assert_eq!(Pattern::parse(bad), Err(PatternError::Name(name)), "{bad:?}");
        }
        for bad in ["a/*", "**", "*/a"] {
            assert_eq!(Topic::parse(bad), Err(TopicError::Wildcard), "{bad:?}");
        }
        for (bad, error) in [
            ("a*", PatternError::PartOfSegment),
            ("a/**b", PatternError::PartOfSegment),
            ("**/a", PatternError::RestNotLast),
        ] {
            assert_eq!(Pattern::parse(bad), Err(error), "{bad:?}");
        }
        assert_eq!(TopicError::Name(too_long).to_string(), "topic: is 256 bytes long, at most 255 are allowed");
        assert_eq!(PatternError::PartOfSegment.to_string(), "match: a wildcard must be a whole segment: * or **");
        assert!(Topic::parse(&"x".repeat(255)).is_ok());
        assert!(Topic::parse("https://example.com/books/1?x=*y").is_ok());
    }
}
