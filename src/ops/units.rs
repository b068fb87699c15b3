//! Quantities as an operator writes them: durations and sizes with a unit, counts and fractions in
//! a range. A value of these types can't be out of its range.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error as _, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// One KiB, in bytes.
pub const KIB: u64 = 1024;
/// One MiB, in bytes.
pub const MIB: u64 = 1024 * KIB;
/// One GiB, in bytes.
pub const GIB: u64 = 1024 * MIB;

/// The longest duration that may be configured, in milliseconds: 366 days. No deadline can overflow
/// the clock.
pub const TIME_MS_MAX: u64 = 366 * 24 * 3_600_000;

// ===== durations =====

/// A duration of whole milliseconds, from `MIN_MS` to `MAX_MS` of them; written with its unit, as in
/// `"15s"`, `"250ms"` or `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time<const MIN_MS: u64 = 0, const MAX_MS: u64 = TIME_MS_MAX>(Duration);

impl<const MIN_MS: u64, const MAX_MS: u64> Time<MIN_MS, MAX_MS> {
    /// A duration in milliseconds.
    ///
    /// # Panics
    /// If it is out of range; in a constant that is an error at compile time.
    pub const fn from_millis(millis: u64) -> Self {
        assert!(millis >= MIN_MS && millis <= MAX_MS, "the duration is out of its range");
        Time(Duration::from_millis(millis))
    }

    /// Reads a duration with its unit.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let time = parse_time(text)?;
        if time < Duration::from_millis(MIN_MS) {
            return Err(format!("{text:?} is too short, at least \"{MIN_MS}ms\" is needed"));
        }
        let max = Duration::from_millis(MAX_MS);
        if time > max {
            let max = humantime::format_duration(max);
            return Err(format!("{text:?} is too long, at most \"{max}\" is allowed"));
        }
        Ok(Time(time))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// A duration as [`Time`], or `"0s"` for off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOrOff<const MIN_MS: u64, const MAX_MS: u64 = TIME_MS_MAX>(Option<Time<MIN_MS, MAX_MS>>);

impl<const MIN_MS: u64, const MAX_MS: u64> TimeOrOff<MIN_MS, MAX_MS> {
    /// Off.
    pub const OFF: Self = TimeOrOff(None);

    /// A duration in milliseconds.
    ///
    /// # Panics
    /// If it is out of range; in a constant that is an error at compile time.
    pub const fn from_millis(millis: u64) -> Self {
        TimeOrOff(Some(Time::from_millis(millis)))
    }

    /// Reads a duration with its unit; zero is off.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if parse_time(text)?.is_zero() {
            return Ok(TimeOrOff::OFF);
        }
        Time::parse(text).map(|time| TimeOrOff(Some(time))).map_err(|e| format!("{e}, or \"0s\" for off"))
    }

    /// The duration, or `None` if it is off.
    pub fn get(self) -> Option<Duration> {
        self.0.map(Time::get)
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|e| format!("{text:?} is no duration with a unit, as in \"15s\" or \"250ms\": {e}"))?;
    if time.subsec_nanos() % 1_000_000 != 0 {
        return Err(format!("{text:?} is not in whole milliseconds, the tick of the clock"));
    }
    Ok(time)
}

impl<const MIN_MS: u64, const MAX_MS: u64> fmt::Display for Time<MIN_MS, MAX_MS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> fmt::Display for TimeOrOff<MIN_MS, MAX_MS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.get().unwrap_or_default()).fmt(f)
    }
}

// ===== sizes and counts =====

/// A number of bytes from `MIN` to `MAX`; written as an integer or with a unit, as in `"64MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// A number of bytes.
    ///
    /// # Panics
    /// If it is out of range; in a constant that is an error at compile time.
    pub const fn new(bytes: u64) -> Self {
        assert!(bytes >= MIN && bytes <= MAX, "the size is out of its range");
        Size(bytes)
    }

    /// Reads a number with or without a unit: B, KiB, MiB or GiB.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let scale = match text[digits..].trim_start() {
            "" | "B" => 1,
            "KiB" => KIB,
            "MiB" => MIB,
            "GiB" => GIB,
            unit => return Err(format!("{text:?} has the unit {unit:?}; B, KiB, MiB and GiB are known")),
        };
        let bytes = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
        Self::in_range(bytes.ok_or_else(|| format!("{text:?} is no size, as in \"64MiB\""))?)
    }

    fn in_range(bytes: u64) -> Result<Self, String> {
        if !(MIN..=MAX).contains(&bytes) {
            let (min, max) = (in_bytes(MIN), in_bytes(MAX));
            return Err(format!("{bytes} bytes is out of range, from {min} to {max} is allowed"));
        }
        Ok(Size(bytes))
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes, for a buffer's length.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_bytes(self.0))
    }
}

