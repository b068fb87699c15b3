//! A shard's inbox: a bounded queue, and the way to wake the shard.
//!
//! The shard is woken once, however many messages or events come before it has noticed. While it
//! rests between two passes it does not want to be woken for new events: it looks at the log itself
//! when its rest is over, or when the log would lap it before.

use super::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering, Receiver, Sender, TrySendError, bounded, fence};

use crate::hub::offset::Offset;

/// How many messages an inbox holds.
pub const INBOX_MESSAGES: usize = 4096;

/// The end of an inbox that other threads hold, with what they must know of the shard.
pub struct Inbox<M> {
    sender: Sender<M>,
    woken: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
    listens: AtomicBool,
    endangered: AtomicBool,
    position: AtomicU64,
    notified_first: AtomicU64,
    notified_last: AtomicU64,
    streams: AtomicUsize,
}

impl<M> Inbox<M> {
    /// An inbox, and the end of it that the shard holds.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> (Inbox<M>, Receiver<M>) {
        let (sender, receiver) = bounded(INBOX_MESSAGES);
        let inbox = Inbox {
            sender,
            woken: AtomicBool::new(false),
            wake: Box::new(wake),
            listens: AtomicBool::new(true),
            endangered: AtomicBool::new(false),
            position: AtomicU64::new(0),
            notified_first: AtomicU64::new(0),
            notified_last: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
        };
        (inbox, receiver)
    }

    /// Puts a message in and wakes the shard.
    ///
    /// # Errors
    /// Gives the message back if the inbox is full, or its shard is gone.
    pub fn push(&self, message: M) -> Result<(), M> {
        match self.sender.try_send(message) {
            Ok(()) => {
                self.wake();
                Ok(())
            }
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => Err(message),
        }
    }

    /// Notifies the shard of events for its streams, at these offsets of the log.
    pub fn notify_of(&self, first: Offset, last: Offset) {
        if self.notified_first.load(Ordering::Relaxed) <= self.position().get() {
            self.notified_first.store(first.get(), Ordering::Relaxed);
        }
        self.notified_last.fetch_max(last.get(), Ordering::AcqRel);
        self.notify();
    }

    /// Wakes the shard because the log has grown, unless it does not want to know yet.
    pub fn notify(&self) {
        // With the fence of `listen`: what the shard does not find when it looks, it is woken for.
        fence(Ordering::SeqCst);
        if self.listens.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Wakes the shard even if it rests: it is about to be lapped by the log.
    pub fn endanger(&self) {
        self.endangered.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether it was said, since the last call, that the shard is about to be lapped.
    pub fn take_endangered(&self) -> bool {
        self.endangered.load(Ordering::SeqCst) && self.endangered.swap(false, Ordering::SeqCst)
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    /// The shard is awake. It must look for messages and events after this.
    pub fn awake(&self) {
        // A swap and no store: it takes over what those did who found the shard woken already.
        self.woken.swap(false, Ordering::AcqRel);
    }

    /// The shard starts or stops wanting to know of new events. After starting, it must look.
    pub fn listen(&self, listens: bool) {
        self.listens.store(listens, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Up to which offset of the log the shard has served its live streams.
    pub fn position(&self) -> Offset {
        Offset::new(self.position.load(Ordering::Relaxed))
    }

    /// Tells the shard's position.
    pub fn set_position(&self, position: Offset) {
        self.position.store(position.get(), Ordering::Relaxed);
    }

    /// The offset from which on the shard has yet to take what it was notified of; `None` if it has
    /// all. It is not late with what it has no streams for.
    pub fn awaited(&self) -> Option<Offset> {
        let (last, position) = (Offset::new(self.notified_last.load(Ordering::Acquire)), self.position());
        // Notified during the last pass, the first offset is one that this pass has taken.
        (last > position).then(|| Offset::new(self.notified_first.load(Ordering::Relaxed)).max(position.next()))
    }

    /// How many streams the shard has, those on their way to it included.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Counts a stream on its way to the shard.
    pub fn stream_comes(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a stream that has ended.
    pub fn stream_gone(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn counted() -> (Arc<AtomicUsize>, Inbox<u32>, Receiver<u32>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = wakes.clone();
        let (inbox, receiver) = Inbox::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        (wakes, inbox, receiver)
    }

    #[test]
    fn a_shard_is_woken_once_until_it_is_awake() {
        let (wakes, inbox, receiver) = counted();
        inbox.push(1).unwrap();
        inbox.push(2).unwrap();
        inbox.notify();
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        inbox.awake();
        inbox.notify();
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
        inbox.awake();
        inbox.listen(false);
        inbox.notify_of(Offset::new(3), Offset::new(3));
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
        inbox.push(3).unwrap();
        assert_eq!(wakes.load(Ordering::SeqCst), 3);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_shard_is_late_only_with_what_it_was_notified_of() {
        let (_, inbox, _receiver) = counted();
        assert_eq!(inbox.awaited(), None);
        // Offsets 1 to 4 are others'; it does not listen, and is late all the same.
        inbox.listen(false);
        inbox.notify_of(Offset::new(5), Offset::new(6));
        inbox.notify_of(Offset::new(9), Offset::new(9));
        assert_eq!(inbox.awaited(), Some(Offset::new(5)));
        inbox.set_position(Offset::new(6));
        assert_eq!(inbox.awaited(), Some(Offset::new(7)));
        inbox.set_position(Offset::new(10));
        assert_eq!(inbox.awaited(), None);
        inbox.notify_of(Offset::new(14), Offset::new(15));
        assert_eq!(inbox.awaited(), Some(Offset::new(14)));
        inbox.set_position(Offset::new(15));
        assert_eq!(inbox.awaited(), None);
    }

    #[test]
    fn a_full_inbox_gives_the_message_back() {
        let (_, inbox, receiver) = counted();
        for message in 0..INBOX_MESSAGES as u32 {
            inbox.push(message).unwrap();
        }
        assert_eq!(inbox.push(7), Err(7));
        receiver.try_recv().unwrap();
        inbox.push(8).unwrap();
        drop(receiver);
        assert_eq!(inbox.push(9), Err(9));
    }
}
