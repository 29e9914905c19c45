//! The memory monitor: snapshots, history, alerts.

use super::boundary::boundary;
use super::convert::{self, CallerSized, borrow, hand_out, lend, output};
use super::error::plimsoll_error;
use super::log::plimsoll_on_drop;
use super::runtime::plimsoll_runtime;
use super::status::{plimsoll_status, plimsoll_str};
use super::text::plimsoll_text;
use crate::error::{Error, ErrorCode, Result};
use crate::guard::{Alert, AlertKind, MemoryLevel, Subject};
use plimsoll_engine::Region;
use std::ffi::c_void;
use std::time::Duration;

/// Less than 0.60 of the capacity is in use.
pub const PLIMSOLL_MEMORY_LOW: i32 = 0;
/// From 0.60 on.
pub const PLIMSOLL_MEMORY_MODERATE: i32 = 1;
/// From 0.80 on.
pub const PLIMSOLL_MEMORY_HIGH: i32 = 2;
/// From 0.90 on.
pub const PLIMSOLL_MEMORY_CRITICAL: i32 = 3;

const _: () = {
    assert!(PLIMSOLL_MEMORY_LOW == MemoryLevel::Low as i32);
    assert!(PLIMSOLL_MEMORY_MODERATE == MemoryLevel::Moderate as i32);
    assert!(PLIMSOLL_MEMORY_HIGH == MemoryLevel::High as i32);
    assert!(PLIMSOLL_MEMORY_CRITICAL == MemoryLevel::Critical as i32);
};

/// A region is used above `monitor.alert_pressure`.
pub const PLIMSOLL_ALERT_PRESSURE: i32 = 0;
/// A session holds more of its KV limit than `monitor.alert_session`.
pub const PLIMSOLL_ALERT_SESSION: i32 = 1;
/// More of the requests are refused than `monitor.alert_refusals`.
pub const PLIMSOLL_ALERT_REFUSALS: i32 = 2;
/// There are more evictions a minute than `monitor.alert_evictions`.
pub const PLIMSOLL_ALERT_EVICTIONS: i32 = 3;
/// Bytes per live object rise steadily, or outlive their object.
pub const PLIMSOLL_ALERT_LEAK: i32 = 4;

const _: () = {
    assert!(PLIMSOLL_ALERT_PRESSURE == AlertKind::Pressure as i32);
    assert!(PLIMSOLL_ALERT_SESSION == AlertKind::Session as i32);
    assert!(PLIMSOLL_ALERT_REFUSALS == AlertKind::Refusals as i32);
    assert!(PLIMSOLL_ALERT_EVICTIONS == AlertKind::Evictions as i32);
    assert!(PLIMSOLL_ALERT_LEAK == AlertKind::Leak as i32);
};

/// What the monitor saw last of one region, what its snapshots come to since the runtime was made, and the machine's figures
/// beside them. Sizes are bytes, times milliseconds.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_monitor_snapshot {
    /// In: bytes of this struct. Out: bytes of it that were written.
    pub struct_size: usize,
    /// How long ago it was taken.
    pub age_ms: u64,
    /// What there is.
    pub capacity_bytes: u64,
    /// In use, by plimsoll and by others.
    pub used_bytes: u64,
    /// In use by nobody.
    pub free_bytes: u64,
    /// Of what is in use, what plimsoll has leased.
    pub ours_bytes: u64,
    /// Of what is in use, what others use.
    pub others_bytes: u64,
    /// What may still be leased, after threshold and reserve.
    pub leasable_bytes: u64,
    /// The most that was in use.
    pub peak_bytes: u64,
    /// What was in use on average.
    pub average_bytes: u64,
    /// Snapshots taken.
    pub snapshots: u64,
    /// Times that it rose to moderate or above.
    pub moderate_events: u64,
    /// Times that it rose to high or above.
    pub high_events: u64,
    /// Times that it rose to critical.
    pub critical_events: u64,
    /// Of the time of the machine's cores, the share that they were busy since the snapshot before; 0 to 1.
    pub cpu: f64,
    /// Of the same time, the share that they worked for this process.
    pub cpu_own: f64,
    /// The machine's memory, whatever bounds the process; 0 where nothing tells of it, as the next two.
    pub memory_total_bytes: u64,
    /// Of it, what can still be taken.
    pub memory_available_bytes: u64,
    /// Of it, what this process has in memory.
    pub resident_bytes: u64,
    /// Live heap bytes of the library; 0 when it does not count them.
    pub heap_bytes: u64,
    /// Of these, what no owner of the ledger has.
    pub unbooked_bytes: u64,
    /// Cleanups so far.
    pub cleanup_runs: u64,
    /// Bytes that came back in all of them.
    pub cleanup_freed_bytes: u64,
    /// How long ago the last one ended; -1 before the first.
    pub cleanup_age_ms: i64,
    /// How full the region is, one of `PLIMSOLL_MEMORY_*`.
    pub level: i32,
    /// Alerts that are active.
    pub alerts: u32,
}

