//! How a connection ends.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::transport::Transport;

/// How long, and for how many bytes, a closing connection still takes what the client sends.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 16 * 1024 * 1024);

/// Writes the last words, and closes without a reset: closing a socket that has unread input
/// makes the kernel send one, and it would take the answer from under the client's eyes.
pub(super) async fn close(mut stream: impl Transport, last_words: Option<Vec<u8>>) {
    let linger = async {
        if let Some(words) = last_words {
            stream.write_all(&words).await?;
        }
        stream.shutdown().await?;
        let mut scratch = vec![0; 16 * 1024];
        let mut drained = 0;
        while drained < LINGER.1 {
            match stream.read(&mut scratch).await? {
                0 => break,
                read => drained += read,
            }
        }
        io::Result::Ok(())
    };
    // Nothing can be done about a failure, nor about a client that never ends.
    let _ = tokio::time::timeout(LINGER.0, linger).await;
}
