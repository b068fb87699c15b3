//! The body of a request.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

use crate::net::problem::{Problem, Refusal};

/// Reads a body of at most `limit` bytes that arrives within `deadline`. How many are held at once is
/// bounded by the connections of the control listener.
///
/// # Errors
/// 413 if it is longer, known before the first byte is read where the length is announced; 408 if
/// it is slow; 400 if it breaks off or its framing is malformed.
pub async fn read_body<B>(body: B, limit: usize, deadline: Duration) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes>,
{
    let too_large = || Problem::new(Refusal::BodyTooLarge, format!("the body is longer than {limit} bytes"));
    if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > limit) {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let read = async {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::new(Refusal::BadBody, "the body is malformed or broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > limit - first.len().max(all.len()) {
                return Err(too_large());
            }
            if first.is_empty() {
                first = data;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    };
    tokio::time::timeout(deadline, read).await.unwrap_or_else(|_| {
        let detail = format!("the body took longer than {}", humantime::format_duration(deadline));
        Err(Problem::new(Refusal::BodyTooSlow, detail))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::{Frame, SizeHint};

    use super::*;

    /// A body of these parts. `None` is a pause that never ends.
    struct Parts {
        parts: VecDeque<Option<&'static str>>,
        announced: Option<u64>,
    }

    impl Body for Parts {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if let Some(None) = self.parts.front() {
                return Poll::Pending;
            }
            let part = self.parts.pop_front().flatten();
            Poll::Ready(part.map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))))
        }

        fn size_hint(&self) -> SizeHint {
            self.announced.map(SizeHint::with_exact).unwrap_or_default()
        }
    }

    #[test]
    fn bodies_are_bounded_in_size_and_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let check = |parts: &[Option<&'static str>], announced, expected: Result<&str, Refusal>| {
            let body = Parts { parts: parts.iter().copied().collect(), announced };
            let read = runtime.block_on(read_body(body, 5, Duration::from_millis(20)));
            assert_eq!(read.as_deref().map_err(|p| p.reason()), expected.map(str::as_bytes), "{parts:?}");
        };
        check(&[], None, Ok(""));
        check(&[Some("ab"), Some(""), Some("cd"), Some("e")], None, Ok("abcde"));
        check(&[Some("abcde")], Some(5), Ok("abcde"));
        check(&[None], Some(6), Err(Refusal::BodyTooLarge));
        check(&[None], Some(u64::MAX), Err(Refusal::BodyTooLarge));
        check(&[Some("abcdef")], None, Err(Refusal::BodyTooLarge));
        check(&[Some("abc"), Some("def"), None], None, Err(Refusal::BodyTooLarge));
        check(&[Some("abc"), None], None, Err(Refusal::BodyTooSlow));
    }
}
