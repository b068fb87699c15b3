//! Log lines on stderr: readable on a terminal, JSON elsewhere.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::config::{Directives, Log, LogFormat};

/// Changes what is logged.
type SetLevel = Box<dyn Fn(&Directives) + Send + Sync>;

static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Starts to log as configured, for the whole process.
///
/// # Errors
/// If something in the process logs elsewhere already.
pub fn init(log: &Log) -> Result<(), tracing::dispatcher::SetGlobalDefaultError> {
    let terminal = io::stderr().is_terminal();
    // See https://no-color.org
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (dispatch, set_level) = dispatch(log, terminal, colour, io::stderr);
    tracing::dispatcher::set_global_default(dispatch)?;
    // Empty until now, since there is one default only.
    let _ = SET_LEVEL.set(set_level);
    Ok(())
}

/// Changes what is logged from now on; nothing, where [`init`] was not called.
pub fn set_level(level: &Directives) {
    if let Some(set_level) = SET_LEVEL.get() {
        set_level(level);
    }
}

fn dispatch<W>(log: &Log, terminal: bool, colour: bool, writer: W) -> (Dispatch, SetLevel)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = |level: &Directives| EnvFilter::new(level.as_str());
    let lines = tracing_subscriber::fmt().with_env_filter(filter(&log.level)).with_writer(writer);
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

    #[test]
    fn the_level_is_kept() {
        assert_eq!(logged(LogFormat::Json, "debug", false).lines().count(), 2);
        assert_eq!(logged(LogFormat::Json, "warn", false), "");
        assert_eq!(logged(LogFormat::Json, "warn,sluicegate=debug", false).lines().count(), 2);
    }
}
