//! One HTTP/1.1 response, read as it comes: head, then a body that is chunked, counted or ended by close.

use std::fmt::Write as _;

use crate::{
    Result,
    sse::{self, Frame},
};

/// A head longer than this is not one of ours.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What a response head says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Body,
    /// Length of the head itself, blank line included.
    pub(crate) bytes: usize,
}

/// How the end of a body is known, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Chunked(Chunked),
    Counted(u64),
    UntilClose,
}

/// The head at the front of `bytes`, once it is whole.
pub(crate) fn head(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(format!("the response head is longer than {HEAD_BYTES_MAX} bytes"));
        }
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| format!("the answer is not HTTP/1.x: {first:?}"))?;
    let mut head = Head { status, content_type: String::new(), body: Body::UntilClose, bytes: end + 4 };
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.trim().to_ascii_lowercase();
        match name.to_ascii_lowercase().as_str() {
            "content-type" => head.content_type = value,
            "content-length" => {
                head.body = Body::Counted(value.parse().map_err(|_| format!("bad content-length {value:?}"))?);
            }
            "transfer-encoding" if value == "chunked" => head.body = Body::Chunked(Chunked::default()),
            _ => {}
        }
    }
    Ok(Some(head))
}

/// Where a chunked body stands between two reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// In the hex digits of a size, of which `digits` were seen.
    Size {
        size: u64,
        digits: u8,
    },
    /// In a chunk extension, or at the LF after the size.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// At the CRLF after a chunk's data.
    DataEnd,
    DataEndLf,
    /// In the trailer; `bare` while the line is empty so far.
    Trailer {
        bare: bool,
    },
    End,
}

impl Default for Chunked {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunked {
    /// Takes framing off the front of `input` up to the next piece of body; `None` when `input` is used up or the
    /// body has ended.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
        loop {
            if input.is_empty() || *self == Self::End {
                return Ok(None);
            }
            if let Self::Data { left } = *self {
                let take = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let (piece, rest) = input.split_at(take);
                *input = rest;
                let left = left - take as u64;
                *self = if left == 0 { Self::DataEnd } else { Self::Data { left } };
                return Ok(Some(piece));
            }
            let byte = input[0];
            *input = &input[1..];
            *self = self.after(byte).ok_or_else(|| format!("bad chunk framing: byte {byte:#04x} in {self:?}"))?;
        }
    }

    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size { size, digits: 1.. }, b'\r' | b';' | b' ') => Self::SizeEnd { size },
            (Self::Size { size, digits: digits @ ..16 }, _) => {
                Self::Size { size: size << 4 | u64::from((byte as char).to_digit(16)?), digits: digits + 1 }
            }
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer { bare: true },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::SizeEnd { size }, _) => Self::SizeEnd { size },
            (Self::DataEnd, b'\r') => Self::DataEndLf,
            (Self::DataEndLf, b'\n') => Self::default(),
            (Self::Trailer { bare: true }, b'\n') => Self::End,
            (Self::Trailer { .. }, b'\n') => Self::Trailer { bare: true },
            (Self::Trailer { bare }, b'\r') => Self::Trailer { bare },
            (Self::Trailer { .. }, _) => Self::Trailer { bare: false },
            _ => return None,
        })
    }
}

/// One stream's reader: state of a few dozen bytes, and a buffer only while a head or a frame is cut.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// `None` until the head was read.
    body: Option<Body>,
    carry: Vec<u8>,
}

impl Reader {
    /// Whether the head was read and was that of an event stream.
    pub(crate) fn is_open(&self) -> bool {
        self.body.is_some()
    }

