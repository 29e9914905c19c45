//! The runtime: owns guard and models, and is the one place that wires them.

use crate::config::Config;
use crate::error::{Error, ErrorCode, Numbers, Result};
use crate::guard::{
    Buffer, GuardConfig, GuardError, Levels, MemoryGuard, MemoryStats, PoolError, Refusal, SystemProbe,
};
use crate::model::{Loaded, Model, TextSide};
use crate::monitor::monitor_config;
use crate::ticket::{Granted, Held, Ticket};
use crate::timer::Timer;
use plimsoll_engine::{Clock, Engine, MemoryProbe, ModelId, SessionKey, SystemClock};
#[cfg(any(feature = "native", feature = "plugin"))]
use plimsoll_engine::{Lease, Owner, Region};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// How often memory is looked at.
const WATCH: Duration = Duration::from_millis(100);

/// Idle sessions and expired tickets are looked for every so many times.
const SWEEP: u32 = 5;

/// A runtime: one memory guard, and the models under it. Clones are the same runtime.
///
/// ```
/// use plimsoll::{Config, Runtime};
/// use std::path::Path;
///
/// # fn main() -> plimsoll::Result<()> {
/// let mut config = Config::new();
/// config.set("memory.budget", "64MiB")?;
/// let runtime = Runtime::new(&config)?;
/// assert_eq!(runtime.memory().weights_bytes, 0);
///
/// let model = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|progress| {
///     eprintln!("{} of {} bytes", progress.bytes_done, progress.bytes_total);
///     true // go on
/// })?;
/// let memory = runtime.memory();
/// assert_eq!(memory.weights_bytes, model.holdings().weights);
///
/// // The host shares the budget's machine: may it take a gigabyte for itself?
/// let _ = runtime.can_allocate(1 << 30, 0.1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) guard: Arc<MemoryGuard>,
    pub(crate) clock: Arc<dyn Clock>,
    #[cfg(feature = "native")]
    pub(crate) native: crate::native::Registry,
    ticket_ttl: Duration,
    tickets: Mutex<Vec<Weak<Held>>>,
    models: AtomicU64,
    timers: OnceLock<Vec<Timer>>,
}

impl Runtime {
    /// A runtime over this machine's memory. `config` takes `memory.*`, `guard.*` and `monitor.*` keys.
    ///
    /// # Errors
    /// `InvalidConfig`, also for a budget that leaves nothing.
    pub fn new(config: &Config) -> Result<Runtime> {
        Self::with_environment(config, Arc::new(SystemProbe::default()), Arc::new(SystemClock::default()))
    }

