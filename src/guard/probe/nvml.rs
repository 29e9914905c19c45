//! Devices of NVIDIA's driver, from its management library, which is loaded when there is one.
//!
//! The seven functions that are needed are found by name, so the library is no dependency, and a machine without it has no such
//! devices. What the header of the management library calls `nvmlDevice_t` is a pointer that only it looks behind.

use plimsoll_engine::Reading;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;

/// How the driver installs it.
const NAME: &str = "libnvidia-ml.so.1";
/// Devices beyond these are not looked at: a [`plimsoll_engine::Region`] numbers no more.
const MOST_DEVICES: u32 = 256;
/// Processes on one device that are looked through for this one.
const MOST_PROCESSES: usize = 4096;
/// Bytes of a device's unique name.
const UUID: usize = 96;

const SUCCESS: c_int = 0;
const INSUFFICIENT_SIZE: c_int = 7;

type Handle = *mut c_void;

/// `nvmlMemory_t`.
#[repr(C)]
#[derive(Default)]
struct RawMemory {
    total: u64,
    free: u64,
    used: u64,
}

/// `nvmlProcessInfo_t` of the functions that end in `_v3`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawProcess {
    pid: c_uint,
    used: u64,
    _instances: [c_uint; 2],
}

#[derive(Clone, Copy)]
struct Functions {
    init: unsafe extern "C" fn() -> c_int,
    shutdown: unsafe extern "C" fn() -> c_int,
    count: unsafe extern "C" fn(*mut c_uint) -> c_int,
    handle: unsafe extern "C" fn(c_uint, *mut Handle) -> c_int,
    memory: unsafe extern "C" fn(Handle, *mut RawMemory) -> c_int,
    uuid: unsafe extern "C" fn(Handle, *mut c_char, c_uint) -> c_int,
    /// Of newer drivers only.
    processes: Option<unsafe extern "C" fn(Handle, *mut c_uint, *mut RawProcess) -> c_int>,
}

/// A device's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// What there is.
    pub capacity: u64,
    /// What is used by anyone, the driver included.
    pub used: u64,
    /// What is free.
    pub free: u64,
    /// What this process uses, where the driver says: not in every container.
    pub ours: Option<u64>,
}

impl DeviceMemory {
    /// As a region's reading.
    pub fn reading(self) -> Reading {
        Reading { capacity: self.capacity, used: self.used }
    }
}

/// Why there are no readings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NvmlError {
    /// There is no such library, which is no fault.
    #[error("no {NAME}: {0}")]
    Absent(String),
    /// It lacks a function.
    #[error("{NAME} has no function {0}")]
    Symbol(&'static str),
    /// A function failed.
    #[error("{function} of {NAME} failed with {code}")]
    Failed {
        /// Which.
        function: &'static str,
        /// What it returned.
        code: i32,
    },
}

struct Device {
    handle: Handle,
    uuid: String,
}

/// The management library, and the devices that it named when it was loaded.
pub struct Nvml {
    library: Library,
    functions: Functions,
    devices: Vec<Device>,
}

// SAFETY: the management library is thread-safe by its documentation, and its device handles belong to no thread.
unsafe impl Send for Nvml {}
// SAFETY: as above.
unsafe impl Sync for Nvml {}

impl Nvml {
    /// Loads the driver's library, and names its devices.
    ///
    /// # Errors
    /// See [`NvmlError`].
    pub fn open() -> Result<Nvml, NvmlError> {
        Self::open_at(Path::new(NAME))
    }

    /// Loads the library that lies at `path`; a name without a slash is looked for where libraries are.
    ///
    /// # Errors
    /// See [`NvmlError`].
    pub fn open_at(path: &Path) -> Result<Nvml, NvmlError> {
        let library = Library::open(path)?;
        // SAFETY: the types are those of the management library's header, whose names carry their versions.
        let functions = unsafe {
            Functions {
                init: library.need(c"nvmlInit_v2", "nvmlInit_v2")?,
                shutdown: library.need(c"nvmlShutdown", "nvmlShutdown")?,
                count: library.need(c"nvmlDeviceGetCount_v2", "nvmlDeviceGetCount_v2")?,
                handle: library.need(c"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex_v2")?,
                memory: library.need(c"nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo")?,
                uuid: library.need(c"nvmlDeviceGetUUID", "nvmlDeviceGetUUID")?,
                processes: library.find(c"nvmlDeviceGetComputeRunningProcesses_v3"),
            }
        };
        // SAFETY: as the header declares it.
        judge("nvmlInit_v2", unsafe { (functions.init)() })?;
        // From here on dropping it shuts it down.
        let mut nvml = Nvml { library, functions, devices: Vec::new() };
        let mut count = 0;
        // SAFETY: initialised; `count` is valid for a write.
        judge("nvmlDeviceGetCount_v2", unsafe { (functions.count)(&mut count) })?;
        for index in 0..count.min(MOST_DEVICES) {
            nvml.devices.push(nvml.device(index)?);
        }
        Ok(nvml)
    }

