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
