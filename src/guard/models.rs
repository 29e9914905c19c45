//! Models that may be unloaded: where each is, who uses it, and whose turn it is to go.
//!
//! ```text
//!         booked by a grant             collected by who loads it
//!   Out ─────────────────────► Due ───────────────────────────────► In
//!    ▲│       not collected     │                                   ▲│
//!    ├┼─────────────────────────┘                                   ││
//!    │└──────── booked by a load, the first one too ────────────────┘│ picked while nobody uses it, or its load has come
//!    └────────── its leases are back ─────────── Leaving ◄───────────┘ to nothing
//! ```
//!
//! A model is used by requests that are granted (a ticket's included), by a load under way, and by those who wait in the line. A
//! handle, or a session that does not run, is no use.

use super::GuardError;
use super::ledger::RegionBook;
use plimsoll_engine::sync::{Receiver, Sender, unbounded};
use plimsoll_engine::{Engine, Memory, ModelId, Owner, Region, Source};
use std::sync::{Arc, Weak};

/// Who holds a model's engine and can let it go.
pub trait Unload: Send + Sync {
    /// Frees the engine with all of its memory; its leases are back on return. Called with no lock of the guard held, and only
    /// while nobody uses the model.
    fn unload(&self);
}

/// A model has so many parts at most.
pub const PARTS: usize = 3;

/// What a model takes while it is loaded, all in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Where.
    pub region: Region,
    /// Bytes by owner: what an unload gives back and a load books. A part may have none.
    pub parts: [(Owner, u64); PARTS],
}

/// Where a model is.
pub(super) enum Home {
    /// Loaded, or being loaded with leases that are paid for.
    In,
    /// Booked, and nobody has begun to load it.
    Due,
    /// On its way out. The channel closes when its leases are back.
    Leaving(Receiver<u64>),
    /// Not loaded, and nothing booked.
    Out,
}

/// One model.
pub(super) struct Model {
    pub(super) id: ModelId,
    /// Both weak: the table keeps nothing alive. `None` until it was loaded for the first time.
    engine: Option<Weak<dyn Engine>>,
    holder: Option<Weak<dyn Unload>>,
    pub(super) footprint: Footprint,
    pub(super) bytes: u64,
    /// Whether it goes by itself when room is needed.
    pub(super) idles: bool,
    pub(super) home: Home,
    /// Sessions with a grant.
    pub(super) busy: u64,
    /// Loads under way.
    pub(super) loads: u64,
    /// What the load under way has put in memory so far.
    pub(super) arrived: u64,
    /// What of it is taken from the pool, in one piece.
    pub(super) arena: Option<(&'static Source, usize)>,
    /// That piece, where one lay idle when the model was booked with a request.
    pub(super) found: Option<Memory>,
    /// Grows with every use.
    order: u64,
}

/// All of them, in no order; a handful.
#[derive(Default)]
pub(super) struct Models {
    all: Vec<Model>,
    uses: u64,
}

/// A model on its way out, of whoever picked it.
pub(super) struct Leave {
    pub(super) id: ModelId,
    pub(super) holder: Option<Arc<dyn Unload>>,
    /// Closes the channel that others wait on.
    _gone: Sender<u64>,
}

impl Footprint {
    /// All of its bytes; as many as can be counted where there are more, which no region can hold.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.1))
    }
}

impl Model {
    /// Whether nobody uses it; of those who wait the line knows.
    pub(super) fn is_unused(&self) -> bool {
        self.busy == 0 && self.loads == 0
    }

    /// Whether it is loaded, unused, and may go by itself.
    pub(super) fn may_go(&self) -> bool {
        let held = || self.holder.as_ref().is_some_and(|holder| holder.strong_count() > 0);
        self.idles && self.is_unused() && matches!(self.home, Home::In) && held()
    }

    /// Ties it to the engine that was loaded and to who holds that.
    pub(super) fn attach(&mut self, engine: Weak<dyn Engine>, holder: Weak<dyn Unload>) {
        (self.engine, self.holder) = (Some(engine), Some(holder));
    }

    /// Whether it has been loaded.
    pub(super) fn is_known(&self) -> bool {
        self.engine.is_some()
    }

    /// A load of what is booked begins.
    pub(super) fn begin(&mut self) {
        (self.home, self.loads, self.arrived) = (Home::In, self.loads + 1, 0);
    }

    /// Of what is read so much has come, of so much.
    pub(super) fn arrive(&mut self, done: u64, total: u64) {
        let part = u128::from(self.bytes) * u128::from(done.min(total)) / u128::from(total.max(1));
        // At most all of it.
        self.arrived = u64::try_from(part).unwrap_or(self.bytes);
    }

    /// What of its bytes a region's books have. They are looked through only while leases come or go.
    pub(super) fn booked(&self, book: &RegionBook) -> u64 {
        match self.home {
            _ if self.footprint.region != book.region => 0,
            Home::Out => 0,
            Home::In | Home::Due if self.loads == 0 => self.bytes,
            _ => self.footprint.parts.iter().fold(0, |sum, part| book.owner(part.0).saturating_add(sum)),
        }
    }

    /// What of it a region's books have while it is on its way out.
    pub(super) fn leaving(&self, book: &RegionBook) -> u64 {
        if matches!(self.home, Home::Leaving(_)) { self.booked(book) } else { 0 }
    }

