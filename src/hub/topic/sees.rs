//! What a subscription sees of the topics that it covers.

use std::sync::Arc;

use super::name::Pattern;

/// What may be had of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    /// Nothing.
    Nothing,
    /// Public events.
    Public,
    /// Private ones, too.
    All,
}

/// What a subscription gets of events on the topics that it covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sees {
    Public,
    All,
    /// As the first of these says that covers the topic, and nothing where none does.
    ByTopic(Arc<[(Pattern, Grant)]>),
}

/// What the first of these says that covers a topic.
pub(super) fn first_of(listed: &[(Pattern, Grant)], topic: &str) -> Option<Grant> {
    listed.iter().find(|(pattern, _)| pattern.matches(topic)).map(|(_, grant)| *grant)
}

impl Sees {
    pub(super) fn sees(&self, topic: &str, private: bool) -> bool {
        match self {
            Sees::Public => !private,
            Sees::All => true,
            Sees::ByTopic(listed) => {
                let needed = if private { Grant::All } else { Grant::Public };
                first_of(listed, topic).is_some_and(|grant| grant >= needed)
            }
        }
    }

    /// The same, in its shortest form: `listed` is about the topics of a subscription, each of which has something in it.
    pub(super) fn of(mut listed: Vec<(Pattern, Grant)>) -> Sees {
        while listed.pop_if(|(_, grant)| *grant == Grant::Nothing).is_some() {}
        // A pattern that grants nothing counts where one that comes later would.
        for at in (0..listed.len()).rev() {
            let (pattern, grant) = &listed[at];
            let counts =
                |(later, grants): &(Pattern, Grant)| *grants != Grant::Nothing && pattern.intersection(later).is_some();
            if *grant == Grant::Nothing && !listed[at + 1..].iter().any(counts) {
                listed.remove(at);
            }
        }
        match listed.first() {
            Some((_, Grant::Public)) if listed.iter().all(|(_, grant)| *grant == Grant::Public) => Sees::Public,
            Some((_, Grant::All)) if listed.iter().all(|(_, grant)| *grant == Grant::All) => Sees::All,
            _ => Sees::ByTopic(listed.into()),
        }
    }
}
