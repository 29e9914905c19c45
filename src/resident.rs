//! A native engine that can be unloaded and loaded again, behind handles and sessions that stay good.
//!
//! What stays is what requests cost and where the files are; what goes is the engine with its weights, its workspace, its tables
//! and the KV of its sessions, whose conversations keep their tokens. The guard says when (`guard/unloading.rs`). Whoever runs a
//! request first after that loads the model on its own thread, with leases that were booked with the request's; others who were
//! granted meanwhile wait for that load, and share its failure. Who stops a load stops it for itself: while a request that was
//! granted counts on it, it goes on.

use crate::error::{Error, ErrorCode, Result};
use crate::guard::{Enrolment, Loading, MemoryGuard, Unload};
use crate::heap;
use crate::loads::{Loads, Turn};
use crate::native::load_error;
use crate::runtime::no_room;
use plimsoll_candle::{Environment, LoadPlan, NativeEngine, Options, Pricer};
use plimsoll_engine::sync::Sender;
use plimsoll_engine::{
    Capabilities, Engine, EngineError, Estimate, Holdings, Job, Lease, LoadState, Progress, Region, Rejected,
    SessionKey, Shape,
};
use plimsoll_formats::ModelKey;
use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// A model's engine while it is loaded.
pub(crate) struct Resident {
    engine: RwLock<Option<Running>>,
    pricer: Pricer,
    source: Source,
    guard: Arc<MemoryGuard>,
    environment: Environment,
    loads: Loads,
    // Dropped last: until the leases are back the guard knows of the model.
    enrolment: Enrolment,
}

/// What an unload frees, in this order.
pub(crate) struct Running {
    engine: Arc<NativeEngine>,
    tables: Lease,
}

/// An engine that was loaded, before anybody knows of it.
pub(crate) struct Started {
    pub(crate) running: Running,
    pub(crate) loading: Loading,
    /// Whether its caller wanted the load to stop, and others needed it.
    refused: bool,
}

/// Where a model comes from.
struct Source {
    path: PathBuf,
    /// With the number of threads that it had, so that it takes as much again.
    options: Options,
    files: ModelKey,
    weights: u64,
    workspace: u64,
    arena: Option<(&'static plimsoll_engine::Source, usize)>,
}

impl Resident {
    /// An engine that was loaded from `plan` for the first time.
    ///
    /// # Errors
    /// `Internal`: the engine keeps its KV where the guard does not know of its weights.
    pub(crate) fn new(
        guard: &Arc<MemoryGuard>,
        environment: Environment,
        (plan, path): (&LoadPlan, &Path),
        enrolment: Enrolment,
        running: Running,
    ) -> Result<Arc<Resident>> {
        let threads = u32::try_from(plan.threads()).unwrap_or(plan.options().threads);
        let source = Source {
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            options: Options { threads, ..plan.options().clone() },
            files: plan.key().files,
            weights: plan.weights_bytes(),
            workspace: plan.workspace_bytes(),
            arena: plan.arena(),
        };
        let resident = Arc::new(Resident {
            pricer: running.engine.pricer().clone(),
            engine: RwLock::new(Some(running)),
            source,
            guard: Arc::clone(guard),
            environment,
            loads: Loads::default(),
            enrolment,
        });
        let (engine, holder) = (Arc::clone(&resident) as Arc<dyn Engine>, Arc::downgrade(&resident));
        let attached = resident.enrolment.attach(&engine, holder);
        attached.map_err(|error| Error::caused(ErrorCode::Internal, &error))?;
        resident.enrolment.set_arena(resident.source.arena);
        Ok(resident)
    }

    /// Whether the engine is there.
    pub(crate) fn is_loaded(&self) -> bool {
        self.engine().is_some()
    }

    /// From now on it is unloaded only when it is asked to be, if it is loaded. Returns whether it is.
    pub(crate) fn keep(&self) -> bool {
        self.enrolment.keep()
    }

    /// Host bytes of its tables.
    pub(crate) fn tables_bytes(&self) -> u64 {
        self.engine().as_ref().map_or(0, |running| running.tables.bytes())
    }

    /// Loads the model for a request that was granted, unless it is there. Returns whether it is: not when the request was `over`
    /// before, and no other that was granted needed the load.
    ///
    /// # Errors
    /// As those of a load; `ModelMalformed` for files that are no longer the same; `Reentrant` in the progress callback of the
    /// load itself.
    pub(crate) fn ready(&self, over: &dyn Fn() -> bool) -> Result<bool> {
        if self.is_loaded() {
            return Ok(true);
        }
        let Some(turn) = self.loads.wait(over)? else { return Ok(false) };
        if self.is_loaded() {
            return Ok(true);
        }
        let loading = match self.enrolment.collect() {
            Some(loading) => loading,
            None => {
                // It was granted while a load was under way, which has failed.
                if let Some(error) = turn.shared_failure() {
                    return Err(error);
                }
                let booked = self.book();
                let booked = booked.map_err(|refused| turn.last_failure().unwrap_or(refused))?;
                let gone = || Error::new(ErrorCode::EngineClosed, "the guard does not know of the model");
                booked.ok_or_else(gone)?
            }
        };
        match self.load(&turn, loading, 1, &|_| !over()) {
            Err(error) if error.code() == ErrorCode::LoadCancelled => Ok(self.is_loaded()),
            loaded => loaded.map(|()| true),
        }
    }

