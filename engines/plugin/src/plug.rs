//! A plug-in: its table, its pointer, and what it was given.

use crate::abi::{
    plimsoll_engine_description, plimsoll_engine_holdings, plimsoll_engine_host, plimsoll_engine_price,
    plimsoll_engine_request, plimsoll_engine_shape, plimsoll_engine_table,
};
use crate::desk::Desk;
use crate::engine::{PluginEngine, Settings};
use crate::table::Table;
use crate::{Description, PluginError, host, status};
use crossbeam_channel::Sender;
use plimsoll_engine::Lease;
use std::convert::Infallible;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

/// The plug-in's own pointer, and who is told when it is no longer needed: exactly once.
struct UserData {
    pointer: *mut c_void,
    drop: Option<unsafe extern "C" fn(*mut c_void)>,
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: registered for this pointer, called once: here.
            unsafe { drop(self.pointer) };
        }
    }
}

/// A plug-in that is not loaded yet.
pub struct Plugin {
    table: Table,
    user_data: UserData,
}

// SAFETY: whoever adopts it promises that its functions may be called from any thread with its pointer.
unsafe impl Send for Plugin {}

impl Plugin {
    /// Copies and checks a plug-in's table. `drop`, if there is one, is called exactly once with `user_data`: when this call
    /// fails, when the plug-in is dropped before it is loaded, or when its engine is gone.
    ///
    /// # Errors
    /// What is wrong with the table.
    ///
    /// # Safety
    /// `table` is NULL or points to as many readable bytes as its struct_size says. Its functions do what [`crate::abi`] says of
    /// their slots, and may be called with `user_data` from any thread, several at once, as do `drop`.
    pub unsafe fn adopt(
        table: *const plimsoll_engine_table,
        user_data: *mut c_void,
        drop: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> Result<Plugin, PluginError> {
        // First, so that its drop runs on every way out.
        let user_data = UserData { pointer: user_data, drop };
        // SAFETY: the caller's promise.
        let table = unsafe { Table::copy(table) }?;
        Ok(Plugin { table, user_data })
    }

    /// Asks the plug-in what it is.
    ///
    /// # Errors
    /// It fails, or its figures make no sense.
    pub fn describe(&self) -> Result<Description, PluginError> {
        let mut description = plimsoll_engine_description {
            struct_size: size_of::<plimsoll_engine_description>(),
            context_length: 0,
            vocab_size: 0,
            block_tokens: 0,
            max_sequences: 0,
            weights_bytes: 0,
            workspace_bytes: 0,
            name: ptr::null(),
            name_len: 0,
        };
        // SAFETY: promised to `adopt`; the description is valid for writes.
        let answer = unsafe { (self.table.describe)(self.user_data.pointer, &raw mut description) };
        succeeded("describe", answer)?;
        // SAFETY: the header demands that the name has as many bytes as it says.
        unsafe { Description::checked(&description) }
    }

    /// Makes an engine of it. `weights` and `workspace` pay for what it described, as long as it lives.
    ///
    /// # Errors
    /// It does not load, or the system starts no thread.
    pub fn load(
        self,
        description: &Description,
        weights: Lease,
        workspace: Lease,
        settings: Settings,
    ) -> Result<Arc<PluginEngine>, PluginError> {
        let Plugin { table, user_data } = self;
        let desk = Desk::new(
            Arc::clone(&settings.clock),
            description.capabilities.vocab_size,
            table.reclaim.is_some(),
        );
        let host = Box::new(host::table(&desk));
        let mut engine = ptr::null_mut();
        // SAFETY: promised to `adopt`; the host table and its desk live until the plug-in is freed, or here until it has failed.
        let answer = unsafe { (table.load)(user_data.pointer, &raw const *host, &raw mut engine) };
        succeeded("load", answer)?;
        let (alive, gone) = crossbeam_channel::bounded(0);
        let _leases = [weights, workspace];
        let plug = Plug { table, engine, desk, _user_data: user_data, _leases, _host: host, _alive: alive };
        PluginEngine::start(Arc::new(plug), description, settings, gone)
    }
}

fn succeeded(slot: &'static str, answer: i32) -> Result<(), PluginError> {
    if answer == status::OK { Ok(()) } else { Err(PluginError::Failed { slot, status: answer }) }
}

/// A loaded plug-in. Dropping the last reference frees it, ends what it had not ended and returns all leases.
pub(crate) struct Plug {
    table: Table,
    engine: *mut c_void,
    pub(crate) desk: Arc<Desk>,
    // Fields drop in this order, once the plug-in is freed.
    _user_data: UserData,
    _leases: [Lease; 2],
    _host: Box<plimsoll_engine_host>,
    /// Closed when all else is gone.
    _alive: Sender<Infallible>,
}

// SAFETY: whoever adopted it promised that its functions may be called from any thread; the rest is Send.
unsafe impl Send for Plug {}
// SAFETY: as above, several at once.
unsafe impl Sync for Plug {}

impl Plug {
    pub(crate) fn estimate(&self, shape: &plimsoll_engine_shape) -> Result<plimsoll_engine_price, i32> {
        let mut price = plimsoll_engine_price {
            struct_size: size_of::<plimsoll_engine_price>(),
            kv_bytes: 0,
            kv_block_bytes: 0,
            request_bytes: 0,
        };
        // SAFETY: promised to `adopt`; both structs are valid, and the plug-in is not freed while `self` is borrowed.
        match unsafe { (self.table.estimate)(self.engine, shape, &raw mut price) } {
            status::OK => Ok(price),
            answer => Err(answer),
        }
    }

    pub(crate) fn start(&self, request: &plimsoll_engine_request) -> i32 {
        // SAFETY: as above; what the request points to lives until this returns.
        unsafe { (self.table.start)(self.engine, request) }
    }

    pub(crate) fn cancel(&self, request: u64) {
        if let Some(cancel) = self.table.cancel {
            // SAFETY: as above. The status says nothing that the request's end does not.
            unsafe { cancel(self.engine, request) };
        }
    }

    /// The plug-in's answer to a reclaim; `OK` where it has no such slot.
    pub(crate) fn reclaim(&self, session: u64, bytes: u64, deadline_ms: u32) -> i32 {
        // SAFETY: as above.
        self.table
            .reclaim
            .map_or(status::OK, |reclaim| unsafe { reclaim(self.engine, session, bytes, deadline_ms) })
    }

    /// What the plug-in says that it holds; `None` where it does not say.
    pub(crate) fn holdings(&self) -> Option<plimsoll_engine_holdings> {
        let mut holdings = plimsoll_engine_holdings {
            struct_size: size_of::<plimsoll_engine_holdings>(),
            weights_bytes: 0,
            workspace_bytes: 0,
            kv_bytes: 0,
        };
        // SAFETY: as above; the struct is valid for writes.
        let answer = unsafe { (self.table.holdings?)(self.engine, &raw mut holdings) };
        (answer == status::OK).then_some(holdings)
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.desk.close();
        if let Some(free) = self.table.free {
            // SAFETY: promised to `adopt`; nobody else has the plug-in, so no other slot runs, and this is the only call.
            unsafe { free(self.engine) };
        }
        let left = self.desk.settle();
        if left > 0 {
            log::debug!("a plug-in that is freed had {left} bytes of KV leased, which return");
        }
        match self.desk.ignored() {
            0 => {}
            ignored => log::warn!("{ignored} calls of a plug-in were ignored: they named what was not there"),
        }
    }
}