    /// A runtime whose memory readings and time come from elsewhere.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn with_environment(
        config: &Config,
        probe: Arc<dyn MemoryProbe>,
        clock: Arc<dyn Clock>,
    ) -> Result<Runtime> {
        let runtime = Self::without_threads(config, probe, clock)?;
        runtime.tick();
        let timers = Inner::start_timers(&runtime.inner)?;
        runtime.inner.timers.get_or_init(|| timers);
        Ok(runtime)
    }

    /// As [`Runtime::with_environment`], without the threads that look for idle sessions and expired tickets, and at memory:
    /// whoever runs it calls [`Runtime::sweep`] and [`Runtime::tick`] when its clock says so. With an engine that has no thread either, all that happens follows
    /// from the calls and the clock alone.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn without_threads(
        config: &Config,
        probe: Arc<dyn MemoryProbe>,
        clock: Arc<dyn Clock>,
    ) -> Result<Runtime> {
        config.only_runtime()?;
        let guard_config = guard_config(config);
        let ticket_ttl = guard_config.ticket_ttl;
        let guard =
            MemoryGuard::new(guard_config, probe, Arc::clone(&clock)).map_err(|error| match error {
                GuardError::OutOfMemory => {
                    Error::no_memory("the system has no memory for the guard's tables")
                }
                error => Error::caused(ErrorCode::InvalidConfig, &error),
            })?;
        let inner = Arc::new(Inner {
            guard,
            clock,
            #[cfg(feature = "native")]
            native: crate::native::Registry::default(),
            ticket_ttl,
            tickets: Mutex::default(),
            models: AtomicU64::new(1),
            timers: OnceLock::new(),
        });
        Ok(Runtime { inner })
    }

    /// Takes the bytes of expired tickets and the KV of sessions that were not used for the idle timeout back. Returns the
    /// bytes of KV. A runtime with a thread of its own does so by itself.
    pub fn sweep(&self) -> u64 {
        self.inner.sweep()
    }

    /// A model over an engine of the host's own.
    pub fn model(&self, name: &str, engine: Arc<dyn Engine>, text: TextSide) -> Model {
        let loaded = Loaded::new(self.inner.next_model(), engine, text, None);
        Model::new(Arc::clone(&self.inner), name, Arc::new(loaded))
    }

    #[cfg(any(feature = "native", feature = "plugin"))]
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Loads a model. This build has no native engine.
    ///
    /// # Errors
    /// `Unsupported`.
    #[cfg(not(feature = "native"))]
    pub fn load_model(
        &self,
        _name: &str,
        _path: &std::path::Path,
        _config: &Config,
        _progress: &dyn Fn(&plimsoll_engine::Progress) -> bool,
    ) -> Result<Model> {
        Err(Error::new(ErrorCode::Unsupported, "this build of plimsoll has no native engine"))
    }

    /// What the guard knows: regions, sessions, counters, the ledger by owner.
    pub fn memory(&self) -> MemoryStats {
        self.inner.guard.stats()
    }

    /// Heap bytes of the library that are live in this process, in a build that counts them (`alloc-mimalloc`,
    /// `alloc-system`); `None` in others. Weights, workspaces and KV blocks may be mapped rather than on the heap.
    pub fn heap_bytes(&self) -> Option<u64> {
        crate::heap::total()
    }

    /// Whether the host may take `bytes` of memory for itself, and `margin` of them more, without coming near the limit.
    pub fn can_allocate(&self, bytes: u64, margin: f64) -> bool {
        self.inner.guard.can_allocate(bytes, margin)
    }

    /// Whether at least `threshold` (a fraction of the capacity) of host memory is in use, by plimsoll and others.
    pub fn is_low_memory(&self, threshold: f64) -> bool {
        self.inner.guard.is_low_memory(threshold)
    }

    /// A buffer of at least `bytes` of host memory from the guard's pool, leased until it is dropped.
    ///
    /// ```
    /// # fn main() -> plimsoll::Result<()> {
    /// # let runtime = plimsoll::Runtime::new(&plimsoll::Config::new())?;
    /// let mut buffer = runtime.buffer(300_000)?;
    /// buffer.as_mut_slice().fill(1);
    /// drop(buffer);
    /// let again = runtime.buffer(250_000)?; // the same memory
    /// assert_eq!(runtime.memory().pool.hits, 1);
    /// # drop(again);
    /// # Ok(())
    /// # }
    /// ```
    /// # Errors
    /// `InvalidArgument` for no bytes, `MemoryRefused` with its numbers, `OutOfMemory`.
    pub fn buffer(&self, bytes: usize) -> Result<Buffer> {
        self.inner.guard.acquire(bytes).map_err(|error| match &error {
            PoolError::Refused(refused) => no_room(refused),
            PoolError::OutOfMemory { .. } => Error::caused(ErrorCode::OutOfMemory, &error),
            _ => Error::caused(ErrorCode::InvalidArgument, &error),
        })
    }

    /// The guard, for hosts that lease memory of their own from the same budget.
    pub fn guard(&self) -> &Arc<MemoryGuard> {
        &self.inner.guard
    }
}

