//! What the tests share: a guard to attach plug-ins under, and the example engine as a shared library that is compiled on the
//! spot.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod scripted;
pub mod talk;

use plimsoll::guard::{GuardConfig, MemoryGuard};
use plimsoll_engine::{Clock, ModelId, Owner, Reading, Region, SystemClock};
use plimsoll_plugin::abi::plimsoll_engine_table;
use plimsoll_plugin::{Plugin, PluginEngine, PluginError, Settings};
use std::ffi::{CString, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A guard over a budget, and how plug-ins are treated under it.
pub struct Host {
    pub guard: Arc<MemoryGuard>,
    pub clock: Arc<dyn Clock>,
    pub grace: Duration,
}

impl Host {
    pub fn new(budget: u64) -> Host {
        Host::with(budget, Duration::from_secs(30))
    }

    pub fn with(budget: u64, reclaim_deadline: Duration) -> Host {
        let settings = GuardConfig {
            budget: Some(budget),
            threshold: 1.0,
            reserve: Some(0),
            reclaim_deadline,
            pressure: None,
            ..GuardConfig::default()
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let unread = Arc::new(Mutex::<Option<Reading>>::new(None));
        let guard = MemoryGuard::new(settings, unread, Arc::clone(&clock)).unwrap();
        Host { guard, clock, grace: Duration::from_secs(10) }
    }

    /// Attaches a plug-in as a runtime does.
    ///
    /// # Safety
    /// As [`Plugin::adopt`].
    pub unsafe fn attach(
        &self,
        table: &plimsoll_engine_table,
        user_data: *mut c_void,
        drop: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> Result<Arc<PluginEngine>, PluginError> {
        // SAFETY: the caller's promise.
        let plugin = unsafe { Plugin::adopt(table, user_data, drop) }?;
        let description = plugin.describe()?;
        let lease = |owner, bytes| self.guard.lease(Region::Host, owner, bytes).unwrap();
        let weights = lease(Owner::Weights(ModelId(1)), description.weights_bytes);
        let workspace = lease(Owner::Workspace(ModelId(1)), description.workspace_bytes);
        let settings = Settings {
            clock: Arc::clone(&self.clock),
            grace: self.grace,
            reclaim_deadline: self.guard.config().reclaim_deadline,
        };
        plugin.load(&description, weights, workspace, settings)
    }

    /// Bytes that are booked for anything.
    pub fn booked(&self) -> u64 {
        self.guard.check_integrity().unwrap();
        self.guard.stats().ledger.iter().map(|entry| entry.bytes).sum()
    }
}

/// Waits for something that another thread does.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The table of examples/lookup/lookup.c.
pub fn library() -> plimsoll_engine_table {
    static LIBRARY: OnceLock<usize> = OnceLock::new();
    let function = *LIBRARY.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let object = Path::new(env!("CARGO_TARGET_TMPDIR")).join("liblookup.so");
        let compiled = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
            .args(["-std=c99", "-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC"])
            .arg("-I")
            .arg(root.join("include"))
            .arg(root.join("examples/lookup/lookup.c"))
            .arg("-o")
            .arg(&object)
            .arg("-lpthread")
            .status()
            .expect("a C compiler runs");
        assert!(compiled.success(), "the example engine does not compile");
        let path = CString::new(object.into_os_string().into_encoded_bytes()).unwrap();
        // SAFETY: the path is a C string; the library has no initialisers.
        let opened = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!opened.is_null(), "the example engine does not load");
        // SAFETY: the handle is open, and stays so.
        let function = unsafe { libc::dlsym(opened, c"lookup_table".as_ptr()) };
        assert!(!function.is_null(), "the example engine has no table");
        function as usize
    });
    // SAFETY: the function is declared as `plimsoll_engine_table lookup_table(void)`, and its library is never closed.
    let table: unsafe extern "C" fn() -> plimsoll_engine_table =
        unsafe { std::mem::transmute::<usize, _>(function) };
    // SAFETY: it only returns a constant.
    unsafe { table() }
}
