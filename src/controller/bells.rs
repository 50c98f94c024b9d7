//! One bell per object: what wakes its loop.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, mpsc};

/// What was written should show through the watches after so many passes; else something was lost on the way.
const PATIENCE: u32 = 10;

/// Namespace and name of an object.
pub type Key = (String, String);

/// One bell per group, and the news of groups that have none yet.
#[derive(Clone)]
pub struct Bells {
    bells: Arc<Mutex<BTreeMap<Key, Arc<Bell>>>>,
    new: mpsc::UnboundedSender<Key>,
    /// Has every watch begin with a list.
    pub again: Arc<Notify>,
}

/// Wakes the loop of one group.
#[derive(Default)]
pub struct Bell {
    notify: Notify,
    drifted: std::sync::atomic::AtomicBool,
    again: Arc<Notify>,
}

impl Bell {
    /// The same writes went through in so many passes in a row: when that does not end, the watches are blind.
    pub fn repeats(&self, passes: u32) {
        if passes > 0 && passes.is_multiple_of(PATIENCE) {
            tracing::warn!("what was written does not show: every watch begins anew");
            self.again.notify_waiters();
        }
    }

    /// Waits until it rings; one ring is kept.
    pub async fn rings(&self) {
        self.notify.notified().await;
    }

    /// Whether an object of the group was changed or deleted by somebody since the last call.
    pub fn drifted(&self) -> bool {
        self.drifted.swap(false, std::sync::atomic::Ordering::Relaxed)
    }

    /// Have the objects of the group applied again.
    pub fn drift(&self) {
        self.drifted.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Bells {
    /// No bells yet; the receiver hears of each group that appears.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Key>) {
        Self::with(Arc::default())
    }

    /// Bells for objects of another kind.
    pub fn beside(&self) -> (Self, mpsc::UnboundedReceiver<Key>) {
        Self::with(self.again.clone())
    }

    fn with(again: Arc<Notify>) -> (Self, mpsc::UnboundedReceiver<Key>) {
        let (new, news) = mpsc::unbounded_channel();
        (Self { bells: Arc::default(), new, again }, news)
    }

    /// The bell of a group.
    pub fn bell(&self, key: &Key) -> Arc<Bell> {
        self.lock().entry(key.clone()).or_insert_with(|| self.make()).clone()
    }

    fn make(&self) -> Arc<Bell> {
        Arc::new(Bell { again: self.again.clone(), ..Bell::default() })
    }

    /// The loop of a group ended.
    pub fn remove(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Wakes the loop of one object.
    pub fn ring(&self, key: &Key) {
        let bell = self.lock().get(key).cloned();
        if let Some(bell) = bell {
            bell.notify.notify_one();
        }
    }

    /// Wakes all of them.
    pub fn ring_all(&self) {
        for bell in self.lock().values() {
            bell.notify.notify_one();
        }
    }

    /// A group is there.
    pub fn found(&self, key: Key) {
        let mut bells = self.lock();
        if let Some(bell) = bells.get(&key) {
            bell.notify.notify_one();
        } else {
            bells.insert(key.clone(), self.make());
            // Nobody listens any more only when everything ends.
            let _ = self.new.send(key);
        }
    }

    /// An object of the group was changed or deleted by somebody.
    pub fn drifted(&self, key: &Key) {
        let bell = self.lock().get(key).cloned();
        if let Some(bell) = bell {
            bell.drift();
            bell.notify.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Bell>>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