    fn device(&self, index: c_uint) -> Result<Device, NvmlError> {
        let mut handle = null_mut();
        // SAFETY: initialised; `handle` is valid for a write.
        judge("nvmlDeviceGetHandleByIndex_v2", unsafe { (self.functions.handle)(index, &mut handle) })?;
        let mut name = [0_u8; UUID];
        // SAFETY: the device's handle, and as many bytes as are said.
        let code = unsafe { (self.functions.uuid)(handle, name.as_mut_ptr().cast(), UUID as c_uint) };
        judge("nvmlDeviceGetUUID", code)?;
        let uuid = CStr::from_bytes_until_nul(&name).map(|name| name.to_string_lossy().into_owned());
        Ok(Device { handle, uuid: uuid.unwrap_or_default() })
    }

    /// How many devices there are.
    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    /// A device's unique name, by which other libraries know it: their numbers may differ from these.
    pub fn uuid(&self, index: usize) -> Option<&str> {
        self.devices.get(index).map(|device| device.uuid.as_str())
    }

    /// A device's memory now.
    ///
    /// # Errors
    /// There is no such device, or its driver does not answer, or not with sense.
    pub fn memory(&self, index: usize) -> Result<DeviceMemory, NvmlError> {
        let function = "nvmlDeviceGetMemoryInfo";
        // What the driver says to an index that it does not know.
        let device = self.devices.get(index).ok_or(NvmlError::Failed { function, code: 2 })?;
        let mut raw = RawMemory::default();
        // SAFETY: a handle of this library, and a struct of the header's layout.
        judge(function, unsafe { (self.functions.memory)(device.handle, &mut raw) })?;
        if raw.total == 0 || raw.used > raw.total || raw.free > raw.total {
            return Err(NvmlError::Failed { function, code: SUCCESS });
        }
        Ok(DeviceMemory { capacity: raw.total, used: raw.used, free: raw.free, ours: self.ours(device) })
    }

    /// What this process uses of a device.
    fn ours(&self, device: &Device) -> Option<u64> {
        let list = self.functions.processes?;
        let mut room = 64;
        // Between two calls there may be more of them.
        for _ in 0..4 {
            let mut all = Vec::new();
            all.try_reserve_exact(room).ok()?;
            all.resize(room, RawProcess::default());
            let mut count = c_uint::try_from(room).ok()?;
            // SAFETY: a handle of this library, and as many places as are said.
            let code = unsafe { list(device.handle, &mut count, all.as_mut_ptr()) };
            let count = usize::try_from(count).ok()?;
            if code == INSUFFICIENT_SIZE && room < MOST_PROCESSES {
                room = count.clamp(2 * room, MOST_PROCESSES);
                continue;
            }
            if code != SUCCESS || count > room {
                return None;
            }
            let mine = all[..count].iter().filter(|process| process.pid == std::process::id());
            // All ones stand for a figure that the driver does not have.
            let figures: Option<Vec<u64>> =
                mine.map(|process| Some(process.used).filter(|&used| used != u64::MAX)).collect();
            return figures.filter(|all| !all.is_empty())?.into_iter().try_fold(0_u64, u64::checked_add);
        }
        None
    }
}

impl Drop for Nvml {
    fn drop(&mut self) {
        // SAFETY: initialised once, and no call of this object comes after it.
        unsafe { (self.functions.shutdown)() };
    }
}

impl std::fmt::Debug for Nvml {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.devices.iter().map(|device| device.uuid.as_str()).collect();
        f.debug_struct("Nvml")
            .field("library", &self.library.0)
            .field("devices", &names)
            .finish_non_exhaustive()
    }
}

fn judge(function: &'static str, code: c_int) -> Result<(), NvmlError> {
    if code == SUCCESS { Ok(()) } else { Err(NvmlError::Failed { function, code }) }
}

/// A library that was loaded; it is let go when dropped.
struct Library(*mut c_void);

impl Library {
    fn open(path: &Path) -> Result<Library, NvmlError> {
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| NvmlError::Absent("a name with a NUL".into()))?;
        // SAFETY: a valid string. The library's own initialisers run, as the driver's maker wrote them.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            // SAFETY: what it returns is NULL or a string that lives until this thread's next call of its kind.
            let why = unsafe { libc::dlerror().cast_const().as_ref().map(|why| CStr::from_ptr(why)) };
            return Err(NvmlError::Absent(
                why.map_or_else(String::new, |why| why.to_string_lossy().into_owned()),
            ));
        }
        Ok(Library(library))
    }

    /// A function.
    ///
    /// # Safety
    /// `F` is the type of the function of this name.
    unsafe fn find<F: Copy>(&self, symbol: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: a loaded library and a valid string.
        let found = unsafe { libc::dlsym(self.0, symbol.as_ptr()) };
        // SAFETY: not NULL, of a pointer's size, and of this type by the caller's promise.
        (!found.is_null()).then(|| unsafe { std::mem::transmute_copy(&found) })
    }

    /// The same for a function without which nothing can be read.
    ///
    /// # Safety
    /// As [`Library::find`].
    unsafe fn need<F: Copy>(&self, symbol: &CStr, name: &'static str) -> Result<F, NvmlError> {
        // SAFETY: the caller's promise.
        unsafe { self.find(symbol) }.ok_or(NvmlError::Symbol(name))
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: loaded once by this object; its functions are called no more.
        unsafe { libc::dlclose(self.0) };
    }
}
