//! Log lines on stderr: readable on a terminal, JSON elsewhere.
//!
//! To log neither waits nor fails, whatever became of stderr: lines are handed to a thread that
//! writes them, and are dropped and counted where it can't.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error;
use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::Dispatch;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::config::{Directives, Log, LogFormat};
use super::limits::LOG_LINES_MAX;

/// How long the last lines may take to be written before the process ends without them.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Changes what is logged.
type SetLevel = Box<dyn Fn(&Directives) + Send + Sync>;

static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();
/// Lines that found no room on their way to the thread that writes.
static NO_ROOM: OnceLock<ErrorCounter> = OnceLock::new();
/// Lines that stderr did not take.
static NOT_TAKEN: AtomicU64 = AtomicU64::new(0);
/// The thread that writes.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Writes the last lines when it is dropped.
#[must_use = "the last lines are written when it is dropped"]
#[derive(Debug)]
pub struct LastLines(());

impl Drop for LastLines {
    fn drop(&mut self) {
        finish();
    }
}

/// Starts to log as configured, for the whole process, panics included.
///
/// # Errors
/// If something in the process logs elsewhere already.
pub fn init(log: &Log) -> Result<LastLines, tracing::dispatcher::SetGlobalDefaultError> {
    let terminal = io::stderr().is_terminal();
    // See https://no-color.org
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (lines, writer) = non_blocking(Stderr);
    let no_room = lines.error_counter();
    let (dispatch, set_level) = dispatch(log, terminal, colour, lines);
    tracing::dispatcher::set_global_default(dispatch)?;
    // Empty until now, since there is one default only.
    let _ = SET_LEVEL.set(set_level);
    let _ = NO_ROOM.set(no_room);
    *WRITER.lock() = Some(writer);
    // The standard library's own waits for stderr, so that a thread which panics might never end.
    std::panic::set_hook(Box::new(log_panic));
    Ok(LastLines(()))
}

/// Changes what is logged from now on; nothing, where [`init`] was not called.
pub fn set_level(level: &Directives) {
    if let Some(set_level) = SET_LEVEL.get() {
        set_level(level);
    }
}

/// How many lines were dropped, since stderr did not take them or not as fast as they came.
pub fn lines_dropped() -> u64 {
    NO_ROOM.get().map_or(0, |counter| counter.dropped_lines() as u64) + NOT_TAKEN.load(Ordering::Relaxed)
}

/// Writes the lines that were logged so far, for the last time, if that is done in a moment. For the
/// end of the process: what is logged later is dropped.
pub fn finish() {
    let writer = WRITER.lock().take();
    in_a_moment(move || drop(writer));
}

/// An error with all its causes, in a line.
pub fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}

/// Writes a line to stderr that is no log line, if that is done in a moment.
pub fn say(line: &str) {
    let line = format!("sluicegate: {line}\n");
    // Where that fails there is nowhere to say so.
    in_a_moment(move || drop(io::stderr().write_all(line.as_bytes())));
}

/// Runs this on a thread of its own, and waits for its end no longer than [`LAST_LINES`].
pub(super) fn in_a_moment(run: impl FnOnce() + Send + 'static) {
    let (ended, end) = mpsc::channel::<()>();
    let running = thread::Builder::new().name("last-lines".to_owned()).spawn(move || {
        let _ended = ended;
        run();
    });
    if running.is_ok() {
        // Nothing is ever sent: it fails when the thread ends, or when that takes too long.
        let _ = end.recv_timeout(LAST_LINES);
    }
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let message = info.payload_as_str().unwrap_or("without a message");
    let at = info.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&backtrace));
    tracing::error!(thread = thread.name(), at, backtrace, "panicked: {message}");
}

/// Stderr for the thread that writes: whatever it does not take is dropped and counted.
struct Stderr;

impl Write for Stderr {
    /// A whole line, since `NonBlocking` hands over nothing less.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if io::stderr().write_all(line).is_err() {
            NOT_TAKEN.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn non_blocking(writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LOG_LINES_MAX).thread_name("log");
    builder.finish(writer)
}

fn dispatch<W>(log: &Log, terminal: bool, colour: bool, writer: W) -> (Dispatch, SetLevel)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = |level: &Directives| EnvFilter::new(level.as_str());
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter(&log.level)).with_writer(writer).log_internal_errors(false);
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    if json {
        let lines = lines.json().flatten_event(true).with_span_list(false).with_filter_reloading();
        let handle = lines.reload_handle();
        // It fails only where its subscriber is gone, and then nothing is logged.
        (Dispatch::new(lines.finish()), Box::new(move |level| drop(handle.reload(filter(level)))))
    } else {
        let lines = lines.with_ansi(colour).with_filter_reloading();
        let handle = lines.reload_handle();
        (Dispatch::new(lines.finish()), Box::new(move |level| drop(handle.reload(filter(level)))))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str, terminal: bool) -> String {
        let lines = Lines::default();
        let log = Log { format, level: Directives::parse(level).unwrap() };
        let writer = lines.clone();
        let (dispatch, set_level) = dispatch(&log, terminal, false, move || writer.clone());
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!(streams = 3, "ready");
            tracing::debug!("detail");
            set_level(&Directives::parse("off").unwrap());
            tracing::error!("unheard");
        });
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_terminal_gets_text_and_all_else_json() {
        for (format, terminal, json) in [
            (LogFormat::Auto, true, false),
            (LogFormat::Auto, false, true),
            (LogFormat::Text, false, false),
            (LogFormat::Json, true, true),
        ] {
            let line = logged(format, "info", terminal);
            assert_eq!(line.lines().count(), 1, "{line}");
            if json {
                let value: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(
                    (&value["message"], &value["streams"], &value["level"]),
                    (&"ready".into(), &3.into(), &"INFO".into())
                );
            } else {
                assert!(line.contains("ready streams=3"), "{line}");
            }
        }
    }

    /// Takes one line, and no more until its sender is dropped.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_no_room_are_dropped_and_counted() {
        let (stuck, receiver) = mpsc::channel();
        let (lines, writer) = non_blocking(Stuck(receiver));
        let no_room = lines.error_counter();
        let (dispatch, _) = dispatch(&Log::default(), false, false, lines);
        tracing::dispatcher::with_default(&dispatch, || {
            for line in 0..LOG_LINES_MAX + 100 {
                tracing::info!(line, "a line");
            }
        });
        // The one that is being written takes no room, once it is taken up.
        assert!([99, 100].contains(&no_room.dropped_lines()), "{}", no_room.dropped_lines());
        drop(stuck);
        drop(writer);
    }

    #[test]
    fn the_level_is_kept() {
        assert_eq!(logged(LogFormat::Json, "debug", false).lines().count(), 2);
        assert_eq!(logged(LogFormat::Json, "warn", false), "");
        assert_eq!(logged(LogFormat::Json, "warn,sluicegate=debug", false).lines().count(), 2);
    }
}
