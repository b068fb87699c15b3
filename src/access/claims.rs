//! What a token says.

use serde_json::{Map, Value};

use crate::hub::topic::{Pattern, TOPICS_MAX};

/// The claim in which a token names topics by itself.
const OWN: &str = "sluicegate";

/// The claims of a token that has been verified.
#[derive(Clone, Debug, Default)]
pub struct Claims(pub(super) Map<String, Value>);

/// What is wrong with the claims of a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its claim {claim} {reason}")]
pub struct ClaimError {
    claim: &'static str,
    reason: String,
}

impl Claims {
    /// A claim's text, if it is one.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A claim's number of seconds, if it is one.
    pub fn seconds(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_f64).filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64)
    }

    /// The values of a claim that may stand in a topic: texts and whole numbers, one or a list of them. A name with dots
    /// that is no claim leads into one: `realm_access.roles`.
    pub fn values(&self, name: &str) -> Vec<String> {
        let into = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) if !number.is_f64() => Some(number.to_string()),
            _ => None,
        };
        let found = self.0.get(name).or_else(|| {
            let mut steps = name.split('.');
            let first = self.0.get(steps.next()?)?;
            steps.try_fold(first, |value, step| value.get(step))
        });
        match found {
            Some(Value::Array(values)) => values.iter().filter_map(into).collect(),
            Some(value) => into(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The patterns that the token grants by itself, to subscribe to and to publish to.
    ///
    /// # Errors
    /// If the claim is there and is something else.
    pub fn own(&self) -> Result<[Vec<Pattern>; 2], ClaimError> {
        let wrong = |reason: String| ClaimError { claim: OWN, reason };
        let own = match self.0.get(OWN) {
            None => return Ok([Vec::new(), Vec::new()]),
            Some(Value::Object(own)) => own,
            Some(_) => return Err(wrong("is no object".to_owned())),
        };
        if let Some(name) = own.keys().find(|name| !matches!(&***name, "subscribe" | "publish")) {
            return Err(wrong(format!("holds {name:?}, where subscribe and publish are known")));
        }
        let patterns = |name: &str| match own.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(texts)) if texts.len() <= TOPICS_MAX => {
                let pattern = |text: &Value| {
                    let text = text.as_str().ok_or_else(|| wrong(format!("holds in {name} what is no text")))?;
                    Pattern::parse(text).map_err(|error| wrong(format!("holds {text:?} in {name}: {error}")))
                };
                texts.iter().map(pattern).collect()
            }
            Some(Value::Array(texts)) => {
                Err(wrong(format!("holds {} patterns in {name}, {TOPICS_MAX} are allowed", texts.len())))
            }
            Some(_) => Err(wrong(format!("holds in {name} what is no list"))),
        };
        Ok([patterns("subscribe")?, patterns("publish")?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(value: Value) -> Claims {
        Claims(value.as_object().unwrap().clone())
    }

    #[test]
    fn values_are_texts_and_whole_numbers() {
        let claims = claims(json!({
            "sub": "a", "n": 42, "f": 1.5, "t": true, "l": ["x", 7, null, {"y": 1}], "o": {"roles": ["r"], "p.q": "no"},
            "a.b": "exact", "a": {"b": "inner"},
        }));
        for (name, values) in [
            ("sub", vec!["a"]),
            ("n", vec!["42"]),
            ("f", vec![]),
            ("t", vec![]),
            ("l", vec!["x", "7"]),
            ("o", vec![]),
            ("o.roles", vec!["r"]),
            ("a.b", vec!["exact"]),
            ("none", vec![]),
            ("sub.x", vec![]),
        ] {
            assert_eq!(claims.values(name), values, "{name}");
        }
    }

    #[test]
    fn a_token_grants_patterns_or_is_refused() {
        let own = |value| claims(json!({ "sluicegate": value })).own();
        let pattern = |text| Pattern::parse(text).unwrap();
        assert_eq!(own(json!({})), Ok([vec![], vec![]]));
        assert_eq!(own(json!({"subscribe": ["a/**"]})), Ok([vec![pattern("a/**")], vec![]]));
        let many: Vec<_> = (0..129).map(|n| n.to_string()).collect();
        for bad in [
            json!("**"),
            json!(["**"]),
            json!({"subscribe": "**"}),
            json!({"publish": [1]}),
            json!({"publish": ["a*"]}),
            json!({"publish": [""]}),
            json!({"subscribes": []}),
            json!({"subscribe": many}),
        ] {
            assert!(own(bad.clone()).is_err(), "{bad}");
        }
    }
}