/// A number of bytes, exactly, in the greatest unit that divides it.
fn in_bytes(bytes: u64) -> String {
    match [("GiB", GIB), ("MiB", MIB), ("KiB", KIB)]
        .into_iter()
        .find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale))
    {
        Some((unit, scale)) => format!("{}{unit}", bytes / scale),
        None => format!("{bytes}B"),
    }
}

/// An integer from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// A count.
    ///
    /// # Panics
    /// If it is out of range; in a constant that is an error at compile time.
    pub const fn new(count: u64) -> Self {
        assert!(count >= MIN && count <= MAX, "the count is out of its range");
        Count(count)
    }

    fn in_range(count: u64) -> Result<Self, String> {
        if !(MIN..=MAX).contains(&count) {
            return Err(format!("{count} is out of range, from {MIN} to {MAX} is allowed"));
        }
        Ok(Count(count))
    }

    /// The count.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The count, for a collection's length.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A finite number from 0 to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Ratio<const MAX: u32>(f64);

impl<const MAX: u32> Ratio<MAX> {
    /// A ratio.
    ///
    /// # Panics
    /// If it is out of range; in a constant that is an error at compile time.
    pub const fn new(ratio: f64) -> Self {
        assert!(ratio >= 0.0 && ratio <= MAX as f64, "the ratio is out of its range");
        Ratio(ratio)
    }

    fn in_range(ratio: f64) -> Result<Self, String> {
        if !(0.0..=f64::from(MAX)).contains(&ratio) {
            return Err(format!("{ratio} is out of range, from 0 to {MAX} is allowed"));
        }
        Ok(Ratio(ratio))
    }

    /// The ratio.
    pub const fn get(self) -> f64 {
        self.0
    }
}

// ===== booleans =====

/// Reads a boolean where it is text, and not of a type of its own as in TOML and JSON: `true` or `1`,
/// `false` or `0`.
///
/// # Errors
/// What is wrong with it.
pub fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("is neither true (1) nor false (0)"),
    }
}

// ===== serde =====

/// Reads text, or a number where that is allowed too, with one function for each.
struct Reader<T> {
    expecting: &'static str,
    text: Option<ReadText<T>>,
    integer: Option<Read<u64, T>>,
    float: Option<Read<f64, T>>,
}

type ReadText<T> = fn(&str) -> Result<T, String>;
type Read<N, T> = fn(N) -> Result<T, String>;

impl<T> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        let read = self.text.ok_or_else(|| E::invalid_type(Unexpected::Str(text), &self))?;
        read(text).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        match (self.integer, self.float) {
            (Some(read), _) => read(number).map_err(E::custom),
            (None, Some(read)) => read(number as f64).map_err(E::custom),
            (None, None) => Err(E::invalid_type(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        let read = self.float.ok_or_else(|| E::invalid_type(Unexpected::Float(number), &self))?;
        read(number).map_err(E::custom)
    }
}

const TIME_EXPECTED: &str = "a duration with its unit, as in \"15s\"";

impl<'de, const MIN_MS: u64, const MAX_MS: u64> Deserialize<'de> for Time<MIN_MS, MAX_MS> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (expecting, text) = (TIME_EXPECTED, Some(Self::parse as ReadText<_>));
        from.deserialize_any(Reader { expecting, text, integer: None, float: None })
    }
}

impl<'de, const MIN_MS: u64, const MAX_MS: u64> Deserialize<'de> for TimeOrOff<MIN_MS, MAX_MS> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (expecting, text) = (TIME_EXPECTED, Some(Self::parse as ReadText<_>));
        from.deserialize_any(Reader { expecting, text, integer: None, float: None })
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (text, integer) = (Some(Self::parse as ReadText<_>), Some(Self::in_range as Read<_, _>));
        from.deserialize_any(Reader { expecting: "a number of bytes, as in \"64MiB\"", text, integer, float: None })
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let integer = Some(Self::in_range as Read<_, _>);
        from.deserialize_any(Reader { expecting: "a whole number", text: None, integer, float: None })
    }
}

