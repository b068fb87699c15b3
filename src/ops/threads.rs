//! Threads that the gateway can't do without.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::logging;

/// How long answers that are under way have when the process ends.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// Starts such a thread: should it panic, the process ends, rather than go on with a part of its
/// streams dead.
///
/// # Errors
/// If the system refuses it.
pub fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.clone()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            abort(name);
        }
    })
}

/// Ends the process because nothing can be stored any more, a moment after that was said to those who wait.
pub fn end_process(error: &dyn std::error::Error) -> ! {
    let error = logging::with_causes(error);
    logging::in_a_moment(move || tracing::error!(error, "the engine failed; the process ends"));
    thread::sleep(LAST_ANSWERS);
    logging::finish();
    std::process::exit(1)
}

/// Ends the process. It says why if that is done in a moment; whoever logs may wait or panic himself.
fn abort(thread: String) -> ! {
    logging::in_a_moment(move || {
        tracing::error!(thread, "a thread panicked; the process ends");
        logging::finish();
    });
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::ops::config::Log;

    const IN_CHILD: &str = "SLUICEGATE_TEST_THREAD_PANICS";

    /// The process that the other tests start: a thread of it panics.
    #[test]
    fn child() {
        if std::env::var_os(IN_CHILD).is_some() {
            let _last_lines = logging::init(&Log::default()).unwrap();
            spawn("a-thread".to_owned(), || panic!("on purpose")).unwrap();
            thread::sleep(Duration::from_secs(60));
        }
    }

    fn start(stderr: Stdio) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ops::threads::tests::child", "--nocapture"])
            .env(IN_CHILD, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap()
    }

    /// Each process ends by SIGABRT, and long before its sleep is over.
    #[track_caller]
    fn aborts(mut child: Child) {
        use std::os::unix::process::ExitStatusExt;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > Duration::from_secs(30) {
                child.kill().unwrap();
                panic!("it goes on");
            }
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.signal(), Some(6), "{status}");
    }

    #[test]
    fn a_panic_ends_the_process_and_is_logged() {
        let mut child = start(Stdio::piped());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        aborts(child);
        let file = format!("{}:", file!());
        for expected in ["panicked: on purpose", &file, "a thread panicked; the process ends"] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
        assert_eq!(said.matches("\"thread\":\"a-thread\"").count(), 2, "{said}");
    }

    #[test]
    fn a_panic_ends_the_process_even_if_nothing_can_be_logged() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        aborts(start(writer.into()));

        let full_device = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        aborts(start(full_device.into()));

        let (_reader, mut writer) = io::pipe().unwrap();
        let size = rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
        writer.write_all(&vec![b'x'; size]).unwrap();
        aborts(start(writer.into()));
    }
}
