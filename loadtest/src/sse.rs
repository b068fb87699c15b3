//! Frames of a `text/event-stream` body, as they come: a body piece at a time, cut anywhere.
//!
//! Lines end with LF or CRLF. A lone CR as a line end is allowed by the format but no server we drive writes it;
//! it would show up as corrupted events, not as lost ones.

/// One frame: what stood before a blank line, or a comment that stood alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) event: Option<&'a [u8]>,
    /// The first `data` line.
    pub(crate) data: Option<&'a [u8]>,
    pub(crate) data_lines: u32,
    pub(crate) comment: bool,
}

/// Hands on every whole frame of `body`; `carry` keeps the piece of a frame that was cut.
pub(crate) fn feed(carry: &mut Vec<u8>, body: &[u8], each: &mut impl FnMut(Frame<'_>)) {
    if carry.is_empty() {
        let used = split(body, each);
        carry.extend_from_slice(&body[used..]);
    } else {
        carry.extend_from_slice(body);
        let used = split(carry, each);
        carry.drain(..used);
    }
}

/// Hands on the whole frames at the front of `bytes` and returns their length.
fn split(bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) -> usize {
    let (mut used, mut line_start) = (0, 0);
    let mut frame = Frame::default();
    for line_end in memchr::memchr_iter(b'\n', bytes) {
        let line = &bytes[line_start..line_end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line_start = line_end + 1;
        if line.is_empty() {
            if frame != Frame::default() {
                each(frame);
                frame = Frame::default();
            }
            used = line_start;
        } else if frame == Frame::default() && acts_at_once(line) {
            if line[0] == b':' {
                each(Frame { comment: true, ..Frame::default() });
            }
            used = line_start;
        } else {
            take_line(&mut frame, line);
        }
    }
    used
}

/// Whether a line needs no blank line after it: a comment, as heartbeats are, or a time to wait before a return.
fn acts_at_once(line: &[u8]) -> bool {
    line[0] == b':' || field(line, b"retry").is_some()
}

fn take_line<'a>(frame: &mut Frame<'a>, line: &'a [u8]) {
    if let Some(value) = field(line, b"data") {
        frame.data = frame.data.or(Some(value));
        frame.data_lines += 1;
    } else if let Some(value) = field(line, b"id") {
        frame.id = Some(value);
    } else if let Some(value) = field(line, b"event") {
        frame.event = Some(value);
    } else if line[0] == b':' {
        frame.comment = true;
    }
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] =
        b":\n\nid: e-1\ndata: one\n\n: beat\r\n\r\nid:e-2\r\nevent: news\r\ndata:two\r\n:\r\ndata:\r\n\r\n\n\nretry: 5\ndata\n\nid: m-3\n\n:\n:\n";

    fn frames(pieces: &[&[u8]]) -> Vec<String> {
        let (mut carry, mut seen) = (Vec::new(), Vec::new());
        for piece in pieces {
            feed(&mut carry, piece, &mut |frame| {
                let text = |value: Option<&[u8]>| value.map(|v| String::from_utf8_lossy(v).into_owned());
                seen.push(format!(
                    "{:?} {:?} {:?} {} {}",
                    text(frame.id),
                    text(frame.event),
                    text(frame.data),
                    frame.data_lines,
                    frame.comment
                ));
            });
        }
        assert!(carry.is_empty());
        seen
    }

    #[test]
    fn a_body_reads_the_same_wherever_it_is_cut() {
        let whole = frames(&[BODY]);
        assert_eq!(
            whole,
            [
                "None None None 0 true",
                "Some(\"e-1\") None Some(\"one\") 1 false",
                "None None None 0 true",
                "Some(\"e-2\") Some(\"news\") Some(\"two\") 2 true",
                "None None Some(\"\") 1 false",
                "Some(\"m-3\") None None 0 false",
                "None None None 0 true",
                "None None None 0 true",
            ]
        );
        for cut in 0..=BODY.len() {
            assert_eq!(frames(&[&BODY[..cut], &BODY[cut..]]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = BODY.chunks(1).collect();
        assert_eq!(frames(&bytes), whole);
    }
}