impl Inner {
    pub(crate) fn next_model(&self) -> ModelId {
        ModelId(self.models.fetch_add(1, Ordering::Relaxed))
    }

    /// Books host bytes for a model that is being loaded.
    #[cfg(any(feature = "native", feature = "plugin"))]
    pub(crate) fn lease(&self, owner: Owner, bytes: u64) -> Result<Lease> {
        self.guard.lease(Region::Host, owner, bytes).map_err(|refused| no_room(&refused))
    }

    pub(crate) fn issue_ticket(&self, model: ModelId, session: SessionKey, granted: Granted) -> Ticket {
        let ticket = Ticket::new(model, session, self.clock.now().saturating_add(self.ticket_ttl), granted);
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.push(Arc::downgrade(ticket.held()));
        ticket
    }

    /// The threads of a runtime: one for what must not be late, and one for the monitor, in which callbacks of the host run.
    fn start_timers(inner: &Arc<Inner>) -> Result<Vec<Timer>> {
        let mut round = 0_u32;
        let watch = Timer::start("plimsoll-sweep", WATCH, inner, move |inner| {
            inner.guard.watch();
            round = (round + 1) % SWEEP;
            if round == 0 {
                inner.sweep();
            }
        })?;
        let interval = inner.guard.config().monitor.interval;
        if interval.is_zero() {
            return Ok(vec![watch]);
        }
        Ok(vec![watch, Timer::start("plimsoll-monitor", interval, inner, |inner| inner.guard.tick())?])
    }

    fn sweep(&self) -> u64 {
        self.sweep_tickets();
        self.guard.sweep_pool();
        self.guard.evict_idle()
    }

    /// Takes the bytes of expired tickets back.
    pub(crate) fn sweep_tickets(&self) {
        let now = self.clock.now();
        let live: Vec<Arc<Held>> = {
            let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
            tickets.retain(|ticket| ticket.strong_count() > 0);
            tickets.iter().filter_map(Weak::upgrade).collect()
        };
        live.iter().for_each(|held| held.expire(now));
    }
}

/// A refused lease, with its numbers.
pub(crate) fn no_room(refused: &Refusal) -> Error {
    Error::caused(ErrorCode::MemoryRefused, refused).with_numbers(Numbers {
        bytes_asked: refused.bytes_asked,
        bytes_free: refused.bytes_free,
        ..Numbers::default()
    })
}

fn guard_config(config: &Config) -> GuardConfig {
    let mut guard = GuardConfig { budget: config.integer("memory.budget"), ..GuardConfig::default() };
    if let Some(threshold) = config.fraction("guard.threshold") {
        guard.threshold = threshold;
    }
    guard.reserve = config.integer("guard.reserve_mb");
    if let Some(limit) = config.integer("guard.session_limit_mb") {
        guard.session_limit = limit;
    }
    if let Some(limit) = config.integer("guard.kv_limit_mb") {
        guard.kv_limit = limit;
    }
    if let Some(timeout) = config.seconds("guard.idle_timeout_s") {
        guard.idle_timeout = timeout;
    }
    if let Some(limit) = config.integer("guard.pool_limit_mb") {
        guard.pool_limit = limit;
    }
    if let Some(timeout) = config.seconds("guard.pool_timeout_s") {
        guard.pool_timeout = timeout;
    }
    if let Some(ttl) = config.seconds("guard.ticket_ttl_s") {
        guard.ticket_ttl = ttl;
    }
    if let Some(queue) = config.integer("guard.queue") {
        // At most 65,536.
        guard.queue = usize::try_from(queue).unwrap_or(usize::MAX);
    }
    guard.pressure = match (config.name("guard.degrade"), config.levels("guard.pressure_levels")) {
        (Some("off"), _) => None,
        (_, Some(above)) => Some(Levels { above, ..Levels::default() }),
        _ => guard.pressure,
    };
    guard.monitor = monitor_config(config);
    guard
}
