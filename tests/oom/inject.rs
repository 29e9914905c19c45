//! An allocator that refuses the n-th allocation which the library makes, and the page that parent and children share.
//!
//! Threads count as the library's unless they say otherwise: the harness has one thread, which is [`outside`] but for its
//! calls; whatever other threads there are the library has started. Of those the one that looks at memory every 100 ms is left
//! out: it would shift the numbers of all others' allocations, and what it does the scenes' own calls do too.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

/// Frames of a trace that are kept.
pub const FRAMES: usize = 80;
/// Different traces of one scene that are kept.
pub const STACKS: usize = 16 << 10;
/// Cases of one scene.
pub const CASES: usize = 64 << 10;

const OFF: u32 = 0;
const RECORD: u32 = 1;
const REFUSE: u32 = 2;

#[global_allocator]
static ALLOCATOR: Inject = Inject;

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(null_mut());
static LIVE: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static OUTSIDE: Cell<u32> = const { Cell::new(0) };
    static NAMED: Cell<bool> = const { Cell::new(false) };
}

/// The thread that is left out, as the system knows it.
const SWEEPER: &[u8] = b"plimsoll-sweep\0";

/// Takes the sweeper's thread out, once the thread has its name.
fn look_at_name() {
    if NAMED.get() {
        return;
    }
    let mut name = [0_u8; 16];
    // SAFETY: the system writes at most 16 bytes.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    // Until it has one it has that of who started it.
    NAMED.set(name.starts_with(b"plimsoll"));
    if name.starts_with(SWEEPER) {
        OUTSIDE.set(1);
    }
}

/// Return addresses, innermost first.
pub struct Trace {
    len: AtomicUsize,
    frames: [AtomicUsize; FRAMES],
}

/// A way to allocate that was seen.
pub struct Stack {
    hash: AtomicU64,
    /// The number of the first allocation that came this way.
    pub first: AtomicU64,
    pub trace: Trace,
}

/// What a child leaves behind however it ends. All zeros is its valid beginning.
pub struct Shared {
    mode: AtomicU32,
    forever: AtomicBool,
    lock: AtomicBool,
    count: AtomicU64,
    refuse_at: AtomicU64,
    fired: AtomicU64,
    /// Traces beyond [`STACKS`].
    pub lost: AtomicU64,
    /// Where the first refusal of the present case was.
    pub refused: Trace,
    /// Where the child aborted.
    pub aborted: Trace,
    /// The case that runs.
    pub case: AtomicUsize,
    pub outcomes: [AtomicI32; CASES],
    pub stacks: [Stack; STACKS],
}

impl Trace {
    fn take(&self) {
        let mut frames = [null_mut::<c_void>(); FRAMES];
        // SAFETY: the buffer has as many places as are said.
        let len = unsafe { libc::backtrace(frames.as_mut_ptr(), FRAMES as i32) };
        for (to, from) in self.frames.iter().zip(frames) {
            to.store(from as usize, Ordering::Relaxed);
        }
        self.len.store(usize::try_from(len).unwrap_or(0), Ordering::Release);
    }

    pub fn clear(&self) {
        self.len.store(0, Ordering::Release);
    }

    pub fn frames(&self) -> Vec<usize> {
        let len = self.len.load(Ordering::Acquire).min(FRAMES);
        self.frames[..len].iter().map(|frame| frame.load(Ordering::Relaxed)).collect()
    }
}

