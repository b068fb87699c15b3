//! What an event can be published to.

use crate::hub::fault::Fault;
use crate::hub::frame::Topics;
use crate::hub::topic::Topic;

/// One topic or several, or their texts: `&topic`, `"news"`, `["a", "b"]`, `&topics`.
///
/// It can't be implemented for other types.
pub trait IntoTopics: sealed::Sealed {
    /// The topics.
    #[doc(hidden)]
    fn into_topics(self) -> Result<Topics, Fault>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! into_topics {
    ($([$($generics:tt)*] $type:ty, |$topics:ident| $read:expr;)*) => {$(
        impl<$($generics)*> sealed::Sealed for $type {}

        impl<$($generics)*> IntoTopics for $type {
            fn into_topics(self) -> Result<Topics, Fault> {
                let $topics = self;
                $read
            }
        }
    )*};
}

into_topics! {
    [] Topic, |topic| Ok(Topics::from_iter([topic]));
    [] &Topic, |topic| Ok(Topics::from_iter([topic.clone()]));
    [] &[Topic], |topics| Ok(topics.iter().cloned().collect());
    [] &Vec<Topic>, |topics| Ok(topics.iter().cloned().collect());
    [] Vec<Topic>, |topics| Ok(topics.into_iter().collect());
    [const N: usize] [Topic; N], |topics| Ok(topics.into_iter().collect());
    [const N: usize] &[Topic; N], |topics| Ok(topics.iter().cloned().collect());
    [] &str, |text| Ok(Topics::from_iter([Topic::parse(text)?]));
    [] &[&str], |texts| texts.iter().map(|text| Topic::parse(text)).collect();
    [const N: usize] [&str; N], |texts| texts.iter().map(|text| Topic::parse(text)).collect();
    [] &String, |text| Ok(Topics::from_iter([Topic::parse(text)?]));
}
