//! What `src/exchange/sync.rs` names, for loom. Each stand-in promises no more than the real thing: a
//! model that holds here holds there.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use loom::sync as model;

pub use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

// ===== parking_lot =====

/// A mutex that can't be poisoned.
#[derive(Debug)]
pub struct Mutex<T>(model::Mutex<T>);

/// What a lock gives. It is empty only while a condition variable waits.
pub struct MutexGuard<'a, T>(Option<model::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    /// A mutex.
    pub fn new(value: T) -> Self {
        Self(model::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect("no model goes on after a panic")))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("held but while it waits")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("held but while it waits")
    }
}

/// A condition variable.
#[derive(Debug)]
pub struct Condvar(model::Condvar);

impl Condvar {
    /// A condition variable.
    #[allow(clippy::new_without_default, reason = "as the one that it stands for is made")]
    pub fn new() -> Self {
        Self(model::Condvar::new())
    }

    /// Waits until it is notified.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.0 = guard.0.take().map(|held| self.0.wait(held).expect("no model goes on after a panic"));
    }

    /// As [`wait`](Self::wait): no time passes in a model, so that to sleep for too long is to sleep
    /// for ever, which loom finds.
    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) {
        self.wait(guard);
    }

    /// Wakes one that waits.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

// ===== crossbeam-channel =====

/// A bounded queue. A message is there for its receiver once its slot says so, and nothing else is
/// in step with that: to look into a queue that is empty says nothing of what others have done.
pub fn bounded<M>(_: usize) -> (Sender<M>, Receiver<M>) {
    let slots = (0..SLOTS).map(|_| Slot { filled: AtomicBool::new(false), message: Mutex::new(None) }).collect();
    let queue = Arc::new(Queue { slots, sent: AtomicUsize::new(0) });
    (Sender(queue.clone()), Receiver { queue, taken: AtomicUsize::new(0) })
}

/// No model sends more messages. The real bound has tests beside its code.
const SLOTS: usize = 4;

struct Queue<M> {
    slots: Vec<Slot<M>>,
    sent: AtomicUsize,
}

struct Slot<M> {
    filled: AtomicBool,
    message: Mutex<Option<M>>,
}

/// The end that sends.
pub struct Sender<M>(Arc<Queue<M>>);

/// The end that receives.
pub struct Receiver<M> {
    queue: Arc<Queue<M>>,
    taken: AtomicUsize,
}

/// Why a message was not sent.
pub enum TrySendError<M> {
    /// The queue is full.
    Full(M),
    /// There is no receiver.
    Disconnected(M),
}

impl<M> Sender<M> {
    /// Sends without waiting.
    ///
    /// # Errors
    /// Gives the message back if the queue is full.
    pub fn try_send(&self, message: M) -> Result<(), TrySendError<M>> {
        let Some(slot) = self.0.slots.get(self.0.sent.fetch_add(1, Ordering::Relaxed)) else {
            return Err(TrySendError::Full(message));
        };
        *slot.message.lock() = Some(message);
        slot.filled.store(true, Ordering::Release);
        Ok(())
    }
}

impl<M> Receiver<M> {
    /// Whether no message is there.
    pub fn is_empty(&self) -> bool {
        let slot = self.queue.slots.get(self.taken.load(Ordering::Relaxed));
        !slot.is_some_and(|slot| slot.filled.load(Ordering::Acquire))
    }

    /// Receives without waiting.
    pub fn try_recv(&self) -> Option<M> {
        let taken = self.taken.load(Ordering::Relaxed);
        let slot = self.queue.slots.get(taken)?;
        if !slot.filled.load(Ordering::Acquire) {
            return None;
        }
        self.taken.store(taken + 1, Ordering::Relaxed);
        slot.message.lock().take()
    }
}

// ===== dashmap =====

/// A map of one lock.
pub struct DashMap<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for DashMap<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash + Clone, V: Clone> DashMap<K, V> {
    /// The place of a key.
    pub fn entry(&self, key: K) -> Entry<'_, K, V> {
        Entry { map: self.0.lock(), key }
    }

    /// What a key has.
    pub fn get(&self, key: &K) -> Option<Box<V>> {
        self.0.lock().get(key).cloned().map(Box::new)
    }

    /// Removes the key if `remove` says so of what it has.
    pub fn remove_if_mut(&self, key: &K, remove: impl FnOnce(&K, &mut V) -> bool) -> Option<(K, V)> {
        let mut map = self.0.lock();
        let remove = map.get_mut(key).is_some_and(|value| remove(key, value));
        if remove { map.remove_entry(key) } else { None }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The place of a key.
pub struct Entry<'a, K, V> {
    map: MutexGuard<'a, HashMap<K, V>>,
    key: K,
}

impl<'a, K: Eq + Hash + Clone, V: Default> Entry<'a, K, V> {
    /// What the key has, or the default from now on.
    pub fn or_default(mut self) -> Held<'a, K, V> {
        self.map.entry(self.key.clone()).or_default();
        Held(self)
    }
}

/// What a key has, under the lock.
pub struct Held<'a, K, V>(Entry<'a, K, V>);

impl<K: Eq + Hash, V> Deref for Held<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        self.0.map.get(&self.0.key).expect("entered")
    }
}

impl<K: Eq + Hash, V> DerefMut for Held<'_, K, V> {
    fn deref_mut(&mut self) -> &mut V {
        self.0.map.get_mut(&self.0.key).expect("entered")
    }
}
