//! Events on a timer, as configured.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::limits::PERIOD_MS_MIN;
use super::units::Time;
use crate::hub::event::{self, Event};
use crate::hub::fault::EventError;
use crate::hub::topic::Topic;

/// Why an event can't be scheduled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The event can't be published as it is.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The event has a key, which a schedule's event does not have.
    #[error("key: a schedule's event has none")]
    Key,
    /// The time from one event to the next is too short, too long, or not in whole milliseconds.
    #[error("every: {reason}")]
    #[non_exhaustive]
    Every {
        /// Which of these.
        reason: String,
    },
}

/// `[[schedule]]`: an event that is published again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ScheduleText", into = "ScheduleText")]
pub struct Schedule(ScheduleText);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    every: Time<PERIOD_MS_MIN>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    data: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<Time>,
    #[serde(default)]
    keep: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    private: bool,
}

impl Schedule {
    /// The schedule of a gateway without configuration: `hello` every 2 seconds.
    pub fn hello() -> Schedule {
        Schedule(ScheduleText {
            topic: None,
            every: Time::from_millis(2_000),
            event: Some("message".to_owned()),
            data: "hello".to_owned(),
            id: Some("1".to_owned()),
            retry: None,
            keep: false,
            private: false,
        })
    }

    /// A schedule that publishes this event to `topic` every so often: from 10 ms to 366 days, in
    /// whole milliseconds. In the event's data `{now}` is replaced by the time and `{n}` by the
    /// count, see [`Schedule::event`]. Whether the event is kept, it says itself; a schedule is
    /// mostly live only, [`Event::keep`]`(false)`: else a client that comes back is sent all that
    /// it missed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use sluicegate::{Event, Schedule, Topic};
    /// let tick = Event::new("{n}").event("tick").keep(false);
    /// let schedule = Schedule::new(&Topic::parse("ticks")?, Duration::from_secs(1), &tick)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`ScheduleError`].
    pub fn new(topic: &Topic, every: Duration, event: &Event<'_>) -> Result<Schedule, ScheduleError> {
        event::check(event)?;
        if event.key.is_some() {
            return Err(ScheduleError::Key);
        }
        let every = Time::parse(&humantime::format_duration(every).to_string());
        Ok(Schedule(ScheduleText {
            topic: Some(topic.as_str().to_owned()),
            every: every.map_err(|reason| ScheduleError::Every { reason })?,
            event: event.event.as_deref().map(str::to_owned),
            data: event.data.clone().into_owned(),
            id: event.id.as_deref().map(str::to_owned),
            // No longer than an event's may be, which is less than the longest time.
            retry: event.retry_ms.map(Time::from_millis),
            keep: !event.live_only,
            private: event.private,
        }))
    }

    /// The topic to publish to: its own, or else the default one.
    pub fn topic(&self, default: &Topic) -> Topic {
        match &self.0.topic {
            Some(topic) => Topic::parse(topic).expect("Invariant: checked when it was read"),
            None => default.clone(),
        }
    }

    /// The time from one event to the next.
    pub fn every(&self) -> Duration {
        self.0.every.get()
    }

    /// Whether its events are kept.
    pub fn keeps(&self) -> bool {
        self.0.keep
    }

    /// The length of the data as configured, in bytes.
    pub fn data_bytes(&self) -> u64 {
        self.0.data.len() as u64
    }

    /// The `n`-th event, counted from 1. In its data `{now}` is replaced by the time in RFC 3339,
    /// UTC, with milliseconds, and `{n}` by the count.
    pub fn event(&self, now: SystemTime, n: u64) -> Event<'_> {
        let text = &self.0;
        let mut event = if text.data.contains("{now}") || text.data.contains("{n}") {
            let now = humantime::format_rfc3339_millis(now).to_string();
            Event::new(text.data.replace("{now}", &now).replace("{n}", &n.to_string()))
        } else {
            Event::new(text.data.as_str())
        };
        if let Some(name) = &text.event {
            event = event.event(name.as_str());
        }
        if let Some(id) = &text.id {
            event = event.id(id.as_str());
        }
        if let Some(retry) = text.retry {
            event = event.retry(retry.get());
        }
        event.keep(text.keep).private(text.private)
    }
}

impl TryFrom<ScheduleText> for Schedule {
    type Error = String;

    fn try_from(text: ScheduleText) -> Result<Schedule, String> {
        Topic::parse(text.topic.as_deref().unwrap_or("default")).map_err(|fault| fault.to_string())?;
        let schedule = Schedule(text);
        event::check(&schedule.event(SystemTime::UNIX_EPOCH, 1)).map_err(|fault| fault.to_string())?;
        Ok(schedule)
    }
}

impl From<Schedule> for ScheduleText {
    fn from(schedule: Schedule) -> ScheduleText {
        schedule.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn hello_is_live_only_and_goes_to_the_default_topic() {
        let lobby = Topic::parse("lobby").unwrap();
        let hello = Schedule::hello();
        assert_eq!(hello.topic(&lobby), lobby);
        assert_eq!(hello.every(), Duration::from_secs(2));
        let expected = Event::new("hello").event("message").id("1").keep(false);
        assert_eq!(hello.event(SystemTime::now(), 9), expected);
    }

    #[test]
    fn data_may_hold_the_time_and_the_count() {
        let schedule = schedule("topic = 't'\nevery = '10ms'\ndata = '{\"at\":\"{now}\",\"n\":{n}}'\nretry = '1s'");
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_042);
        let expected = Event::new("{\"at\":\"2023-11-14T22:13:20.042Z\",\"n\":7}").retry(Duration::from_secs(1));
        assert_eq!(schedule.event(now, 7), expected.keep(false));
        assert_eq!(schedule.topic(&Topic::parse("default").unwrap()).as_str(), "t");
    }

    #[test]
    fn an_event_is_kept_only_if_the_schedule_says_so() {
        let schedule = schedule("every = '1s'\ndata = '{}'\nkeep = true");
        assert_eq!(schedule.event(SystemTime::now(), 1), Event::new("{}"));
    }

    #[test]
    fn a_schedule_made_in_the_process_is_the_one_that_is_read() {
        let event = Event::new("{n}").event("tick").id("1").retry(Duration::from_secs(3)).keep(false);
        let topic = Topic::parse("a/b").unwrap();
        let made = Schedule::new(&topic, Duration::from_millis(1_500), &event).unwrap();
        let read: Schedule = toml::from_str(&toml::to_string(&made).unwrap()).unwrap();
        assert_eq!(made, read);
        assert_eq!((made.every(), made.topic(&Topic::parse("other").unwrap())), (Duration::from_millis(1_500), topic));
        assert_eq!(made.event(SystemTime::UNIX_EPOCH, 7), Event { data: "7".into(), ..event });
    }

    #[test]
    fn what_can_not_be_scheduled_is_named() {
        let check = |every_ms, event: Event<'_>, field| {
            let every = Duration::from_millis(every_ms);
            let error = Schedule::new(&Topic::parse("a").unwrap(), every, &event).unwrap_err().to_string();
            assert_eq!(error.split(':').next(), Some(field), "{error}");
        };
        check(9, Event::new(""), "every");
        check(400 * 86_400_000, Event::new(""), "every");
        check(10, Event::new("").key("k"), "key");
        check(10, Event::new("").id("a\nb"), "id");
        assert!(Schedule::new(&Topic::parse("a").unwrap(), Duration::from_millis(10), &Event::new("")).is_ok());
    }
}
