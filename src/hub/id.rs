//! Event ids that the log generates: `epoch-number`, both of fixed width.
//!
//! An id is 21 bytes of `[0-9a-z-]`: short and plain enough that a browser needs no CORS preflight
//! to send it back as `Last-Event-ID` (the fetch standard's pending safelist allows 128 bytes).

use std::fmt;

const EPOCH_LEN: usize = 8;
const NUMBER_LEN: usize = 12;
/// The length of every generated id, in bytes.
pub const ID_LEN: usize = EPOCH_LEN + 1 + NUMBER_LEN;
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const EPOCHS: u64 = 36u64.pow(EPOCH_LEN as u32);
/// One more than the greatest number that fits an id: 62 bits.
const NUMBERS: u64 = 36u64.pow(NUMBER_LEN as u32);

/// Which life of the log an id belongs to. A log that starts empty starts a new epoch, so that an
/// id of an earlier life can't be mistaken for one of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch([u8; EPOCH_LEN]);

impl Epoch {
    /// An epoch from 64 random bits.
    pub fn new(random: u64) -> Epoch {
        let mut digits = [0; EPOCH_LEN];
        write_base36(random % EPOCHS, &mut digits);
        Epoch(digits)
    }

    /// Reads an epoch: `None` if these are no digits of base 36.
    pub fn from_digits(digits: [u8; EPOCH_LEN]) -> Option<Epoch> {
        digits.iter().all(|digit| DIGITS.contains(digit)).then_some(Epoch(digits))
    }

    /// The digits, as they stand in ids.
    pub fn digits(&self) -> &[u8; EPOCH_LEN] {
        &self.0
    }

    /// The id with this number. Only the log knows which event that is.
    pub fn id(&self, number: u64) -> EventId {
        let mut bytes = [b'-'; ID_LEN];
        bytes[..EPOCH_LEN].copy_from_slice(&self.0);
        assert!(number < NUMBERS, "an epoch has at most {NUMBERS} ids");
        write_base36(number, &mut bytes[EPOCH_LEN + 1..]);
        EventId(bytes)
    }

    /// Reads an id of the generated form.
    pub fn parse(&self, id: &str) -> Parsed {
        let bytes = id.as_bytes();
        if bytes.len() != ID_LEN || bytes[EPOCH_LEN] != b'-' {
            return Parsed::Other;
        }
        let (Some(_), Some(number)) = (read_base36(&bytes[..EPOCH_LEN]), read_base36(&bytes[EPOCH_LEN + 1..])) else {
            return Parsed::Other;
        };
        if bytes[..EPOCH_LEN] == self.0 { Parsed::Here(number) } else { Parsed::Foreign }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).expect("base 36 digits are ASCII"))
    }
}

/// What an id says to an [`Epoch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Of this epoch, with this number.
    Here(u64),
    /// Of the generated form, but from another epoch.
    Foreign,
    /// Not of the generated form: perhaps a publisher's own id.
    Other,
}

/// A generated id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId([u8; ID_LEN]);

impl EventId {
    /// The id as it stands on the wire.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base 36 digits and a hyphen are ASCII")
    }
}

impl AsRef<str> for EventId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn write_base36(mut value: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(value % 36) as usize];
        value /= 36;
    }
}

fn read_base36(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'z' => digit - b'a' + 10,
            _ => return None,
        };
        value.checked_mul(36)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_reads_back_and_nothing_else_does() {
        let epoch = Epoch::new(0x0123_4567_89ab_cdef);
        assert_eq!(Epoch::from_digits(*epoch.digits()), Some(epoch));
        assert_eq!(
            (Epoch::new(0).to_string(), Epoch::new(EPOCHS - 1).to_string()),
            ("00000000".into(), "zzzzzzzz".into())
        );
        for bad in [*b"0000000A", *b"000-0000", [0; 8], *b"000\xff0000"] {
            assert_eq!(Epoch::from_digits(bad), None);
        }
    }

    #[test]
    fn ids_read_back_in_their_epoch_only() {
        let epoch = Epoch::new(0x0123_4567_89ab_cdef);
        for number in [0, 1, 35, 36, NUMBERS - 1] {
            let id = epoch.id(number);
            assert_eq!(id.as_str().len(), ID_LEN);
            assert!(id.as_str().bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || b == b'-'));
            assert_eq!(epoch.parse(id.as_str()), Parsed::Here(number));
            assert_eq!(Epoch::new(7).parse(id.as_str()), Parsed::Foreign);
        }
        for other in ["", "1", "earliest", "012345678901234567890", "ABCDEFGH-000000000001", "00000000-00000000000é"] {
            assert_eq!(epoch.parse(other), Parsed::Other, "{other}");
        }
    }
}