// SAFETY: repr(C), struct_size first, any bytes are valid.
unsafe impl CallerSized for plimsoll_monitor_snapshot {
    const NAME: &'static str = "plimsoll_monitor_snapshot";
    fn with_size(mut self, size: usize) -> Self {
        self.struct_size = size;
        self
    }
}

/// An alert that was raised or cleared.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_alert {
    /// Bytes of this struct that the library filled.
    pub struct_size: usize,
    /// One of `PLIMSOLL_ALERT_*`.
    pub kind: i32,
    /// 1 when it was raised, 0 when it is over.
    pub raised: i32,
    /// What was measured: a fraction, or evictions a minute. Of a leak the fraction by which bytes per live object rose; 1 where
    /// the object is gone.
    pub value: f64,
    /// What it has to be above.
    pub threshold: f64,
    /// The bytes in question: used, held, leaked; 0 where it is about requests.
    pub bytes: u64,
    /// The session, as the statistics name it; 0 where it is about none.
    pub session: u64,
    /// The region: -1 is the host's memory, else it is that of the device with this index; -2 where it is about none.
    pub region: i32,
    /// Always 0.
    pub reserved: u32,
    /// All of it in a sentence; lives until the callback returns.
    pub text: plimsoll_str,
}

/// Hears of an alert. `alert` lives until it returns. It runs on a thread of the library, or on the one that asked for a
/// snapshot, with no lock held; any call may be made inside. It must not throw.
pub type plimsoll_on_alert =
    Option<unsafe extern "C" fn(alert: *const plimsoll_alert, user_data: *mut c_void)>;

/// A function of the host's with its user data, and what is called once when it is given up.
pub(super) struct Registration<F: Copy> {
    call: F,
    user_data: *mut c_void,
    drop: plimsoll_on_drop,
}

// SAFETY: the header demands functions that may be called from any thread with their user data.
unsafe impl<F: Copy> Send for Registration<F> {}
// SAFETY: as above.
unsafe impl<F: Copy> Sync for Registration<F> {}

impl<F: Copy> Registration<F> {
    pub(super) fn new(call: F, user_data: *mut c_void, drop: plimsoll_on_drop) -> Self {
        Registration { call, user_data, drop }
    }

    /// The function and its user data.
    pub(super) fn parts(&self) -> (F, *mut c_void) {
        (self.call, self.user_data)
    }
}

impl<F: Copy> Drop for Registration<F> {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: registered for this user data, called once: here.
            unsafe { drop(self.user_data) };
        }
    }
}

fn region_of(region: i32) -> Result<Region> {
    match u8::try_from(region) {
        Ok(index) => Ok(Region::Device(index)),
        Err(_) if region == -1 => Ok(Region::Host),
        Err(_) => {
            let text = format!("region {region} is neither -1 nor a device's index");
            Err(Error::new(ErrorCode::InvalidArgument, text))
        }
    }
}

