//! Events on a timer, as configured.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::limits::PERIOD_MS_MIN;
use super::units::Time;
use crate::hub::event::{self, Event};
use crate::hub::topic::Topic;

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
        })
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
        event.keep(text.keep)
    }
}

impl TryFrom<ScheduleText> for Schedule {
    type Error = String;

    fn try_from(text: ScheduleText) -> Result<Schedule, String> {
        let topic = Topic::parse(text.topic.as_deref().unwrap_or("default")).map_err(|fault| fault.to_string())?;
        let schedule = Schedule(text);
        event::check(&[topic], &schedule.event(SystemTime::UNIX_EPOCH, 1)).map_err(|fault| fault.to_string())?;
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
}
