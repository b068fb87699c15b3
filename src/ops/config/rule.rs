//! `[[rule]]`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hub::topic::Pattern;

/// The most rules.
pub const RULES_MAX: usize = 256;
/// The most topics of one.
const TOPICS_MAX: usize = 16;

/// `[[rule]]`: who may subscribe and who may publish, by topic. The first rule that a topic is in decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RuleText", into = "RuleText")]
#[non_exhaustive]
pub struct Rule {
    /// The topics, as patterns that may hold claims.
    pub topics: Vec<Template>,
    /// Who may subscribe to them. Default: `anyone`.
    pub subscribe: Who,
    /// Who may publish to them on the public listener. Default: `none`.
    pub publish: Who,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    topics: Vec<Template>,
    #[serde(default = "anyone")]
    subscribe: Who,
    #[serde(default = "none")]
    publish: Who,
}

fn anyone() -> Who {
    Who::Anyone
}

fn none() -> Who {
    Who::None
}

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Who {
    /// Everyone.
    Anyone,
    /// Whoever has a token, whose claims fit where the topics hold some.
    Token,
    /// Nobody by this rule.
    None,
}

/// A pattern in which a segment may be a claim of the token: `users/{sub}/**`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    segments: Vec<Segment>,
    shape: Pattern,
}

#[derive(Clone, PartialEq, Eq)]
enum Segment {
    Text(String),
    Claim(String),
}

impl Template {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut segments = Vec::new();
        let mut rest = text;
        loop {
            // A claim's name may hold slashes.
            let end = match rest.strip_prefix('{') {
                Some(claim) => {
                    let end = claim.find('}').ok_or_else(|| format!("{text:?} has a {{ without its }}"))? + 2;
                    if !rest[end..].is_empty() && !rest[end..].starts_with('/') {
                        return Err(format!("{text:?}: a claim must be a whole segment"));
                    }
                    end
                }
                None => rest.find('/').unwrap_or(rest.len()),
            };
            let segment = &rest[..end];
            segments.push(match segment.strip_prefix('{').and_then(|claim| claim.strip_suffix('}')) {
                Some("") => return Err(format!("{text:?} has a claim without a name")),
                Some(claim) => Segment::Claim(claim.to_owned()),
                None if segment.contains(['{', '}']) => {
                    return Err(format!("{text:?}: a claim must be a whole segment"));
                }
                None => Segment::Text(segment.to_owned()),
            });
            match rest[end..].strip_prefix('/') {
                Some(more) => rest = more,
                None => break,
            }
        }
        let shape: Vec<_> = segments.iter().map(|segment| segment.text().unwrap_or("*")).collect();
        let shape = Pattern::parse(&shape.join("/")).map_err(|error| format!("{text:?}: {error}"))?;
        Ok(Template { text: text.to_owned(), segments, shape })
    }

    /// The pattern that covers whatever it may come to.
    pub fn shape(&self) -> &Pattern {
        &self.shape
    }

    /// The claims in it.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Claim(name) => Some(&**name),
            Segment::Text(_) => None,
        })
    }

    /// The patterns that it comes to with these values of claims: one for each where a claim has several, at most `max`.
    /// A value that is no segment of its own has none.
    pub fn filled(&self, values: impl Fn(&str) -> Vec<String>, max: usize) -> Vec<Pattern> {
        let mut texts = vec![String::new()];
        for (at, segment) in self.segments.iter().enumerate() {
            let values = match segment {
                Segment::Text(text) => vec![text.clone()],
                Segment::Claim(name) => values(name).into_iter().filter(|value| is_segment(value)).collect(),
            };
            let slash = if at > 0 { "/" } else { "" };
            let longer = texts.iter().flat_map(|text| values.iter().map(move |value| format!("{text}{slash}{value}")));
            texts = longer.take(max).collect();
        }
        texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect()
    }
}

/// Whether a claim's value stands for itself alone as a segment.
fn is_segment(value: &str) -> bool {
    !value.is_empty() && !value.contains(['/', '*']) && !value.chars().any(char::is_control)
}

