//! `[[policy]]`.

use serde::{Deserialize, Serialize};

use crate::hub::policy::SlowPolicy;
use crate::hub::topic::Pattern;
use crate::ops::units::text;

/// `[[policy]]`: what is done with a slow stream of the topics that match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PolicyRule {
    /// The topics, as a pattern.
    #[serde(with = "text")]
    pub topic: Pattern,
    /// What is done: `disconnect`, `skip` or `conflate`.
    #[serde(with = "text")]
    pub slow: SlowPolicy,
}
