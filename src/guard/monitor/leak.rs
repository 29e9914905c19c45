//! Leaks: memory that grows though what it is for does not.
//!
//! Bytes and live objects are measured at every snapshot. The window is cut into slots, and of each slot only the smallest
//! figures count: what grows and shrinks again within it leaves no trace. Two things raise a warning.
//!
//! - **Rise**, for bytes whose objects are alike (weights and workspaces of a model, heap that nobody booked): from slot to slot
//!   they hardly ever fall, they rise in at least half of the slots, and over the window both the bytes and the bytes per live
//!   object rise by more than the fraction. A rising load raises the bytes and the objects; a load that ends lowers the
//!   bytes; what comes at once, such as a loaded model, rises in one slot.
//! - **Stray**, for bytes whose objects differ in size by what is asked of them (KV of a session, host bytes of a request):
//!   a longer conversation is no leak, so the bytes per session say nothing. But these bytes must go with their object. Those
//!   that are there in every slot though their session is seen closed for longer than a slot, or their request is over, are a leak,
//!   be it one block.

use super::alert::Suspect;
use super::ring::Ring;
use crate::guard::{GuardError, Purpose};
use plimsoll_engine::Owner;
use std::time::Duration;

/// Slots of a window.
const SLOTS: u32 = 30;
/// With longer intervals there are fewer, but not below this.
const FEWEST_SLOTS: u32 = 4;
/// Between two slots a rise may fall back by this fraction of itself.
const WAVER: f64 = 0.01;
/// Unbooked bytes must rise by this much as well: below it are caches that fill.
const UNBOOKED_LEAST: u64 = 1 << 20;

/// Everything that is watched.
pub(super) const SUSPECTS: usize = Purpose::ALL.len() + 1;

/// A suspect's figures at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Measure {
    /// Bytes; of what strays, those whose object is gone.
    pub(super) bytes: u64,
    /// What they are for.
    pub(super) objects: u64,
    /// Whether the objects of these bytes are gone.
    pub(super) stray: bool,
    /// The first owner that outlived its object.
    pub(super) owner: Option<Owner>,
}

/// The smallest figures of a slot.
#[derive(Clone, Copy)]
struct Slot {
    bytes: u64,
    each: f64,
}

struct Track {
    suspect: Suspect,
    slots: Ring<Slot>,
    slot: Option<Slot>,
    last: Measure,
}

/// What a suspect is found to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) suspect: Suspect,
    pub(super) owner: Option<Owner>,
    /// The fraction by which the bytes per live object rose, 1 for what strays, 0 where there is no sign of a leak.
    pub(super) rise: f64,
    pub(super) bytes: u64,
}

/// All suspects.
pub(super) struct Leaks {
    tracks: Vec<Track>,
    slot: Duration,
    ends: Option<Duration>,
    most: u32,
}

impl Leaks {
    pub(super) fn new(window: Duration, interval: Duration) -> Result<Self, GuardError> {
        let slot = (window / SLOTS).max(interval).min(window / FEWEST_SLOTS);
        let most = u32::try_from(window.as_nanos() / slot.as_nanos().max(1)).unwrap_or(SLOTS).min(SLOTS);
        let suspects = Purpose::ALL.into_iter().map(Suspect::Purpose).chain([Suspect::Unbooked]);
        let track = |suspect| {
            // Between the first slot and the last one lies a window.
            let slots = Ring::new(most as usize + 1)?;
            Ok(Track { suspect, slots, slot: None, last: Measure::default() })
        };
        Ok(Leaks { tracks: suspects.map(track).collect::<Result<_, _>>()?, slot, ends: None, most })
    }

    /// How long a slot is.
    pub(super) fn slot(&self) -> Duration {
        self.slot
    }

    /// Takes in figures, those of the ledger's columns before those of the heap.
    pub(super) fn take(&mut self, now: Duration, measures: &[Measure; SUSPECTS]) {
        let ends = *self.ends.get_or_insert_with(|| now.saturating_add(self.slot));
        if now >= ends {
            let passed = (now - ends).as_nanos() / self.slot.as_nanos().max(1) + 1;
            let passed = u32::try_from(passed).unwrap_or(u32::MAX);
            self.ends = Some(ends.saturating_add(self.slot.saturating_mul(passed)));
            self.tracks.iter_mut().for_each(|track| track.close(passed, self.most));
        }
        for (track, measure) in self.tracks.iter_mut().zip(measures) {
            let each = measure.bytes as f64 / measure.objects.max(1) as f64;
            let slot = track.slot.get_or_insert(Slot { bytes: measure.bytes, each });
            (slot.bytes, slot.each) = (slot.bytes.min(measure.bytes), slot.each.min(each));
            track.last = *measure;
        }
    }

    /// What there is to say of each suspect. It changes when a slot ends.
    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        self.tracks.iter().map(Track::finding)
    }
}

impl Track {
    /// The slot is over, and so are others in which nothing was measured.
    fn close(&mut self, passed: u32, most: u32) {
        let Some(slot) = self.slot.take() else { return };
        if passed > most {
            // Of so long a time nothing is known.
            self.slots.clear();
        }
        (0..passed.min(most)).for_each(|_| self.slots.push(slot));
    }

    fn finding(&self) -> Finding {
        let (rise, bytes) = if self.last.stray { self.stray() } else { self.rise() };
        let owner = self.last.owner.filter(|_| rise > 0.0);
        Finding { suspect: self.suspect, owner, rise, bytes }
    }

    fn stray(&self) -> (f64, u64) {
        let bytes = self.slots.iter().map(|slot| slot.bytes).min().unwrap_or(0);
        if self.slots.is_full() && bytes > 0 { (1.0, bytes) } else { (0.0, 0) }
    }

    fn rise(&self) -> (f64, u64) {
        let ends = self.slots.iter().next().zip(self.slots.last()).filter(|_| self.slots.is_full());
        let Some((first, last)) = ends else { return (0.0, 0) };
        let least = if self.suspect == Suspect::Unbooked { UNBOOKED_LEAST } else { 1 };
        let mut rises = 0;
        for (before, after) in self.slots.iter().zip(self.slots.iter().skip(1)) {
            if (after.bytes as f64) < before.bytes as f64 * (1.0 - WAVER) {
                return (0.0, 0);
            }
            rises += usize::from(after.bytes > before.bytes);
        }
        if 2 * rises < self.slots.len() || last.bytes.saturating_sub(first.bytes) < least {
            return (0.0, 0);
        }
        // From nothing it rises without bounds; a figure that can be written does.
        let by = |before: f64, after: f64| (after / before.max(1.0) - 1.0).max(0.0);
        (by(first.bytes as f64, last.bytes as f64).min(by(first.each, last.each)), last.bytes)
    }
}