    /// Whether the body ended properly (rather than by a close).
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.body, Some(Body::Chunked(Chunked::End) | Body::Counted(0)))
    }

    /// Whether the reader stands between two frames with nothing carried over: two readers at rest do the same
    /// with the same bytes.
    pub(crate) fn is_at_rest(&self) -> bool {
        const BETWEEN: Chunked = Chunked::Size { size: 0, digits: 0 };
        self.carry.is_empty() && matches!(self.body, Some(Body::Chunked(BETWEEN) | Body::UntilClose))
    }

    /// Reads on; `each` gets every frame that became whole.
    pub(crate) fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) -> Result<()> {
        match &mut self.body {
            None => self.feed_head(bytes, each),
            Some(Body::UntilClose) => {
                sse::feed(&mut self.carry, bytes, each);
                Ok(())
            }
            Some(Body::Counted(left)) => {
                let take = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= take as u64;
                sse::feed(&mut self.carry, &bytes[..take], each);
                Ok(())
            }
            Some(Body::Chunked(chunked)) => {
                let mut input = bytes;
                while let Some(piece) = chunked.next(&mut input)? {
                    sse::feed(&mut self.carry, piece, each);
                }
                Ok(())
            }
        }
    }

    fn feed_head(&mut self, bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) -> Result<()> {
        self.carry.extend_from_slice(bytes);
        let Some(head) = head(&self.carry)? else {
            return Ok(());
        };
        let rest = self.carry.split_off(head.bytes);
        self.carry = Vec::new();
        if head.status != 200 {
            return Err(refusal(&head, &rest));
        }
        if !head.content_type.starts_with("text/event-stream") {
            return Err(format!("answered 200 but with content-type {:?}, not text/event-stream", head.content_type));
        }
        self.body = Some(head.body);
        if rest.is_empty() { Ok(()) } else { self.feed(&rest, each) }
    }
}

/// One line about an answer that is not the one we asked for, with the start of its body.
pub(crate) fn refusal(head: &Head, body: &[u8]) -> String {
    let mut line = format!("answered {}", head.status);
    let body: String = String::from_utf8_lossy(body).chars().take(200).collect();
    let body = body.split_whitespace().collect::<Vec<_>>().join(" ");
    if !body.is_empty() {
        let _ = write!(line, ": {body}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\n:\n\n\r\n000f\r\ndata: 1\n\ndata: \r\n3;x=y\r\n2\n\n\r\nA\r\ndata: 3\n\n\n\r\n0\r\nt: v\r\n\r\n";
    const COUNTED: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 30\r\n\r\n:\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\nrest";
    const CLOSED: &[u8] =
        b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream;charset=utf-8\r\n\r\ndata: 1\n\n:x\n\ndata: 2\n\ndata: 3\n\n";

    fn read(pieces: &[&[u8]]) -> (Vec<String>, Reader) {
        let (mut reader, mut seen) = (Reader::default(), Vec::new());
        for piece in pieces {
            reader
                .feed(piece, &mut |frame| {
                    seen.extend(frame.data.map(|data| String::from_utf8_lossy(data).into_owned()));
                })
                .unwrap();
        }
        (seen, reader)
    }

    #[test]
    fn a_response_reads_the_same_wherever_it_is_cut() {
        for response in [CHUNKED, COUNTED, CLOSED] {
            for cut in 0..=response.len() {
                let (seen, reader) = read(&[&response[..cut], &response[cut..]]);
                assert_eq!(seen, ["1", "2", "3"], "cut at {cut}");
                assert!(reader.is_open());
                assert_eq!(reader.has_ended(), response != CLOSED);
                assert_eq!(reader.is_at_rest(), response == CLOSED);
            }
            let bytes: Vec<&[u8]> = response.chunks(1).collect();
            assert_eq!(read(&bytes).0, ["1", "2", "3"]);
        }
    }

    #[test]
    fn a_reader_rests_between_chunks_that_hold_whole_frames() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
        assert!(read(&[whole]).1.is_at_rest());
        assert!(!read(&[&whole[..whole.len() - 1]]).1.is_at_rest());
        assert!(!read(&[whole, b"5\r\ndata:\r\n"]).1.is_at_rest());
        assert!(!read(&[whole, b"1"]).1.is_at_rest());
    }

    #[test]
    fn bad_answers_are_named() {
        let check = |response: &[u8], expected: &str| {
            let problem = Reader::default().feed(response, &mut |_| {}).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        };
        check(b"SSH-2.0-x\r\n\r\n", "not HTTP");
        check(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nno\nx", "answered 404: no x");
        check(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n", "text/html");
        check(&[b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; HEAD_BYTES_MAX]].concat(), "longer than");
        check(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n1\r\n:\n1\r\n",
            "bad chunk framing",
        );
        check(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nzz",
            "bad chunk framing",
        );
    }
}