/// Maps the shared page, before anything is forked, and makes this thread the harness's.
pub fn start() -> &'static Shared {
    OUTSIDE.set(1);
    NAMED.set(true);
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh mapping, zeroed by the system; never unmapped.
    let at = unsafe {
        libc::mmap(null_mut(), size_of::<Shared>(), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    assert!(at != libc::MAP_FAILED, "no memory for the harness");
    let at = at.cast::<Shared>();
    // The unwinder loads itself when it is first asked, which allocates.
    let warm = [null_mut::<c_void>(); 4];
    // SAFETY: as many places as are said.
    unsafe { libc::backtrace(warm.as_ptr().cast_mut(), 4) };
    SHARED.store(at, Ordering::Release);
    // SAFETY: mapped above for ever, atomics only, for which zeros are valid.
    unsafe { &*at }
}

/// Runs a call into the library.
pub fn inside<T>(call: impl FnOnce() -> T) -> T {
    let before = OUTSIDE.replace(0);
    let result = call();
    OUTSIDE.set(before);
    result
}

/// Runs the host's part of a callback.
pub fn outside<T>(host: impl FnOnce() -> T) -> T {
    let before = OUTSIDE.replace(1);
    let result = host();
    OUTSIDE.set(before);
    result
}

/// Live bytes of the process's heap.
pub fn live() -> i64 {
    LIVE.load(Ordering::SeqCst)
}

impl Shared {
    /// Forgets all cases and traces.
    pub fn clear(&self) {
        self.mode.store(OFF, Ordering::SeqCst);
        for stack in &self.stacks {
            stack.hash.store(0, Ordering::Relaxed);
        }
        for outcome in &self.outcomes {
            outcome.store(0, Ordering::Relaxed);
        }
    }

    /// Counts allocations from here on, and notes the ways they come.
    pub fn record(&self) {
        self.arm(RECORD, 0, false);
    }

    /// Refuses the `at`-th allocation from here on, and, if `forever`, all after it.
    pub fn refuse(&self, at: u64, forever: bool) {
        self.arm(REFUSE, at, forever);
    }

    fn arm(&self, mode: u32, at: u64, forever: bool) {
        self.refused.clear();
        self.count.store(0, Ordering::SeqCst);
        self.fired.store(0, Ordering::SeqCst);
        self.refuse_at.store(at, Ordering::SeqCst);
        self.forever.store(forever, Ordering::SeqCst);
        self.mode.store(mode, Ordering::SeqCst);
    }

    /// Ends it. Returns how many allocations were counted and how many refused.
    pub fn disarm(&self) -> (u64, u64) {
        self.mode.store(OFF, Ordering::SeqCst);
        (self.count.load(Ordering::SeqCst), self.fired.load(Ordering::SeqCst))
    }

    /// Notes where the process aborts. Called from the signal's handler, on the thread that aborts.
    pub fn note_abort(&self) {
        self.aborted.take();
    }

    fn refuses(&self) -> bool {
        let mode = self.mode.load(Ordering::Relaxed);
        if mode != OFF {
            look_at_name();
        }
        if mode == OFF || OUTSIDE.get() > 0 {
            return false;
        }
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        if mode == RECORD {
            self.note(number);
            return false;
        }
        let at = self.refuse_at.load(Ordering::Relaxed);
        let refused = number == at || (number > at && self.forever.load(Ordering::Relaxed));
        if refused && self.fired.fetch_add(1, Ordering::SeqCst) == 0 {
            outside(|| self.refused.take());
        }
        refused
    }

    fn note(&self, number: u64) {
        outside(|| {
            let mut frames = [null_mut::<c_void>(); FRAMES];
            // SAFETY: as many places as are said.
            let len = unsafe { libc::backtrace(frames.as_mut_ptr(), FRAMES as i32) };
            let len = usize::try_from(len).unwrap_or(0);
            // FNV over the addresses; 0 stands for a free place.
            let hash = frames[..len].iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &frame| {
                (hash ^ frame as u64).wrapping_mul(0x0000_0100_0000_01b3)
            }) | 1;
            while self.lock.swap(true, Ordering::Acquire) {
                std::hint::spin_loop();
            }
            let from = (hash >> 20) as usize;
            let place = (0..64)
                .map(|step| &self.stacks[(from + step) % STACKS])
                .find(|stack| [0, hash].contains(&stack.hash.load(Ordering::Relaxed)));
            match place {
                Some(stack) if stack.hash.load(Ordering::Relaxed) == 0 => {
                    stack.hash.store(hash, Ordering::Relaxed);
                    stack.first.store(number, Ordering::Relaxed);
                    stack.trace.len.store(len, Ordering::Release);
                    for (to, from) in stack.trace.frames.iter().zip(frames) {
                        to.store(from as usize, Ordering::Relaxed);
                    }
                }
                Some(_) => {}
                None => _ = self.lost.fetch_add(1, Ordering::Relaxed),
            }
            self.lock.store(false, Ordering::Release);
        });
    }

    /// The ways that allocations came, each once.
    pub fn seen(&self) -> impl Iterator<Item = &Stack> {
        self.stacks.iter().filter(|stack| stack.hash.load(Ordering::Relaxed) != 0)
    }
}

struct Inject;

impl Inject {
    fn refuses(&self) -> bool {
        // SAFETY: null, or the page that is never unmapped.
        unsafe { SHARED.load(Ordering::Relaxed).as_ref() }.is_some_and(Shared::refuses)
    }
}

// SAFETY: every call goes to the system's allocator unchanged, or is refused, which callers must expect.
unsafe impl GlobalAlloc for Inject {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.refuses() {
            return null_mut();
        }
        // SAFETY: the caller's promises are the system's.
        let at = unsafe { System.alloc(layout) };
        if !at.is_null() {
            LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        }
        at
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if self.refuses() {
            return null_mut();
        }
        // SAFETY: the caller's promises are the system's.
        let moved = unsafe { System.realloc(at, layout, size) };
        if !moved.is_null() {
            LIVE.fetch_add(size as i64 - layout.size() as i64, Ordering::Relaxed);
        }
        moved
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: `at` came from the system through this allocator, with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Notes where the process aborts: called on the thread that does.
pub fn note_abort() {
    // SAFETY: null, or the page that is never unmapped.
    if let Some(shared) = unsafe { SHARED.load(Ordering::Relaxed).as_ref() } {
        shared.note_abort();
    }
}
