//! A shard's inbox: no message and no event is slept over. Each shard here turns as `Shard::run` does,
//! with nothing in it but what can lose a wake-up, and ends once it has everything: one that sleeps
//! for ever is a deadlock, which loom reports.
//!
//! These faults were put in, one at a time, and a model failed of each:
//! - the shard looks into its queue, or at the log's head, before it says that it is awake;
//! - the shard looks at the head before it listens again;
//! - `awake` stores instead of swapping;
//! - `wake` wakes first and notes that afterwards;
//! - `listen` without its fence, `notify` without its fence;
//! - `push` or `endanger` asks whether the shard listens;
//! - `endanger` wakes first and says why afterwards.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use sluicegate_models::exchange::inbox::Inbox;
use sluicegate_models::exchange::sync::Receiver;
use sluicegate_models::hub::offset::Offset;

use super::waker::Waker;

#[derive(Debug, PartialEq)]
enum Message {
    Word(u64),
    RestIsOver,
}

/// An inbox, and a log of which only the head is seen.
struct World {
    inbox: Inbox<Message>,
    waker: Arc<Waker>,
    head: AtomicU64,
}

impl World {
    fn new() -> (Arc<World>, Receiver<Message>) {
        let waker = Arc::new(Waker::new());
        let wakes = waker.clone();
        let (inbox, mail) = Inbox::new(move || wakes.wake());
        (Arc::new(World { inbox, waker, head: AtomicU64::new(0) }), mail)
    }

    fn publish(&self, offset: u64) {
        self.head.fetch_max(offset, Ordering::Release);
        self.inbox.notify_of(Offset::new(offset), Offset::new(offset));
    }

    fn push(&self, message: Message) {
        self.inbox.push(message).unwrap();
    }

    /// Turns until it has passed `events`, taken `words`, and does not rest.
    fn shard(&self, mail: &Receiver<Message>, mut resting: bool, events: u64, words: usize) {
        let (mut position, mut taken) = (0, 0);
        while position < events || taken < words || resting {
            self.waker.sleep();
            self.inbox.awake();
            while let Some(message) = mail.try_recv() {
                match message {
                    Message::Word(_) => taken += 1,
                    Message::RestIsOver => {
                        resting = false;
                        self.inbox.listen(true);
                    }
                }
            }
            if !resting {
                position = self.head.load(Ordering::Acquire);
            }
        }
    }
}

#[test]
fn every_message_wakes_the_shard() {
    loom::model(|| {
        let (world, mail) = World::new();
        for word in 0..2 {
            let world = world.clone();
            thread::spawn(move || world.push(Message::Word(word)));
        }
        world.shard(&mail, false, 0, 2);
    });
}

#[test]
fn every_event_wakes_a_shard_that_listens() {
    loom::model(|| {
        let (world, mail) = World::new();
        let publisher = world.clone();
        thread::spawn(move || (1..=2).for_each(|offset| publisher.publish(offset)));
        world.shard(&mail, false, 2, 0);
    });
}

#[test]
fn a_message_and_an_event_wake_for_each_other() {
    loom::model(|| {
        let (world, mail) = World::new();
        let (publisher, sender) = (world.clone(), world.clone());
        thread::spawn(move || publisher.publish(1));
        thread::spawn(move || sender.push(Message::Word(1)));
        world.shard(&mail, false, 1, 1);
    });
}

#[test]
fn what_was_published_during_a_rest_is_found_at_its_end() {
    loom::model(|| {
        let (world, mail) = World::new();
        world.inbox.listen(false);
        let (publisher, ticker) = (world.clone(), world.clone());
        thread::spawn(move || publisher.publish(1));
        thread::spawn(move || ticker.push(Message::RestIsOver));
        world.shard(&mail, true, 1, 0);
    });
}

#[test]
fn a_shard_that_rests_is_woken_for_danger() {
    loom::model(|| {
        let (world, mail) = World::new();
        world.inbox.listen(false);
        let (publisher, sender) = (world.clone(), world.clone());
        thread::spawn(move || publisher.inbox.endanger());
        thread::spawn(move || sender.push(Message::Word(1)));
        let (mut endangered, mut taken) = (false, 0);
        while !endangered || taken < 1 {
            world.waker.sleep();
            world.inbox.awake();
            taken += usize::from(mail.try_recv().is_some());
            endangered |= world.inbox.take_endangered();
        }
    });
}