impl Segment {
    fn text(&self) -> Option<&str> {
        match self {
            Segment::Text(text) => Some(text),
            Segment::Claim(_) => None,
        }
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Template, String> {
        Template::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> String {
        template.text
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl TryFrom<RuleText> for Rule {
    type Error = String;

    fn try_from(text: RuleText) -> Result<Rule, String> {
        let RuleText { topics, subscribe, publish } = text;
        if topics.is_empty() || topics.len() > TOPICS_MAX {
            return Err(format!("topics: {} entries, 1 to {TOPICS_MAX} are needed", topics.len()));
        }
        let has_claims = topics.iter().any(|template| template.claims().next().is_some());
        for (key, who) in [("subscribe", subscribe), ("publish", publish)] {
            if who == Who::Anyone && has_claims {
                return Err(format!("{key}: {topics:?} holds a claim, which only who has a token has: say \"token\""));
            }
        }
        Ok(Rule { topics, subscribe, publish })
    }
}

impl From<Rule> for RuleText {
    fn from(rule: Rule) -> RuleText {
        RuleText { topics: rule.topics, subscribe: rule.subscribe, publish: rule.publish }
    }
}

/// The rules of which no topic is left when their turn comes: a sentence each.
pub fn unreachable(rules: &[Rule]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let before = |template: &Template| {
            rules[..at]
                .iter()
                .position(|earlier| earlier.topics.iter().any(|earlier| earlier.shape().covers(template.shape())))
        };
        let Some(all) = rule.topics.iter().map(before).collect::<Option<Vec<_>>>() else { continue };
        let Some(earlier) = all.into_iter().max() else { continue };
        found.push(format!(
            "rule {} ({:?}) is never reached, since rule {} ({:?}) comes first",
            at + 1,
            rule.topics,
            earlier + 1,
            rules[earlier].topics,
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn filled(template: &str, values: &[&str]) -> Vec<String> {
        let template = Template::parse(template).unwrap();
        let patterns = template.filled(|_| values.iter().map(|value| (*value).to_owned()).collect(), 3);
        patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect()
    }

    #[test]
    fn a_claim_fills_a_segment_and_never_widens_it() {
        assert_eq!(filled("users/{sub}/**", &["7"]), ["users/7/**"]);
        assert_eq!(filled("users/{https://a.example/id}", &["7"]), ["users/7"]);
        assert_eq!(filled("g/{groups}", &["a", "b", "c", "d"]), ["g/a", "g/b", "g/c"]);
        assert_eq!(filled("plain/*", &[]), ["plain/*"]);
        for bad in ["", "*", "**", "a/b", "/", "a*", "x/**", "a\nb", &"x".repeat(300)] {
            assert_eq!(filled("users/{sub}/**", &[bad]), Vec::<String>::new(), "{bad:?}");
        }
        assert_eq!(Template::parse("users/{sub}/**").unwrap().shape().as_str(), "users/*/**");
        for bad in ["", "{", "{}", "a{sub}", "{sub}a", "a/{sub", "sub}", "a/**/b", "a*", "{a}{b}"] {
            assert!(Template::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_rule_that_is_never_reached_is_named_with_the_one_before() {
        let rule = |topics: &[&str]| Rule {
            topics: topics.iter().map(|text| Template::parse(text).unwrap()).collect(),
            subscribe: Who::None,
            publish: Who::None,
        };
        let rules = [rule(&["users/**"]), rule(&["users/{sub}/**", "a"]), rule(&["a", "users/*"]), rule(&["**"])];
        assert_eq!(
            unreachable(&rules),
            [r#"rule 3 (["a", "users/*"]) is never reached, since rule 2 (["users/{sub}/**", "a"]) comes first"#]
        );
        let text = "topics = [\"users/{sub}\"]\nsubscribe = \"anyone\"";
        assert!(toml::from_str::<Rule>(text).unwrap_err().to_string().contains("say \"token\""));
        let rule: Rule = toml::from_str("topics = [\"a\"]").unwrap();
        assert_eq!((rule.subscribe, rule.publish), (Who::Anyone, Who::None));
    }
}
