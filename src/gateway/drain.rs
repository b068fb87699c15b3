//! How a gateway ends.

use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::exchange::pages::PageCache;
use crate::net::acceptor::Closing;
use crate::net::command::Command;

use super::running::Gateway;

/// How often the end of a drain is looked for.
const DRAIN_POLL: Duration = Duration::from_millis(10);

impl Gateway {
    /// Ends the gateway kindly: readiness fails; after `drain.delay` the listeners close; then the
    /// streams are ended within `drain.deadline`, each with what was published so far and a jittered
    /// `retry:`. Blocks until that is done.
    pub fn drain(self) {
        self.drain_unless(&CancellationToken::new());
    }

    /// Drains, but for what is cut off.
    pub(super) fn drain_unless(mut self, cut: &CancellationToken) {
        self.state.draining.store(true, Ordering::Relaxed);
        self.state.metrics.set_draining();
        let drain = self.state.config.load().drain.clone();
        let delayed_ms = self.state.clock.now_ms().saturating_add(drain.delay.get().as_millis() as u64);
        self.wait_while(cut, delayed_ms, || true);
        self.state.close();
        self.public.accepting.cancel();
        let (window, retry) = (drain.window(), drain.retry.get());
        self.tell_shards(|| Command::Drain { window, retry, for_good: true });
        let gives_up_ms = self.state.clock.now_ms() + drain.deadline.get().as_millis() as u64;
        self.wait_while(cut, gives_up_ms, || self.state.bus.streams() > 0);
        let streams = self.state.bus.streams();
        if streams > 0 && !cut.is_cancelled() {
            tracing::warn!(streams, "cut off: they were still behind when drain.deadline was over");
        }
        self.stop();
    }

    fn wait_while(&self, cut: &CancellationToken, gives_up_ms: u64, condition: impl Fn() -> bool) {
        while condition() && !cut.is_cancelled() && self.state.clock.now_ms() < gives_up_ms {
            thread::sleep(DRAIN_POLL);
        }
    }

    fn tell_shards(&self, command: impl Fn() -> Command) {
        for shard in 0..self.state.bus.shards() {
            // A full inbox is emptied within a turn; a shard that is gone needs no telling.
            while self.state.bus.inbox(shard).push(command()).is_err()
                && self.shards.get(shard).is_some_and(|thread| !thread.is_finished())
            {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Ends all threads, the acceptors first, so that no stream comes to a shard that is gone.
    fn stop(&mut self) {
        self.certificates = None;
        self.state.close();
        self.public.cancel();
        self.private.iter().for_each(Closing::cancel);
        let join = |thread: JoinHandle<()>| drop(thread.join());
        self.acceptors.drain(..).for_each(join);
        self.state.bus.stop();
        self.tell_shards(|| Command::Stop);
        self.shards.drain(..).for_each(join);
        self.timers.stop();
        self.ticker.take().into_iter().for_each(join);
        self.state.engine.stop();
        self.state.bus.log.page_cache().into_iter().for_each(PageCache::stop);
        self.engine_threads.drain(..).for_each(join);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}
