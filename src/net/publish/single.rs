//! One event: a body, and parameters in the query.

use std::time::Duration;

use crate::hub::event::{self, Event};
use crate::hub::topic::{TopicHandle, Topics};
use crate::net::problem::Problem;
use crate::net::query::{self, quoted};
use crate::ops::units::boolean;

use super::field::{Field, Seen};

/// Reads one event: the body is its data, the query holds `event`, `id`, `retry`, `key`, `keep`, `private`.
/// Any other parameter is refused, as a typo would change what is published.
///
/// # Errors
/// 400, naming the parameter, or `body` if that isn't UTF-8.
pub fn single<'a>(topic: TopicHandle, query: &'a str, body: &'a [u8]) -> Result<(Topics, Event<'a>), Problem> {
    let data = std::str::from_utf8(body).map_err(|_| Problem::in_field("body", "isn't UTF-8"))?;
    let mut event = Event::new(data);
    let mut seen = Seen::default();
    for (name, value) in query::pairs(query) {
        let field = query::decode(name, true).ok().and_then(|name| name.parse().ok());
        let Some(field) = field.filter(|field| !matches!(field, Field::Topic | Field::Topics | Field::Data)) else {
            return Err(Problem::in_field(quoted(name), "isn't known: event, id, retry, key, keep and private are"));
        };
        let refuse = |reason: &'static str| Problem::in_field(field.name(), reason);
        if !seen.insert(field) {
            return Err(refuse("is given twice"));
        }
        let text = query::decode(value, true).map_err(refuse)?;
        event = match field {
            Field::Event => event.event(text),
            Field::Id => event.id(text),
            Field::Key => event.key(text),
            Field::Retry => {
                let ms = query::number(&text).ok_or_else(|| refuse("isn't a number of milliseconds"))?;
                event.retry(Duration::from_millis(ms))
            }
            Field::Private => event.private(boolean(&text).map_err(refuse)?),
            _ => event.keep(boolean(&text).map_err(refuse)?),
        };
    }
    event::check(&event)?;
    Ok((Topics::one(topic), event))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::topic::handle;
    use crate::net::problem::document;

    #[track_caller]
    fn check_single(query: &str, expected: Event<'_>) {
        let (topics, event) = single(handle("t"), query, b"x\ny").unwrap();
        assert_eq!((&*topics, event), (&[handle("t")][..], expected), "{query}");
    }

    #[track_caller]
    fn check_single_refused(query: &str, field: &str) {
        let document = document(single(handle("t"), query, b"").unwrap_err());
        assert_eq!((&document["field"], &document["status"]), (&field.into(), &400.into()), "{query}");
    }

    #[test]
    fn one_event_is_a_body_with_parameters() {
        let event = || Event::new("x\ny");
        check_single("", event());
        check_single("event=a+b&id=%2B1", event().event("a b").id("+1"));
        check_single("retry=0010&key=k&keep=0", event().retry(Duration::from_millis(10)).key("k").keep(false));
        check_single("keep=true&", event());
        check_single("keep=1&event=", event().event(""));
        check_single("keep=false", event().keep(false));
        check_single("private=1", event().private(true));
        check_single("private=false&keep=0", event().keep(false));
        check_single_refused("private=yes", "private");
        check_single_refused("private=1&private=1", "private");
        for bad in ["keep=yes", "keep=", "keep", "keep=1&keep=1"] {
            check_single_refused(bad, "keep");
        }
        for bad in ["retry=", "retry=+1", "retry=-1", "retry=1.5", "retry=99999999999999999999"] {
            // Nothing but digits, and a number of them.
            check_single_refused(bad, "retry");
        }
        check_single_refused("id=%0a", "id");
        check_single_refused("id=", "id");
        check_single_refused("id=%", "id");
        check_single_refused("event=%ff", "event");
        check_single_refused("ID=1", "ID");
        check_single_refused("topic=x", "topic");
        check_single_refused("data=x", "data");
        check_single_refused(&"x".repeat(1000), &"x".repeat(64));
        assert_eq!(document(single(handle("t"), "", b"\xff").unwrap_err())["field"], "body");
    }
}
