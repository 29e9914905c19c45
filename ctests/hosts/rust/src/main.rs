//! A Rust host with a global allocator of its own: loads the model that its argument names, asks it a question, prints the
//! answer, and how much of the heap plimsoll had from this allocator.

use plimsoll::{Cancel, Config, Flow, Request, Runtime, Session};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counted;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counted = Counted;

// SAFETY: every call goes to the system's allocator unchanged; only a counter is kept beside it.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: plimsoll-host MODEL")?;
    let before = HELD.load(Ordering::Relaxed);
    let runtime = Runtime::new(&Config::new())?;
    let model = runtime.load_model("m", Path::new(&path), &Config::new(), &|_| true)?;
    let session = Session::open(&model, &Config::new())?;
    let outcome = session.generate(&Request::user("Hello!"), None, &Cancel::new(), |_| Flow::Continue)?;
    println!("{}", outcome.text);
    println!("heap: {} bytes", HELD.load(Ordering::Relaxed) - before);
    println!("counted by plimsoll itself: {:?}", runtime.heap_bytes());
    drop((session, model, runtime));
    println!("left: {} bytes", HELD.load(Ordering::Relaxed).saturating_sub(before));
    Ok(())
}
