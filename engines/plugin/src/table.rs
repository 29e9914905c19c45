//! The table, copied and checked: required slots are there.

use crate::PluginError;
use crate::abi::{
    PLIMSOLL_ENGINE_ABI_VERSION, plimsoll_engine_description, plimsoll_engine_holdings, plimsoll_engine_host,
    plimsoll_engine_price, plimsoll_engine_request, plimsoll_engine_shape, plimsoll_engine_table,
};
use std::ffi::c_void;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::ptr;

type Describe = unsafe extern "C" fn(*mut c_void, *mut plimsoll_engine_description) -> i32;
type Load = unsafe extern "C" fn(*mut c_void, *const plimsoll_engine_host, *mut *mut c_void) -> i32;
type Estimate =
    unsafe extern "C" fn(*mut c_void, *const plimsoll_engine_shape, *mut plimsoll_engine_price) -> i32;
type Start = unsafe extern "C" fn(*mut c_void, *const plimsoll_engine_request) -> i32;
type Cancel = unsafe extern "C" fn(*mut c_void, u64) -> i32;
type Reclaim = unsafe extern "C" fn(*mut c_void, u64, u64, u32) -> i32;
type Holdings = unsafe extern "C" fn(*mut c_void, *mut plimsoll_engine_holdings) -> i32;
type Free = unsafe extern "C" fn(*mut c_void);

/// A plug-in's functions.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub(crate) describe: Describe,
    pub(crate) load: Load,
    pub(crate) estimate: Estimate,
    pub(crate) start: Start,
    pub(crate) cancel: Option<Cancel>,
    pub(crate) reclaim: Option<Reclaim>,
    pub(crate) holdings: Option<Holdings>,
    pub(crate) free: Option<Free>,
}

/// The first optional slot: a table must reach it.
const LEAST: usize = offset_of!(plimsoll_engine_table, cancel);

impl Table {
    /// Copies a table, as much of it as there is.
    ///
    /// # Safety
    /// `table` is NULL or points to as many readable bytes as its struct_size says, and the functions in it are what the
    /// header says of their slots.
    pub(crate) unsafe fn copy(table: *const plimsoll_engine_table) -> Result<Table, PluginError> {
        if table.is_null() {
            return Err(PluginError::NullTable);
        }
        // SAFETY: the caller's promise; the table may be shorter than this library's, so only its first member is read.
        let size = unsafe { ptr::read(table.cast::<usize>()) };
        if size < LEAST {
            return Err(PluginError::TableSize(size));
        }
        let mut copy = MaybeUninit::<plimsoll_engine_table>::zeroed();
        let bytes = size.min(size_of::<plimsoll_engine_table>());
        // SAFETY: `table` has `size` bytes, and `bytes` is at most that and at most the copy's.
        unsafe { ptr::copy_nonoverlapping(table.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), bytes) };
        // SAFETY: zeroes are valid for every member (a slot that is not there is None), and so is what the caller set.
        let table = unsafe { copy.assume_init() };
        if !(1..=PLIMSOLL_ENGINE_ABI_VERSION).contains(&table.abi_version) {
            return Err(PluginError::Version(table.abi_version));
        }
        Ok(Table {
            describe: table.describe.ok_or(PluginError::Missing("describe"))?,
            load: table.load.ok_or(PluginError::Missing("load"))?,
            estimate: table.estimate.ok_or(PluginError::Missing("estimate"))?,
            start: table.start.ok_or(PluginError::Missing("start"))?,
            cancel: table.cancel,
            reclaim: table.reclaim,
            holdings: table.holdings,
            free: table.free,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    unsafe extern "C" fn describe(_: *mut c_void, _: *mut plimsoll_engine_description) -> i32 {
        0
    }
    unsafe extern "C" fn load(_: *mut c_void, _: *const plimsoll_engine_host, _: *mut *mut c_void) -> i32 {
        0
    }
    unsafe extern "C" fn estimate(
        _: *mut c_void,
        _: *const plimsoll_engine_shape,
        _: *mut plimsoll_engine_price,
    ) -> i32 {
        0
    }
    unsafe extern "C" fn start(_: *mut c_void, _: *const plimsoll_engine_request) -> i32 {
        0
    }
    unsafe extern "C" fn free(_: *mut c_void) {}

    fn whole() -> plimsoll_engine_table {
        plimsoll_engine_table {
            struct_size: size_of::<plimsoll_engine_table>(),
            abi_version: 1,
            reserved: 0,
            describe: Some(describe),
            load: Some(load),
            estimate: Some(estimate),
            start: Some(start),
            cancel: None,
            reclaim: None,
            holdings: None,
            free: Some(free),
        }
    }

    fn copied(table: &plimsoll_engine_table) -> Result<Table, PluginError> {
        // SAFETY: a table of this very library.
        unsafe { Table::copy(table) }
    }

    #[test]
    fn what_is_missing_is_named() {
        // SAFETY: NULL is allowed.
        let null = unsafe { Table::copy(ptr::null()) };
        assert_eq!(null.err(), Some(PluginError::NullTable));
        type Spoil = fn(&mut plimsoll_engine_table);
        let cases: [(Spoil, PluginError); 8] = [
            (|t| t.struct_size = 0, PluginError::TableSize(0)),
            (|t| t.struct_size = LEAST - 1, PluginError::TableSize(LEAST - 1)),
            (|t| t.abi_version = 0, PluginError::Version(0)),
            (|t| t.abi_version = 2, PluginError::Version(2)),
            (|t| t.describe = None, PluginError::Missing("describe")),
            (|t| t.load = None, PluginError::Missing("load")),
            (|t| t.estimate = None, PluginError::Missing("estimate")),
            (|t| t.start = None, PluginError::Missing("start")),
        ];
        for (spoil, wanted) in cases {
            let mut table = whole();
            spoil(&mut table);
            assert_eq!(copied(&table).err(), Some(wanted));
        }
    }

    #[test]
    fn a_shorter_table_has_no_optional_slots_and_a_longer_one_is_cut() {
        let mut table = whole();
        assert!(copied(&table).unwrap().free.is_some());
        table.struct_size = LEAST;
        assert!(copied(&table).unwrap().free.is_none());
        #[repr(C)]
        struct Later(plimsoll_engine_table, [usize; 4]);
        let mut later = Later(whole(), [1; 4]);
        later.0.struct_size = size_of::<Later>();
        // SAFETY: the table has as many bytes as it says.
        assert!(unsafe { Table::copy((&raw const later).cast()) }.unwrap().free.is_some());
    }
}
