//! The data of one test event, laid out so that a reader can check all of it with three compares.
//!
//! ```text
//! nnnnnnnnnn dddddddddddddddd kkkkkk ppppp…
//! number     due, ns          key    padding: a fixed text, entered at a place that depends on number and key
//! ```
//! Number and key are the publisher's; the key says whose event it is (the topic's index, 0 where there is one
//! topic). An event glued together from two others, cut short or meant for another topic does not pass.

/// Bytes before the padding.
pub(crate) const HEAD: usize = 10 + 1 + 16 + 1 + 6 + 1;
/// The places at which the padding may enter the text.
const PLACES: usize = 61;

/// What an event says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) number: u32,
    pub(crate) due_ns: u64,
    pub(crate) key: u32,
}

/// Writes and checks events of one size.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    text: Vec<u8>,
    padding: usize,
}

impl Layout {
    /// Events of `size` bytes, and of `HEAD` at the least.
    pub(crate) fn new(size: usize) -> Self {
        let padding = size.saturating_sub(HEAD);
        // Letters and digits only, so that the text needs no escape in JSON; mixed, so that a shift shows.
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut state = 0x2545_f491_u32;
        let text = (0..padding + PLACES)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                ALPHABET[(state >> 27) as usize]
            })
            .collect();
        Self { text, padding }
    }

    fn padding(&self, number: u32, key: u32) -> &[u8] {
        let place = (number as usize + key as usize * 7) % PLACES;
        &self.text[place..place + self.padding]
    }

    pub(crate) fn write(&self, event: Event, out: &mut Vec<u8>) {
        digits(u64::from(event.number), 10, out);
        out.push(b' ');
        digits(event.due_ns, 16, out);
        out.push(b' ');
        digits(u64::from(event.key), 6, out);
        out.push(b' ');
        out.extend_from_slice(self.padding(event.number, event.key));
    }

    /// The event, if every byte is as it was written.
    pub(crate) fn read(&self, data: &[u8]) -> Option<Event> {
        if data.len() != HEAD + self.padding || data[10] != b' ' || data[27] != b' ' || data[34] != b' ' {
            return None;
        }
        let event = Event {
            number: u32::try_from(number(&data[..10])?).ok()?,
            due_ns: number(&data[11..27])?,
            key: number(&data[28..34])? as u32,
        };
        (&data[HEAD..] == self.padding(event.number, event.key)).then_some(event)
    }
}

/// The event of a schedule whose data is `{n} {now}`: due when the wall clock, whose epoch is at `epoch_ns` of the
/// run's clock, showed that time.
pub(crate) fn tick(data: &[u8], epoch_ns: i64) -> Option<Event> {
    let (n, time) = std::str::from_utf8(data).ok()?.split_once(' ')?;
    let due_ns = epoch_ns.checked_add(unix_ms(time)?.checked_mul(1_000_000)?)?;
    Some(Event { number: n.parse().ok()?, due_ns: u64::try_from(due_ns).unwrap_or(0), key: 0 })
}

/// Milliseconds since 1970 of `2026-01-31T23:59:59.999Z`.
fn unix_ms(time: &str) -> Option<i64> {
    let field = |range: std::ops::Range<usize>| time.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (field(0..4)?, field(5..7)?, field(8..10)?);
    let (hour, minute, second, ms) = (field(11..13)?, field(14..16)?, field(17..19)?, field(20..23)?);
    // Years from March on, so that a leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + ms)
}

fn digits(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + width, b'0');
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then_some(sum * 10 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_dated() {
        for (time, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T12:34:56.789Z", 951_827_696_789),
            ("2026-11-23T09:00:00.001Z", 1_795_424_400_001),
        ] {
            assert_eq!(unix_ms(time), Some(ms), "{time}");
        }
        let event = Event { number: 3, due_ns: 2_000_000, key: 0 };
        assert_eq!(tick(b"3 1970-01-01T00:00:00.001Z", 1_000_000), Some(event));
        assert_eq!(tick(b"3 yesterday", 0), None);
    }

    #[test]
    fn reads_what_it_wrote_and_nothing_else() {
        for size in [1, HEAD, HEAD + 1, 100, 4_096] {
            let layout = Layout::new(size);
            let event = Event { number: 4_000_000_000, due_ns: 123_456_789_012, key: 17_999 };
            let mut data = Vec::new();
            layout.write(event, &mut data);
            assert_eq!(data.len(), size.max(HEAD));
            assert_eq!(layout.read(&data), Some(event));
            assert_eq!(layout.read(&data[1..]), None);
            assert_eq!(layout.read(&data[..data.len() - 1]), None);
            if size > HEAD + PLACES {
                for place in [0, 10, 27, 34, HEAD, data.len() - 1] {
                    let mut bad = data.clone();
                    bad[place] ^= 0x55;
                    assert_eq!(layout.read(&bad), None, "byte {place}");
                }
            }
        }
    }
}