fn region_number(region: Region) -> i32 {
    match region {
        Region::Device(index) => i32::from(index),
        _ => -1,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Writes what the monitor saw last of `region`: -1 is the host's memory, else that of the device with this index. Set
/// `snapshot->struct_size` first. With `monitor.interval_ms` 0 the snapshot is taken now.
///
/// Ownership: borrows the runtime. Threads: any. Errors: `INVALID_ARGUMENT` for a region that is not managed,
/// `INVALID_STRUCT_SIZE`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_monitor_get_snapshot(
    runtime: *const plimsoll_runtime,
    region: i32,
    snapshot: *mut plimsoll_monitor_snapshot,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and sized structs.
    unsafe {
        boundary("plimsoll_monitor_get_snapshot", error, || {
            let runtime = borrow(runtime, "runtime")?;
            let size = convert::sized(snapshot)?;
            let region = region_of(region)?;
            let stats = runtime.0.guard().monitor();
            let Some((last, trend)) = stats.region(region) else {
                return Err(Error::new(
                    ErrorCode::InvalidArgument,
                    format!("{region} memory is not managed"),
                ));
            };
            let system = stats.system;
            let machine = |part: fn(&crate::guard::SystemSnapshot) -> u64| system.as_ref().map_or(0, part);
            let [moderate_events, high_events, critical_events] = trend.events;
            let value = plimsoll_monitor_snapshot {
                struct_size: size,
                age_ms: millis(stats.now.saturating_sub(last.at)),
                capacity_bytes: last.capacity,
                used_bytes: last.used(),
                free_bytes: last.free(),
                ours_bytes: last.ours,
                others_bytes: last.others,
                leasable_bytes: last.leasable,
                peak_bytes: trend.peak,
                average_bytes: trend.average,
                snapshots: trend.snapshots,
                moderate_events,
                high_events,
                critical_events,
                cpu: system.map_or(0.0, |system| system.cpu),
                cpu_own: system.map_or(0.0, |system| system.cpu_own),
                memory_total_bytes: machine(|system| system.memory_total),
                memory_available_bytes: machine(|system| system.memory_available),
                resident_bytes: machine(|system| system.resident),
                heap_bytes: machine(|system| system.heap.unwrap_or(0)),
                unbooked_bytes: machine(|system| system.unbooked.unwrap_or(0)),
                cleanup_runs: stats.cleanup.runs,
                cleanup_freed_bytes: stats.cleanup.freed,
                cleanup_age_ms: stats.cleanup.last.map_or(-1, |last| {
                    i64::try_from(millis(stats.now.saturating_sub(last))).unwrap_or(i64::MAX)
                }),
                level: last.level as i32,
                alerts: u32::try_from(stats.alerts.len()).unwrap_or(u32::MAX),
            };
            convert::write_sized(snapshot, size, value);
            Ok(())
        })
    }
}

/// The snapshots that are kept [the last 1000] as a JSON object: "regions", each with its "snapshots", and "system", the oldest
/// first; "now_ms" is the time on the same clock.
///
/// Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_monitor_history_json(
    runtime: *const plimsoll_runtime,
    out: *mut *mut plimsoll_text,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        boundary("plimsoll_monitor_history_json", error, || {
            let (runtime, out) = (borrow(runtime, "runtime")?, output(out, "out")?);
            hand_out(out, plimsoll_text(runtime.0.guard().history().to_json().to_string()))
        })
    }
}

/// The alerts as a JSON object: "active", "cleared" (the last 32), each with "kind", "text", "value", "threshold", "bytes",
/// "raised_ms", "cleared_ms" and where it is; "raised" counts them by kind; "now_ms" is the time on the same clock.
///
/// Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_monitor_alerts_json(
    runtime: *const plimsoll_runtime,
    out: *mut *mut plimsoll_text,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        boundary("plimsoll_monitor_alerts_json", error, || {
            let (runtime, out) = (borrow(runtime, "runtime")?, output(out, "out")?);
            hand_out(out, plimsoll_text(runtime.0.guard().monitor().alerts_json().to_string()))
        })
    }
}

/// Has `on_alert` hear of every alert that is raised or cleared from now on, in place of whoever did before; NULL ends it.
/// `on_drop`, when not NULL, is called exactly once with `user_data`: when another registration replaces this one, or the
/// runtime and all that was made from it is gone, and no alert is on its way any more; or at once when this call fails or
/// `on_alert` is NULL.
///
/// Ownership: keeps `user_data` until `on_drop`. Threads: any, also from inside the callback. Errors: `NULL_POINTER`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_monitor_on_alert(
    runtime: *const plimsoll_runtime,
    on_alert: plimsoll_on_alert,
    user_data: *mut c_void,
    on_drop: plimsoll_on_drop,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // Made first, so that its drop runs on every way out.
    let registration = Registration::new(on_alert, user_data, on_drop);
    // SAFETY: the header's rules for handles and registrations.
    unsafe {
        boundary("plimsoll_monitor_on_alert", error, move || {
            let guard = borrow(runtime, "runtime")?.0.guard();
            if on_alert.is_none() {
                guard.on_alert(None);
                return Ok(());
            }
            guard.on_alert(Some(Box::new(move |alert| tell(&registration, alert))));
            Ok(())
        })
    }
}

fn tell(registration: &Registration<plimsoll_on_alert>, alert: &Alert) {
    let text = alert.to_string();
    let (session, region) = match alert.subject {
        Subject::Session(session) => (session.0, -2),
        Subject::Region(region) => (0, region_number(region)),
        _ => (0, -2),
    };
    let told = plimsoll_alert {
        struct_size: size_of::<plimsoll_alert>(),
        kind: alert.kind as i32,
        raised: alert.cleared.is_none().into(),
        value: alert.value,
        threshold: alert.threshold,
        bytes: alert.bytes,
        session,
        region,
        reserved: 0,
        text: lend(text.as_bytes()),
    };
    if let (Some(call), user_data) = registration.parts() {
        // SAFETY: registered for this user data; no lock is held here.
        unsafe { call(&raw const told, user_data) };
    }
}
