//! Renders, counts the heap, and holds both to their bounds.

use plimsoll::text::{Chat, ChatTemplate, Message, TextError, Turn};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

/// Counts each thread's heap, so that tests can run side by side.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let live = LIVE.get() + change;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: passes everything on to the system's allocator and only counts. `realloc` is the default one: a new block,
// a copy, and the old block freed, so that both count.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

pub(crate) const MIB: usize = 1 << 20;
pub(crate) const HELLO: [Message; 1] = [Message { role: "user", content: "Hello" }];

/// How long this thread has computed; what else a machine does meanwhile is left out.
fn computed() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to the structure that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Renders messages of texts; see [`render_chat`].
pub(crate) fn render(source: &str, messages: &[Message]) -> Result<String, TextError> {
    let turns: Vec<_> = messages.iter().copied().map(Turn::Text).collect();
    render_chat(source, &Chat { turns: &turns, tools: None, add_generation_prompt: true })
}

/// Renders on a thread with a small stack, and holds it to the bounds; also that nothing of it stays on the heap, and that
/// the next rendering works.
pub(crate) fn render_chat(source: &str, chat: &Chat) -> Result<String, TextError> {
    // What the library makes once.
    ChatTemplate::new("{{ 1 ~ 2 }}", None, None).unwrap().render(&[], false).unwrap();
    let run = || {
        let start = computed();
        let before = LIVE.get();
        PEAK.set(before);
        let result = ChatTemplate::new(source, Some("<s>"), Some("</s>"))
            .and_then(|template| template.render_chat(chat));
        let peak = (PEAK.get() - before) as usize;
        let held = match &result {
            Ok(text) => text.capacity(),
            Err(_) => 1024,
        };
        let left = LIVE.get() - before;
        let turns = chat.turns.iter().map(|turn| match turn {
            Turn::Text(message) => message.role.len() + message.content.len(),
            Turn::Json(json) => json.as_str().len(),
        });
        let texts = turns.sum::<usize>() + chat.tools.map_or(0, |json| json.as_str().len());
        let input = source.len() + texts + size_of_val(chat.turns);
        let shown: String = source.chars().take(80).collect();
        let took = computed().saturating_sub(start);
        println!("{peak:>9} of {:>9} {took:?} {shown}", 16 * input + 8 * MIB);
        assert!(peak <= 16 * input + 8 * MIB, "{peak} bytes for {input}: {shown}");
        assert!(left <= (held + 4096) as isize, "{left} bytes stay: {shown}");
        assert!(took < Duration::from_secs(20), "{took:?}: {shown}");
        let next = ChatTemplate::new("{{ messages[0].content }}", None, None).unwrap().render(&HELLO, true);
        assert_eq!(next.as_deref(), Ok("Hello"), "after {shown}");
        result
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(MIB).spawn_scoped(scope, run).unwrap().join().unwrap()
    })
}

pub(crate) fn fails(source: &str) -> TextError {
    render(source, &HELLO).expect_err(&source.chars().take(200).collect::<String>())
}

pub(crate) fn limited(source: &str) {
    let error = fails(source);
    assert!(matches!(error, TextError::TemplateLimit { .. }), "{error}: {source}");
}

pub(crate) fn repeated(repeat: usize, body: &str) -> String {
    format!(
        "{{% set ns = namespace(s='x', l=[1], t='', u='') %}}{{% for i in range({repeat}) %}}{body}{{% endfor %}}{{{{ ns.s|length }}}}"
    )
}
