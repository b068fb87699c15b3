//! The signals that end the process: the first asks it to drain, the second to leave at once. And
//! SIGHUP, which asks it to read its configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for SIGTERM and SIGINT from its creation on. They no longer end the process by
/// themselves from then.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts to listen. Needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// If a handler can't be installed.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the first signal and returns its name. The caller drains.
    pub async fn first(&mut self) -> &'static str {
        self.next().await
    }

    /// Waits for the second signal and returns its name. The caller exits at once.
    pub async fn second(&mut self) -> &'static str {
        self.next().await
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Listens for SIGHUP from its creation on. It no longer ends the process from then.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// Starts to listen. Needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// If the handler can't be installed.
    pub fn new() -> io::Result<Hangups> {
        Ok(Hangups(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one. Those that come between two calls count as one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a signal to this very process, whose default action is off by then.
    async fn raise(name: &'static str) {
        let command = format!("kill -s {name} {}", std::process::id());
        let kill = move || std::process::Command::new("sh").args(["-c", &command]).status();
        assert!(tokio::task::spawn_blocking(kill).await.unwrap().unwrap().success());
    }

    #[tokio::test]
    async fn the_first_signal_and_the_second_are_told_apart() {
        let mut signals = Signals::new().unwrap();
        raise("TERM").await;
        assert_eq!(signals.first().await, "SIGTERM");
        raise("INT").await;
        assert_eq!(signals.second().await, "SIGINT");
    }
}
