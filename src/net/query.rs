//! Query strings by the rules of `application/x-www-form-urlencoded`, but strict: a malformed
//! escape is a fault, not text.

use std::borrow::Cow;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// How much of a name that isn't known is quoted back.
const QUOTED_BYTES_MAX: usize = 64;
/// A reason why a text can't be decoded.
pub(crate) const BAD_ESCAPE: &str = "holds a % that two hex digits don't follow";
/// A reason why a text can't be decoded.
pub(crate) const BAD_UTF8: &str = "isn't UTF-8 once decoded";

/// The pairs of a query string, still encoded. A pair without `=` has an empty value.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    // Most requests have none, and splitting costs as much as the rest of it.
    let pairs = (!query.is_empty()).then(|| query.split('&')).into_iter().flatten();
    pairs.filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A query without the pairs of this name.
pub(crate) fn without<'a>(query: &'a str, name: &str) -> Cow<'a, str> {
    if pairs(query).all(|(other, _)| other != name) {
        return Cow::Borrowed(query);
    }
    let is_other = |pair: &&str| pair.split('=').next() != Some(name);
    Cow::Owned(query.split('&').filter(is_other).collect::<Vec<_>>().join("&"))
}

/// What is quoted back of a name that isn't known.
pub(crate) fn quoted(name: &str) -> String {
    name[..name.floor_char_boundary(QUOTED_BYTES_MAX)].to_owned()
}

/// Decodes `%XX` to bytes, and `+` to a space if `plus` says so.
pub(crate) fn decode_bytes(text: &str, plus: bool) -> Result<Cow<'_, [u8]>, &'static str> {
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    // The decoder takes a malformed escape for text.
    let mut escapes = text.split('%').skip(1);
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    if !escapes.all(is_escape) {
        return Err(BAD_ESCAPE);
    }
    if plus && text.contains('+') {
        let spaced = text.replace('+', " ");
        return Ok(Cow::Owned(percent_decode_str(&spaced).collect()));
    }
    Ok(percent_decode_str(text).into())
}

/// Decodes to text.
pub(crate) fn decode(text: &str, plus: bool) -> Result<Cow<'_, str>, &'static str> {
    match decode_bytes(text, plus)? {
        Cow::Borrowed(_) => Ok(Cow::Borrowed(text)),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| BAD_UTF8),
    }
}

/// Reads a number of digits alone: `parse` would take a plus sign, too.
pub(crate) fn number<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, plus: bool, expected: Result<&str, &str>) {
        assert_eq!(decode(text, plus).as_deref().map_err(|e| *e), expected, "{text}");
    }

    #[test]
    fn decoding_is_strict() {
        check("", true, Ok(""));
        check("plain", true, Ok("plain"));
        check("a+b%2Bc", true, Ok("a b+c"));
        check("a+b%2Bc", false, Ok("a+b+c"));
        check("%c3%A4%00", true, Ok("ä\0"));
        check("50%", true, Err(BAD_ESCAPE));
        check("%4", true, Err(BAD_ESCAPE));
        check("%+4", true, Err(BAD_ESCAPE));
        check("%zz", true, Err(BAD_ESCAPE));
        check("%ff", true, Err(BAD_UTF8));
        check("%2541", true, Ok("%41"));
    }

    #[test]
    fn pairs_are_split_once() {
        let all: Vec<_> = pairs("a=1&&b&c==2&=x&").collect();
        assert_eq!(all, [("a", "1"), ("b", ""), ("c", "=2"), ("", "x")]);
    }

    #[test]
    fn numbers_are_digits_and_fit() {
        assert_eq!([number("0"), number("0010"), number("255")], [Some(0u8), Some(10), Some(255)]);
        for bad in ["", "+1", "-1", "1.5", "1 ", "256", "\u{663}"] {
            assert_eq!(number::<u8>(bad), None, "{bad:?}");
        }
    }
}