    /// Loads the model without a request, unless it is there. Returns whether it was loaded. With a `progress` that says no it is
    /// loaded only if a request that was granted needs it.
    ///
    /// # Errors
    /// As [`Resident::ready`]; `MemoryRefused` with its numbers; `LoadCancelled`.
    pub(crate) fn load_again(&self, progress: &dyn Fn(&Progress) -> bool) -> Result<bool> {
        let Some(turn) = self.loads.wait(&|| false)? else { return Ok(false) };
        match self.book()? {
            Some(loading) => self.load(&turn, loading, 0, progress).map(|()| true),
            None => Ok(false),
        }
    }

    fn book(&self) -> Result<Option<Loading>> {
        let mut aside = self.guard.set_aside(self.source.arena);
        self.enrolment.book(None, &mut aside).map_err(|refused| no_room(&refused))
    }

    fn load(
        &self,
        turn: &Turn<'_>,
        loading: Loading,
        own: u64,
        progress: &dyn Fn(&Progress) -> bool,
    ) -> Result<()> {
        let started = self
            .source
            .plan()
            .and_then(|plan| start(&self.guard, &plan, (loading, own), &self.environment, progress));
        turn.ended(started.as_ref().err());
        let Started { running, loading, refused } = started.inspect_err(|error| {
            if error.code() != ErrorCode::LoadCancelled {
                log::error!("{} cannot be loaded again: {error}", self.source.path.display());
            }
        })?;
        *self.engine.write().unwrap_or_else(PoisonError::into_inner) = Some(running);
        loading.done();
        log::info!("{} is loaded again", self.source.path.display());
        match refused {
            true => {
                let text = "the load was to stop, and went on for requests that were granted";
                Err(Error::new(ErrorCode::LoadCancelled, text))
            }
            false => Ok(()),
        }
    }

    fn engine(&self) -> RwLockReadGuard<'_, Option<Running>> {
        // What is behind it changes at once.
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// The files as they are now, which must be those that were loaded.
    fn plan(&self) -> Result<LoadPlan> {
        let mut plan = LoadPlan::inspect(&self.path, self.options.clone()).map_err(load_error)?;
        plan.forget_tokenizer();
        let same = plan.key().files == self.files
            && (plan.weights_bytes(), plan.workspace_bytes()) == (self.weights, self.workspace);
        match same {
            true => Ok(plan),
            false => {
                let text = "the files have changed since the model was loaded; load them as a new one";
                Err(Error::new(ErrorCode::ModelMalformed, format!("{}: {text}", self.path.display())))
            }
        }
    }
}

/// Starts a plan's engine with the leases of a load, of whose model its caller has `own` requests. Memory that the system refuses
/// is asked for once more after a recovery. A `progress` that says no stops the load, unless other requests count on it; it hears
/// of no more than the failure then.
///
/// # Errors
/// Those of a load.
pub(crate) fn start(
    guard: &Arc<MemoryGuard>,
    plan: &LoadPlan,
    (mut loading, own): (Loading, u64),
    environment: &Environment,
    progress: &dyn Fn(&Progress) -> bool,
) -> Result<Started> {
    let Some([weights, workspace, tables]) = loading.take() else {
        return Err(Error::new(ErrorCode::Internal, "a model has lost its leases"));
    };
    let environment = &Environment { buffers: loading.buffers(), ..environment.clone() };
    let (loading, refused) = (RefCell::new(loading), Cell::new(false));
    // Dropped before the load, which says that all leases are back.
    let tables = tables;
    let report = |now: Progress| {
        loading.borrow().come(now.bytes_done, now.bytes_total);
        let over = matches!(now.state, LoadState::Ready | LoadState::Failed);
        if !refused.get() || now.state == LoadState::Failed {
            // The end comes too late to stop anything.
            let goes_on = progress(&now);
            refused.set(refused.get() || !goes_on && !over);
        }
        match !over && refused.get() && loading.borrow_mut().stop(own) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let parts = [(weights.owner(), weights.bytes()), (workspace.owner(), workspace.bytes())];
    let engine = match plan.load(weights, workspace, environment, &report).map_err(load_error) {
        Err(error) if error.code() == ErrorCode::OutOfMemory => {
            let recovery = guard.recover();
            let leases = guard.lease_all(Region::Host, parts);
            let [weights, workspace] = leases.map_err(|refused| no_room(&refused))?;
            let engine = plan.load(weights, workspace, environment, &report).map_err(load_error)?;
            recovery.succeeded();
            engine
        }
        engine => engine?,
    };
    Ok(Started { running: Running { engine, tables }, loading: loading.into_inner(), refused: refused.get() })
}

impl Unload for Resident {
    fn unload(&self) {
        let running = self.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        // Calls that were inside are over, so this ends the engine's threads and returns its leases.
        drop(running);
        heap::give_back();
        log::info!("{} is unloaded", self.source.path.display());
    }
}

impl Engine for Resident {
    fn capabilities(&self) -> &Capabilities {
        self.pricer.capabilities()
    }

    fn estimate(&self, shape: &Shape) -> std::result::Result<Estimate, EngineError> {
        self.pricer.estimate(shape)
    }

    fn submit(&self, job: Job) -> std::result::Result<(), Box<Rejected>> {
        match &*self.engine() {
            Some(running) => running.engine.submit(job),
            None => Err(Box::new(Rejected { job, error: EngineError::Closed })),
        }
    }

    fn reclaim(&self, session: SessionKey, freed: Sender<u64>) {
        if let Some(running) = &*self.engine() {
            running.engine.reclaim(session, freed);
        }
        // Without an engine there is no KV, and a closed channel is an answer.
    }

    fn holdings(&self) -> Holdings {
        self.engine().as_ref().map_or_else(Holdings::default, |running| running.engine.holdings())
    }
}
