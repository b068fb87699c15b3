//! What somebody may do: the rules, applied to their token.

use crate::hub::holder::Token;
use crate::hub::topic::{Grant, Grants, Pattern};
use crate::ops::config::{Rule, Who};

use super::claims::{ClaimError, Claims};

/// How many patterns one topic of a rule may come to, where claims have several values.
const FILLED_MAX: usize = 64;

/// What somebody may do, and until when.
#[derive(Clone, Debug)]
pub struct Pass {
    /// What they may subscribe to.
    pub subscribe: Grants,
    /// What they may publish to; what is granted at all is granted whole.
    pub publish: Grants,
    /// Their token, if they have one.
    pub token: Option<Token>,
}

/// Who something is decided for.
enum Holder<'a> {
    Nobody,
    Somebody(Option<&'a Claims>),
}

impl Pass {
    /// Of those without a token.
    pub(super) fn anonymous(rules: &[Rule]) -> Pass {
        Pass::new(rules, [Vec::new(), Vec::new()], &Holder::Nobody, None)
    }

    /// Of a key that is a token itself.
    pub(super) fn of_key(rules: &[Rule], own: [Vec<Pattern>; 2], name: &str) -> Pass {
        // It has no time: what is revoked by time is revoked of those that do.
        let token = Token { account: Some(name.into()), issued_s: Some(u64::MAX), ..Token::default() };
        Pass::new(rules, own, &Holder::Somebody(None), Some(token))
    }

    /// Of a token with these claims.
    pub(super) fn of_claims(rules: &[Rule], claims: &Claims, leeway_s: u64) -> Result<Pass, ClaimError> {
        let token = Token {
            account: claims.text("sub").map(Box::from),
            id: claims.text("jti").map(Box::from),
            issued_s: claims.seconds("iat"),
            until_s: claims.seconds("exp").map(|exp| exp.saturating_add(leeway_s)),
        };
        Ok(Pass::new(rules, claims.own()?, &Holder::Somebody(Some(claims)), Some(token)))
    }

    fn new(rules: &[Rule], own: [Vec<Pattern>; 2], holder: &Holder<'_>, token: Option<Token>) -> Pass {
        let [subscribe, publish] = own.map(|own| own.into_iter().map(|pattern| (pattern, Grant::All)).collect());
        Pass {
            subscribe: Grants::new(applied(rules, subscribe, holder, |rule| rule.subscribe), Grant::Public),
            publish: Grants::new(applied(rules, publish, holder, |rule| rule.publish), Grant::Nothing),
            token,
        }
    }

    /// Whether there may be a topic that they may publish to.
    pub fn may_publish_something(&self) -> bool {
        self.publish.grant_something()
    }

    /// Whether they may publish to a topic.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.publish.of(topic) != Grant::Nothing
    }
}

/// What is granted by the token itself, and then what the rules say.
fn applied(
    rules: &[Rule],
    mut listed: Vec<(Pattern, Grant)>,
    holder: &Holder<'_>,
    who: impl Fn(&Rule) -> Who,
) -> Vec<(Pattern, Grant)> {
    for rule in rules {
        let all = |grant| rule.topics.iter().map(move |template| (template.shape().clone(), grant));
        match (who(rule), holder) {
            (Who::Anyone, _) => listed.extend(all(Grant::Public)),
            (Who::None, _) | (Who::Token, Holder::Nobody) => listed.extend(all(Grant::Nothing)),
            (Who::Token, Holder::Somebody(claims)) => {
                let values = |name: &str| claims.map(|claims| claims.values(name)).unwrap_or_default();
                let filled = rule.topics.iter().flat_map(|template| template.filled(values, FILLED_MAX));
                listed.extend(filled.map(|pattern| (pattern, Grant::All)));
                // Whoever else's topics these are, no later rule has a say in them.
                let others = rule.topics.iter().filter(|template| template.claims().next().is_some());
                listed.extend(others.map(|template| (template.shape().clone(), Grant::Nothing)));
            }
        }
    }
    listed
}