impl<'de, const MAX: u32> Deserialize<'de> for Ratio<MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let float = Some(Self::in_range as Read<_, _>);
        from.deserialize_any(Reader { expecting: "a number", text: None, integer: None, float })
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> Serialize for Time<MIN_MS, MAX_MS> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> Serialize for TimeOrOff<MIN_MS, MAX_MS> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Size<MIN, MAX> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Count<MIN, MAX> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0)
    }
}

impl<const MAX: u32> Serialize for Ratio<MAX> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0)
    }
}

/// Text that is read into a type of the core and written back as it was.
pub(super) mod text {
    use super::*;
    use crate::hub::fault::Fault as _;
    use crate::hub::policy::SlowPolicy;
    use crate::hub::topic::{Pattern, Topic};

    pub(in crate::ops) trait Text: Sized {
        /// The reason alone if it can't be read: the error names the key it is in already.
        fn read(text: &str) -> Result<Self, String>;
        fn text(&self) -> &str;
    }

    impl Text for Topic {
        fn read(text: &str) -> Result<Topic, String> {
            Topic::parse(text).map_err(|error| error.reason())
        }
        fn text(&self) -> &str {
            self.as_str()
        }
    }

    impl Text for Pattern {
        fn read(text: &str) -> Result<Pattern, String> {
            Pattern::parse(text).map_err(|error| error.reason())
        }
        fn text(&self) -> &str {
            self.as_str()
        }
    }

    impl Text for SlowPolicy {
        fn read(text: &str) -> Result<SlowPolicy, String> {
            SlowPolicy::parse(text).map_err(|error| error.to_string())
        }
        fn text(&self) -> &str {
            self.as_ref()
        }
    }

    pub(in crate::ops) fn serialize<T: Text, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(value.text())
    }

    pub(in crate::ops) fn deserialize<'de, T: Text, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        T::read(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn time(text: &str, expected_ms: Option<u64>) {
        assert_eq!(Time::<10>::parse(text).ok().map(Time::get), expected_ms.map(Duration::from_millis), "{text:?}");
    }

    #[test]
    fn durations_need_a_unit_and_stay_in_range() {
        time("15s", Some(15_000));
        time("250ms", Some(250));
        time("1h", Some(3_600_000));
        time("1h 30m", Some(5_400_000));
        time("0.5s", Some(500));
        time("10ms", Some(10));
        time("9ms", None);
        time("0s", None);
        time("15", None);
        time("", None);
        time("-1s", None);
        time("10500us", None);
        time("366days", Some(366 * 24 * 3_600_000));
        time("367days", None);
        time("99999999999999999999years", None);
        assert_eq!(Time::<10, 2_000>::parse("2s"), Ok(Time::from_millis(2_000)));
        assert_eq!(
            Time::<10, 2_000>::parse("2001ms").unwrap_err(),
            "\"2001ms\" is too long, at most \"2s\" is allowed"
        );
        assert_eq!(TimeOrOff::<10>::parse("0s"), Ok(TimeOrOff::OFF));
        assert_eq!(TimeOrOff::<10>::parse("0"), Ok(TimeOrOff::OFF));
        assert!(TimeOrOff::<10>::parse("9ms").unwrap_err().contains("\"0s\" for off"));
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for ms in [10, 999, 1000, 61_001, 5_400_000, 31_557_600_000] {
            let time = Time::<10>::from_millis(ms);
            assert_eq!(Time::parse(&time.to_string()), Ok(time));
        }
        assert_eq!(TimeOrOff::<10>::OFF.to_string(), "0s");
    }

    #[test]
    fn booleans_in_text_are_words_or_digits() {
        assert_eq!(["true", "1", "false", "0"].map(boolean), [Ok(true), Ok(true), Ok(false), Ok(false)]);
        for bad in ["", "TRUE", "yes", "on", "off", "01", " 1", "2"] {
            assert!(boolean(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_take_a_unit_or_none() {
        type Small = Size<16, MIB>;
        for (text, expected) in [
            ("16", Some(16)),
            ("15", None),
            ("16B", Some(16)),
            ("1KiB", Some(1024)),
            ("1 KiB", Some(1024)),
            ("1MiB", Some(MIB)),
            ("1025KiB", None),
            ("1MB", None),
            ("KiB", None),
            ("", None),
            ("-1", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(Small::parse(text).ok().map(Small::get), expected, "{text:?}");
        }
        for bytes in [16, 1000, 1024, 1536, MIB] {
            assert_eq!(Small::parse(&Small::new(bytes).to_string()), Ok(Small::new(bytes)));
        }
        assert_eq!(Small::new(MIB).to_string(), "1MiB");
        assert_eq!(Small::new(1000).to_string(), "1000B");
    }
}
