//! What an event can be published to.

use crate::exchange::topics::TopicTable;
use crate::hub::fault::EventError;
use crate::hub::topic::{Numbers, Topic, Topics};

/// One topic or several, or their texts: `&topic`, `"news"`, `["a", "b"]`, `&topics`.
///
/// It can't be implemented for other types.
pub trait IntoTopics: sealed::Sealed {
    /// The topics.
    #[doc(hidden)]
    fn into_topics(self, table: &TopicTable) -> Result<Topics, EventError>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! into_topics {
    ($([$($generics:tt)*] $type:ty, |$topics:ident, $table:ident| $read:expr;)*) => {$(
        impl<$($generics)*> sealed::Sealed for $type {}

        impl<$($generics)*> IntoTopics for $type {
            fn into_topics(self, $table: &TopicTable) -> Result<Topics, EventError> {
                let $topics = self;
                $read
            }
        }
    )*};
}

into_topics! {
    [] Topic, |topic, table| Ok(Topics::one(table.handle(&topic)));
    [] &Topic, |topic, table| Ok(Topics::one(table.handle(topic)));
    [] &[Topic], |topics, table| Topics::new(topics.iter().map(|topic| table.handle(topic)));
    [] &Vec<Topic>, |topics, table| topics.as_slice().into_topics(table);
    [] Vec<Topic>, |topics, table| topics.as_slice().into_topics(table);
    [const N: usize] [Topic; N], |topics, table| topics.as_slice().into_topics(table);
    [const N: usize] &[Topic; N], |topics, table| topics.as_slice().into_topics(table);
    [] &str, |text, table| Ok(Topics::one(table.named(text)?));
    [] &[&str], |texts, table| {
        let topics = texts.iter().map(|text| table.named(text)).collect::<Result<Vec<_>, _>>()?;
        Topics::new(topics)
    };
    [const N: usize] [&str; N], |texts, table| texts.as_slice().into_topics(table);
    [] &String, |text, table| text.as_str().into_topics(table);
}
