//! Things made once and shared while anybody holds them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, ThreadId};

/// Where a value is, or is being made.
#[derive(Debug)]
struct Place<V> {
    /// Held while it is made.
    value: Mutex<Weak<V>>,
    maker: Mutex<Option<ThreadId>>,
}

/// Says who makes a value, until dropped.
struct Making<'a>(&'a Mutex<Option<ThreadId>>);

/// Values by key, each made by the first who asks and dropped with its last holder.
#[derive(Debug)]
pub(crate) struct Shared<K, V> {
    places: Mutex<HashMap<K, Arc<Place<V>>>>,
}

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Shared { places: Mutex::default() }
    }
}

impl<V> Default for Place<V> {
    fn default() -> Self {
        Place { value: Mutex::default(), maker: Mutex::default() }
    }
}

impl<'a> Making<'a> {
    fn begin(maker: &'a Mutex<Option<ThreadId>>) -> Self {
        *maker.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
        Making(maker)
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<K: Eq + Hash, V> Shared<K, V> {
    /// The value of `key`, made by `make` when nobody holds one. Others who ask for the same key meanwhile wait; after a
    /// failure the next of them tries.
    ///
    /// # Errors
    /// Those of `make`; `itself` where `make` asks for the value that it makes.
    pub(crate) fn get_or_try_make<E>(
        &self,
        key: K,
        itself: impl FnOnce() -> E,
        make: impl FnOnce() -> Result<Arc<V>, E>,
    ) -> Result<Arc<V>, E> {
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            // A place that only this table knows and whose value is gone is forgotten.
            places.retain(|_, place| {
                Arc::strong_count(place) > 1
                    || place.value.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
            });
            Arc::clone(places.entry(key).or_default())
        };
        if *place.maker.lock().unwrap_or_else(PoisonError::into_inner) == Some(thread::current().id()) {
            return Err(itself());
        }
        let mut value = place.value.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = value.upgrade() {
            return Ok(value);
        }
        let making = Making::begin(&place.maker);
        let made = make()?;
        drop(making);
        *value = Arc::downgrade(&made);
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn eight_threads_share_one_value_and_the_last_frees_it() {
        let shared = Shared::<u32, u32>::default();
        let made = AtomicUsize::new(0);
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            let holders: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        shared.get_or_try_make(
                            1,
                            || (),
                            || {
                                made.fetch_add(1, Ordering::SeqCst);
                                std::thread::sleep(std::time::Duration::from_millis(20));
                                Ok::<_, ()>(Arc::new(7))
                            },
                        )
                    })
                })
                .collect();
            let values: Vec<_> = holders.into_iter().map(|holder| holder.join().unwrap().unwrap()).collect();
            assert!(values.iter().all(|value| Arc::ptr_eq(value, &values[0])));
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
        let again = shared.get_or_try_make(1, || (), || Ok(Arc::new(8))).unwrap();
        assert_eq!(*again, 8, "the first value went with its last holder");
    }

    #[test]
    fn a_failure_is_not_remembered() {
        let shared = Shared::<u32, u32>::default();
        assert_eq!(shared.get_or_try_make(1, || "itself", || Err("no")), Err("no"));
        assert_eq!(*shared.get_or_try_make(1, || (), || Ok(Arc::new(3))).unwrap(), 3);
    }

    #[test]
    fn who_would_wait_for_itself_is_refused() {
        let shared = Shared::<u32, u32>::default();
        let itself = || "itself";
        let value = shared.get_or_try_make(1, itself, || {
            assert_eq!(shared.get_or_try_make(1, itself, || Ok(Arc::new(2))), Err("itself"));
            shared.get_or_try_make(2, itself, || Ok(Arc::new(5)))
        });
        assert_eq!(*value.unwrap(), 5);
        assert_eq!(*shared.get_or_try_make(1, itself, || Ok(Arc::new(4))).unwrap(), 4);
    }
}