    /// What of that may not be in memory: not yet, or no longer.
    pub(super) fn absent(&self, book: &RegionBook) -> u64 {
        match self.home {
            Home::In if self.loads == 0 => 0,
            Home::In => self.booked(book).saturating_sub(self.arrived),
            _ => self
                .booked(book)
                .saturating_sub(self.found.as_ref().map_or(0, |memory| memory.bytes() as u64)),
        }
    }

    /// Whether its bytes must be booked before its next request.
    pub(super) fn is_out(&self) -> bool {
        matches!(self.home, Home::Leaving(_) | Home::Out)
    }
}

impl Models {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Model> {
        self.all.iter()
    }

    pub(super) fn get(&self, id: ModelId) -> Option<&Model> {
        self.all.iter().find(|model| model.id == id)
    }

    pub(super) fn get_mut(&mut self, id: ModelId) -> Option<&mut Model> {
        self.all.iter_mut().find(|model| model.id == id)
    }

    /// The model whose engine this is.
    pub(super) fn of(&self, engine: &Weak<dyn Engine>) -> Option<ModelId> {
        self.all
            .iter()
            .find(|model| {
                model.engine.as_ref().is_some_and(|of| std::ptr::addr_eq(of.as_ptr(), engine.as_ptr()))
            })
            .map(|model| model.id)
    }

    /// Takes in a model that is about to be loaded.
    pub(super) fn add(&mut self, id: ModelId, footprint: Footprint, idles: bool) -> Result<(), GuardError> {
        self.all.try_reserve(1).map_err(|_| GuardError::OutOfMemory)?;
        self.uses += 1;
        let (home, busy, loads, arrived, order) = (Home::Out, 0, 0, 0, self.uses);
        let (engine, holder, arena, found, bytes) = (None, None, None, None, footprint.bytes());
        self.all.push(Model {
            id,
            engine,
            holder,
            footprint,
            bytes,
            idles,
            home,
            busy,
            loads,
            arrived,
            arena,
            found,
            order,
        });
        Ok(())
    }

    pub(super) fn remove(&mut self, id: ModelId) -> Option<Model> {
        let at = self.all.iter().position(|model| model.id == id)?;
        Some(self.all.swap_remove(at))
    }

    /// Counts a session that begins a request, or ends one.
    pub(super) fn count_busy(&mut self, id: Option<ModelId>, begins: bool) {
        let Some(id) = id else { return };
        self.touch(id);
        if let Some(model) = self.get_mut(id) {
            model.busy = if begins { model.busy + 1 } else { model.busy.saturating_sub(1) };
        }
    }

    /// It was used just now.
    pub(super) fn touch(&mut self, id: ModelId) {
        self.uses += 1;
        let uses = self.uses;
        if let Some(model) = self.get_mut(id) {
            model.order = uses;
        }
    }

    /// Those that may go by themselves, the least recently used first, but not these.
    pub(super) fn idle(&self, but: &[ModelId]) -> Vec<&Model> {
        let mut idle: Vec<_> =
            self.all.iter().filter(|model| model.may_go() && !but.contains(&model.id)).collect();
        idle.sort_unstable_by_key(|model| model.order);
        idle
    }

    /// Bytes in a region of those that may go by themselves.
    pub(super) fn idle_bytes(&self, region: Region) -> u64 {
        let here = self.all.iter().filter(|model| model.may_go() && model.footprint.region == region);
        here.fold(0, |sum, model| sum.saturating_add(model.bytes))
    }

    /// Bytes that a region's books have of models on their way out.
    pub(super) fn leaving_bytes(&self, book: &RegionBook) -> u64 {
        self.all.iter().fold(0, |sum, model| sum.saturating_add(model.leaving(book)))
    }

    /// Bytes of a region that stay, were the models gone that may go by themselves, and the one of whoever asks loaded.
    pub(super) fn fixed(&self, book: &RegionBook, asking: Option<ModelId>) -> u64 {
        self.all.iter().fold(book.fixed(), |sum, model| {
            let asks = asking == Some(model.id);
            let goes = asks || model.idles || matches!(model.home, Home::Leaving(_));
            let comes = asks && model.footprint.region == book.region;
            let less = if goes { model.booked(book) } else { 0 };
            sum.saturating_sub(less).saturating_add(if comes { model.bytes } else { 0 })
        })
    }

    /// Bytes that a region's books have of models and that may not be in memory.
    pub(super) fn absent_bytes(&self, book: &RegionBook) -> u64 {
        self.all.iter().fold(0, |sum, model| sum.saturating_add(model.absent(book)))
    }

    /// Marks a loaded model as leaving, or one whose load failed.
    pub(super) fn leave(&mut self, id: ModelId) -> Option<Leave> {
        let model = self.get_mut(id).filter(|model| matches!(model.home, Home::In))?;
        let (_gone, answer) = unbounded();
        model.home = Home::Leaving(answer);
        Some(Leave { id, holder: model.holder.as_ref().and_then(Weak::upgrade), _gone })
    }

    /// The leases of a leaving model are back.
    pub(super) fn gone(&mut self, id: ModelId) {
        if let Some(model) = self.get_mut(id) {
            model.home = Home::Out;
        }
    }

    /// Models that are loaded or booked, and those that are not any more.
    pub(super) fn counts(&self) -> (u64, u64) {
        let there = self.all.iter().filter(|model| !model.is_out()).count();
        let gone = self.all.iter().filter(|model| model.is_out() && model.is_known()).count();
        (there as u64, gone as u64)
    }
}

impl std::fmt::Debug for Leave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leave(model {})", self.id.0)
    }
}
